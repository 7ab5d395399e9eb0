"""Sphinx configuration. The pages under callbacks/ are written here, one per public name, from the docstrings."""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import lwcallbacks as lw

project = "lwcallbacks"
author = "the lwcallbacks authors"
version = release = version_of("lwcallbacks")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"lwcallbacks {version}"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # types stand in the signature's docstring, in words
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
default_role = "code"  # `name` in a docstring is code, as it is in Markdown

# The documentation is built without a network, so other projects' names are not looked up.
nitpick_ignore_regex = [("py:.*", r"(?!lwcallbacks).*"), ("py:.*", r"lwcallbacks\.(?:callbacks|state)\..*")]

CALLBACKS = sorted(name for name in lw.__all__ if hasattr(getattr(lw, name), "on_train_start"))
OTHERS = sorted(name for name in lw.__all__ if name[0].isupper() and name not in CALLBACKS)


def write_pages(folder: Path) -> None:
    """One page per public name of lwcallbacks, a callback's without the hooks that it inherits from Lightning."""
    folder.mkdir(exist_ok=True)
    pages = {f"{_file_name(name)}.rst": _page(name) for name in (*CALLBACKS, *OTHERS)}
    toctree = "\n".join(f"   {_file_name(name)}" for name in (*CALLBACKS, *OTHERS))
    pages["index.rst"] = f"Callbacks\n=========\n\n.. toctree::\n\n{toctree}\n"
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def _page(name: str) -> str:
    members = "" if name in CALLBACKS else "   :members:\n"
    return f"{name}\n{'=' * len(name)}\n\n.. currentmodule:: lwcallbacks\n\n.. autoclass:: {name}\n{members}"


def _file_name(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def link_pages(app: Any, name: str, source: list[str]) -> None:
    """Links to a callback's source, which the gallery has for readers of the repository, lead to its page here."""
    source[0] = re.sub(r"\.\./lwcallbacks/callbacks/(\w+)\.py", r"callbacks/\1.rst", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", link_pages)


write_pages(Path(__file__).parent / "callbacks")
