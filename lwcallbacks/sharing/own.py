"""Whether a folder's page is the one that this package has, and what its data are."""

from __future__ import annotations

from pathlib import Path

from lwcallbacks.html import page_html
from lwcallbacks.readers import calls, read_folder
from lwcallbacks.readers.inside import content

CALLS = {"manifest.js": ("key", "text", "step"), "scalars.js": ("scalars",), "run.js": ("run",), "cost.js": ("cost",)}
"""The scripts of a run's data that the page loads first, and the calls in them."""


def is_as_written(directory: Path) -> bool:
    """Whether a browser may be given the folder's page: it is ours, and what it loads is plain data.

    Raises ValueError, as `read_folder`, for what is none.
    """
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        runs = path.suffix in (".html", ".css", ".js") and not _is_data(name)
        if runs and path.is_file() and (name != "index.html" or content(directory, name) != page_html()):
            return False
    folder = read_folder(directory)
    chunks = {item.chunk.relative_to(directory).as_posix() for item in folder.items if item.chunk is not None}
    for name in chunks | {p.relative_to(directory).as_posix() for p in directory.glob("data/*.js")}:
        for _ in calls(directory, name, "data"):
            pass
    return content(directory, "index.html") is not None


def _is_data(name: str) -> bool:
    return name in CALLS or name.startswith("data/")
