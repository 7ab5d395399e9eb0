"""Files that are whole or not there, and names for folders.

append_lines(Path("manifest.js"), "LW.step(120, 0, [0, 3]);")      # whole lines or nothing
replace(Path("index.html"), content)                               # the whole content, or what was there
reserve("logs")                                                    # Path("logs/version_0"), made here
folder_of("val/a:b")                                               # "val/a_b-7d6fd7c5": safe below any folder
"""

from __future__ import annotations

import itertools
import os
import re
import zlib
from functools import lru_cache
from pathlib import Path


def append_lines(path: Path, lines: str) -> int:
    """Append whole lines or nothing: half a line, a crash's or a full disk's, would break the script for the page.

    Returns how many bytes that is.
    """
    data = lines.encode() + b"\n"
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                end = file.read().rfind(b"\n") + 1
                file.truncate(end)
        rest = memoryview(data)
        try:
            while rest:  # a full disk takes a part, and says so when asked for more
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(end)
            raise
    return len(data)


def replace(path: Path, content: bytes) -> int:
    """Replace the file in one step: it holds the whole content or what it held before, on a full disk too.

    Returns the bytes of the content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(content)


def reserve(parent: str | os.PathLike[str], pattern: str = "version_{}") -> Path:
    """Make the first folder `parent / pattern.format(n)` that is not there. Runs that ask at once get one each.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     [reserve(parent).name, reserve(parent).name]
    ['version_0', 'version_1']
    """
    Path(parent).mkdir(parents=True, exist_ok=True)
    for n in itertools.count():
        path = Path(parent, pattern.format(n))
        try:
            path.mkdir()  # one call that looks and makes: what another process makes meanwhile is seen
        except FileExistsError:
            continue
        return path
    raise AssertionError  # never: there is a number that is free


@lru_cache(maxsize=2**14)  # the same thousands of keys come at each step
def folder_of(key: str, allowed: str = r"\w .+=@,()-") -> str:
    """The folder of a key below the directory: "/" nests, no key can leave the directory or take another's place.

    In each part, all but letters, digits, spaces and `_.+=@,()-` becomes `_`; a checksum keeps "a:b" and "a?b" apart.
    `allowed` are other characters, as between the brackets of a regular expression.
    """
    parts = []
    for part in key.split("/"):
        safe = re.sub(f"[^{allowed}]", "_", part).strip(" .")[:80] or "_"
        parts.append(safe if safe == part else f"{safe}-{zlib.crc32(part.encode()):08x}")
    return "/".join(parts)
