"""Keeps the content of a checkpoint as it was saved, whatever becomes of the file itself.

    held = hold(Path("checkpoints/epoch=3.ckpt"), into=Path("artifacts/held/4f2a"))
    release(held)

A file is held by a hard link, which costs nothing: the content stays when the file is removed, or replaced by a new
one. It does not stay when somebody writes into the file: where that may happen it is a copy, as on a disk without hard
links and across two disks. A folder is held file by file. Symbolic links in it are refused: what they point to may be
anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


class NotHeld(Exception):
    """What is to be held can't be held safely."""


def hold(path: Path, into: Path, *, copy: bool = False) -> Path:
    """Hold a file or a folder.

    Args:
        path: the file or folder. It may itself be a symbolic link.
        into: a folder, which is made, to hold it in under its own name.
        copy: copy it, and don't link: somebody may write into the file later.

    Returns:
        What holds it; all of it is there, or an error is raised and nothing is.

    Raises:
        NotHeld: it is neither a file nor a folder, or has such a thing or a symbolic link in it.
        OSError: it is not there, or can't be copied.
    """
    source, held = path.resolve(strict=True), into / path.name
    if not source.is_dir() and not source.is_file():
        raise NotHeld(f"{path} is neither a file nor a folder")
    into.mkdir(parents=True)
    try:
        if source.is_dir():
            held.mkdir()
            for file in _files(source):
                target = held / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                _keep(file, target, copy)
        else:
            _keep(source, held, copy)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return held


def release(held: Path) -> None:
    """Let go of what is held. The checkpoint itself is not touched; what is gone already is no error."""
    shutil.rmtree(held.parent, ignore_errors=True)


def digest_of(content: Path) -> tuple[str, int]:
    """What tells one content from another, and its bytes.

    Of a file it is the SHA-256 of its bytes; of a folder, of the lines "<relative path>\\0<SHA-256 of the file>\\n", in
    the order of the paths' bytes, with "/" between folders.

    Returns:
        "sha256:" and 64 digits; the number of bytes of all files.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "empty.ckpt")
    >>> file.touch()
    >>> digest_of(file)
    ('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 0)
    """
    if not content.is_dir():
        digest, size = _digest_of_file(content)
        return f"sha256:{digest}", size
    total, whole = 0, hashlib.sha256()
    for name, file in sorted((file.relative_to(content).as_posix().encode(), file) for file in _files(content)):
        digest, size = _digest_of_file(file)
        whole.update(name + b"\0" + digest.encode() + b"\n")
        total += size
    return f"sha256:{whole.hexdigest()}", total


def _digest_of_file(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _files(folder: Path) -> Iterator[Path]:
    """All files of a folder and of the folders in it."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_symlink():
            raise NotHeld(f"{path} is a symbolic link, and what it points to may be anything: save real files")
        if entry.is_dir(follow_symlinks=False):
            yield from _files(path)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise NotHeld(f"{path} is neither a file nor a folder")


def _keep(source: Path, target: Path, copy: bool) -> None:
    if not copy:
        try:
            return os.link(source, target)
        except OSError:
            pass  # another disk, or one without hard links
    shutil.copy2(source, target)
