"""Files of a folder that somebody else has made: what is read is in it, and an ordinary file of a sane size.

    lines(Path("media"), "manifest.js")                # whole lines; none where there is no file
    file_in(Path("media"), "val/worst/00000120.png")   # its path, if that is in the folder

A name may come from the data: `../x`, an absolute path, or a link that leads elsewhere.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

MOST_BYTES = 2**30


def file_in(directory: Path, name: str) -> Path:
    """The path of a file in the folder, whether it is there or not.

    >>> file_in(Path("media"), "val/worst/00000120.png").as_posix()
    'media/val/worst/00000120.png'
    >>> file_in(Path("media"), "../secret.png")
    Traceback (most recent call last):
    ValueError: media: found the file '../secret.png', expected one in this folder

    Raises:
        ValueError: it is not in there, by its name or because a link leads out.
    """
    parts = PurePosixPath(name).parts
    told = f"{directory}: found the file {name[:80]!r}, expected one in this folder"
    if not parts or ".." in parts or "\0" in name or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise ValueError(told)
    path = directory.joinpath(*parts)
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ValueError(f"{told}: a link leads out of it")
    return path


def content(directory: Path, name: str) -> bytes | None:
    """What the file holds; None where there is no file.

    Raises:
        ValueError: it is not in the folder, no ordinary file, or of more than 1 GiB.
    """
    path = file_in(directory, name)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is no ordinary file, expected one")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"{path} has {found.st_size / MOST_BYTES:.1f} GiB, expected 1 at most")
    return path.read_bytes()


def lines(directory: Path, name: str) -> list[str]:
    """The whole lines of a text; none where there is no file. What a crash has cut is left out.

    Raises:
        ValueError: as `content`, or it is no text.
    """
    whole, end, _ = (content(directory, name) or b"").rpartition(b"\n")  # as bytes: the cut may be within a character
    return whole.decode("utf-8").split("\n") if end else []
