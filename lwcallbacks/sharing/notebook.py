"""A run's page in a notebook, also on a machine whose disk the browser cannot see."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from lwcallbacks.readers import read_folder
from lwcallbacks.sharing.single import single_file

MIB = 2**20
MOST_BYTES = 8 * MIB


class Page:
    """The page of a run. A notebook shows it, as one file inside of the notebook.

    Args:
        directory: the folder that the page is in.
        max_bytes: from which size on it is not put into the notebook, but named with what to do.

    Attributes:
        path: the page, `index.html`.

    >>> Page("lightning_logs/version_0/media").path.as_posix()
    'lightning_logs/version_0/media/index.html'
    """

    def __init__(self, directory: str | Path, max_bytes: int = MOST_BYTES) -> None:
        self.path = Path(directory, "index.html")
        self.max_bytes = max_bytes

    @classmethod
    def of_run(cls, path: str | Path, **kwargs: Any) -> Page:
        """The page of a run by any path that `read_folder` takes, which raises where that is none."""
        return cls(read_folder(path).directory, **kwargs)

    def __repr__(self) -> str:
        return f"Page({str(self.path)!r})"

    def _repr_html_(self) -> str:
        path = html.escape(str(self.path))
        how = f"python -m lwcallbacks export {html.escape(str(self.path.parent))} run.html"
        try:
            # It is no smaller than its files: what is far too large need not be made.
            size = sum(found.stat().st_size for found in self.path.parent.rglob("*") if found.is_file())
            page = single_file(self.path.parent).html if size <= 2 * self.max_bytes else ""
        except (OSError, ValueError, LookupError, RecursionError) as error:
            return f"<p>The page <code>{path}</code> cannot be shown: {html.escape(str(error))}</p>"
        size = len(page.encode()) if page else size
        if size > self.max_bytes:
            return (
                f"<p>The page <code>{path}</code> has {size / MIB:.1f} MiB, and {self.max_bytes / MIB:.1f} are put "
                f"into a notebook at most. <code>{how}</code> makes one file of it, to download and open. "
                f"<code>lw.page(..., max_bytes={size + MIB})</code> shows it here all the same.</p>"
            )
        # Within single quotes, since data are full of double ones. Its scripts cannot reach the notebook.
        inside = page.replace("&", "&amp;").replace("'", "&#39;")
        return (
            f"<iframe title='Run' sandbox='allow-scripts allow-popups' srcdoc='{inside}' "
            "style='width: 100%; height: 800px; border: 1px solid #8888'></iframe>"
            f"<p>{size / MIB:.1f} MiB, from <code>{path}</code></p>"
        )
