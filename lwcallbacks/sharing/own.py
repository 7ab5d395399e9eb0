"""The page as this package has it: its HTML and what that names, and whether a folder's page is the same."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from lwcallbacks.readers import calls, read_folder
from lwcallbacks.readers.inside import content

CALLS = {"manifest.js": ("key", "text", "step"), "scalars.js": ("scalars",), "run.js": ("run",), "cost.js": ("cost",)}
"""The scripts of a run's data that the page names, and the calls in them."""


def _writers() -> Traversable:
    return files("lwcallbacks").joinpath("writers")  # found without an import of it


def page_file(name: str) -> str | None:
    """A text of the page by its path in a run's folder: "index.html", or a script or style; None if there is none."""
    for place in ("page", "."):
        found = _writers().joinpath(place, name.removeprefix("page/"))
        if found.is_file():
            return found.read_text(encoding="utf-8")
    return None


def is_as_written(directory: Path) -> bool:
    """Whether a browser may be given the folder's page: its scripts are ours, and what they load is plain data.

    Raises ValueError, as `read_folder`, for what is none.
    """
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        is_of_page = path.suffix in (".html", ".css") or (path.suffix == ".js" and not _is_data(name))
        if is_of_page and path.is_file():
            own, there = page_file(name), content(directory, name)
            if own is None or there != own.encode():
                return False
    folder = read_folder(directory)
    chunks = {item.path.relative_to(directory).as_posix() for item in folder.items if item.kind != "image"}
    for name in chunks | {p.relative_to(directory).as_posix() for p in directory.glob("data/*.js")}:
        for _ in calls(directory, name, "data"):
            pass
    return content(directory, "index.html") is not None


def _is_data(name: str) -> bool:
    return name in CALLS or name.startswith("data/")
