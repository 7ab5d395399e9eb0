"""The page of a run, one HTML file that is put together from `writers/page/`: it needs no server and no network.

    html = page_html()              # bytes of a whole index.html, to be put beside manifest.js
    html = page_html(before="LW.files = {...};")    # with a script of yours that runs before the page is built

    styles, scripts = parts(("text", "dom"))        # for a page that is put together elsewhere

The scripts are in files of one purpose each, below; the order is that in which they are joined, and each uses what is
before it. They share one scope: a name is declared once. Curves are drawn by uPlot, which this project does not carry:
the wheel's build takes it out of the package `uplot-python` (`hatch_build.py`). Run from a source tree, the page takes
it from there if that package is installed; without it, the page says what is missing and shows everything else.

No torch is imported here, so that the command line can use it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.machinery import PathFinder
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

SCRIPTS = (
    "text", "numbers", "store", "expand", "dom", "section", "theme", "time", "panel", "tile", "overlay", "samples",
    "matrix", "confusion", "curves", "pictures", "lines", "ridge", "histogram", "gradients", "tables", "files",
    "answers", "about", "link", "live", "main",
)  # fmt: skip
FOLDER = "writers/page"
INDENT = re.compile(r"^ +", re.M)
COMMENT = re.compile(r"^(?://[^\n]*|/\*(?:(?!\*/).)*\*/)\n", re.M | re.S)  # of whole lines


def page_html(before: str = "") -> bytes:
    """The page as one file. `before` is a script that runs before the page is built."""
    styles, scripts = parts(SCRIPTS)
    # A tag's end inside of a string would end the script.
    own = before.replace("</", "<\\/")
    template = _text(_folder() / "index.html")
    return template.replace("{{styles}}", styles).replace("{{scripts}}", f"{scripts}\n{own}").encode()


@cache
def parts(names: tuple[str, ...]) -> tuple[str, str]:
    """The style of the page and these of its scripts, with those of uPlot before them."""
    folder = _folder()
    own = [_short(_text(folder / f"{name}.js")) for name in names]
    styles, scripts = INDENT.sub("", _text(folder / "page.css")), '"use strict";\n' + "\n".join(own)
    if chart := _uplot():
        css, js = chart
        return f"{css}\n{styles}", f"{js}\n{scripts}"
    return styles, scripts


def _short(script: str) -> str:
    """A script without what no run's folder needs: comments, and the space before its lines.

    >>> _short("// Of one.\\nif (a)\\n    b(); // c\\n")
    'if (a)\\nb(); // c\\n'
    """
    return COMMENT.sub("", INDENT.sub("", script))


def _folder() -> Traversable:
    return files("lwcallbacks").joinpath(*FOLDER.split("/"))


def _uplot() -> tuple[str, str] | None:
    """Style and script of uPlot: those of the wheel, else of an installed `uplot-python`, else none."""
    own = _folder() / "uplot"
    if own.joinpath("uPlot.js").is_file():
        return _text(own / "uPlot.css"), _text(own / "uPlot.js")
    found = PathFinder.find_spec("uplot")  # not imported: it would import IPython
    for place in (found.submodule_search_locations or ()) if found else ():
        static = Path(place, "static")
        if (static / "uPlot.iife.js").is_file():
            return _text(static / "uPlot.min.css"), _text(static / "uPlot.iife.js")
    return None


def _text(path: Traversable) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":  # for a linter: every script that shares a scope with these
    sharing = files("lwcallbacks") / "sharing"
    others = sorted(file.name for file in sharing.iterdir() if file.name.startswith("compare") and ".js" in file.name)
    print("\n".join([*(_text(_folder() / f"{name}.js") for name in SCRIPTS), *(_text(sharing / n) for n in others)]))
