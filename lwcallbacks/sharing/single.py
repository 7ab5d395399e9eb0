"""A run's page as one file, to mail: scripts, data and images inside.

    made = single_file(Path("lightning_logs/version_0"))
    made.html                           # the file
    made.left_out                       # ["val/worst/00000120.png: is missing"]

The page's own scripts come from this package, and never from the folder. The data are read, checked and encoded again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lwcallbacks.html import page_html
from lwcallbacks.readers import calls, read_folder
from lwcallbacks.readers.inside import content
from lwcallbacks.sharing.own import CALLS
from lwcallbacks.sharing.safe import inline, script_json, with_policy

MOST_BYTES = 2**30
_PNG = b"\x89PNG\r\n\x1a\n"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')


@dataclass(frozen=True)
class SingleFile:
    """A page in one file. `left_out` says of each image that could not be taken along why."""

    html: str
    left_out: list[str]


def single_file(path: Path) -> SingleFile:
    """The page of the run in a folder, or in its folder `media`.

    Raises:
        FileNotFoundError, ValueError: as `read_folder`.
        ValueError: it would be larger than 1 GiB.
    """
    folder = read_folder(path)
    directory = folder.directory
    chunks = sorted({item.chunk.relative_to(directory).as_posix() for item in folder.items if item.chunk is not None})
    wanted = {
        item.path.relative_to(directory).as_posix(): None for item in folder.latest().values() if item.kind == "image"
    }
    inside: dict[str, str] = {}
    for name, of in CALLS.items():
        inside[name] = "\n".join(_script(call, [arguments]) for call, arguments in calls(directory, name, *of))
    for chunk in chunks:
        data = [arguments for _, arguments in calls(directory, chunk, "data")]
        wanted |= dict.fromkeys(name for arguments in data for name in _images(arguments))
        inside[chunk] = _script("data", data)
    left_out = []
    room = MOST_BYTES - sum(map(len, inside.values()))
    for name in wanted:
        try:
            inside[name] = _image(directory, name, room)
            room -= len(inside[name])
        except (OSError, _LeftOut) as error:
            left_out.append(f"{name}: {error}")
    return SingleFile(with_policy(_page(inside)), left_out)


class _LeftOut(ValueError):
    """An image cannot be taken along."""


def _image(directory: Path, name: str, room: int) -> str:
    try:
        found = content(directory, name)
    except ValueError as error:
        raise _LeftOut("is not in the folder") from error
    if found is None:
        raise _LeftOut("is missing")
    if not found.startswith(_PNG):
        raise _LeftOut("is no PNG")
    if len(found) * 4 / 3 > room:
        raise ValueError(f"{directory} is larger than {MOST_BYTES // 2**30} GiB, which is the most for one file")
    return base64.b64encode(found).decode()


def _images(value: Any) -> Iterator[str]:
    """The files of images that data name, at any depth."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                if isinstance(found.get("image"), str):
                    yield found["image"]
                waiting += found.values()
            case list() as found:
                waiting += found


def _script(name: str, many: list[list[Any]]) -> str:
    return "\n".join(f"LW.{name}({script_json(arguments)[1:-1]});" for arguments in many)


def _page(inside: dict[str, str]) -> str:
    """The page, which asks for its files by their paths, and a script before it that has them."""
    page = _POLICY.sub("", page_html().decode())
    first = files(__package__).joinpath("files.js").read_text(encoding="utf-8")
    ours = f'<script type="application/json" id="lw-files">{script_json(inside)}</script>\n'
    ours += f"<script>\n{inline(first)}</script>\n"
    start = page.index("<script")
    return page[:start] + ours + page[start:]
