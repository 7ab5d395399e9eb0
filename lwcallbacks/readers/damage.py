"""What a crash, a full disk or half a copy has taken from a run's folder, as far as the folder itself can tell.

damage(read_folder("lightning_logs/version_0"))         # ["run.js: its last line is cut off"]

A file of which whole lines are gone at its end shows that only where another one names them: the data, of which the
index tells.
"""

from __future__ import annotations

from pathlib import Path

from lwcallbacks.readers.folder import MediaFolder
from lwcallbacks.readers.inside import content

SCRIPTS = ("manifest.js", "scalars.js", "run.js", "cost.js")


def damage(folder: MediaFolder, *, whole: bool = True) -> list[str]:
    """The parts of a folder that are not whole, each with what is wrong with it; none of a folder that is.

    Args:
        whole: whether the data are read, to see that every value is there that the index names. Otherwise only the
            end of each file is looked at, which is quick in a folder of any size.

    Raises:
        OSError, ValueError: a file cannot be read, or is not in the folder.
    """
    found = [f"{name}: {cut}" for name in SCRIPTS if (cut := _cut(folder.directory, name))]
    wanted: dict[str, set[tuple[int, int]]] = {}
    for item in folder.latest().values():
        if item.chunk is not None and item.kind != "image":
            name = item.chunk.relative_to(folder.directory).as_posix()
            wanted.setdefault(name, set()).add((folder.index.numbers[item.key, item.kind], item.step))
    for name, values in sorted(wanted.items()):
        if not (folder.directory / name).exists():
            wrong: str | None = "is missing"
        else:
            wrong = _cut(folder.directory, name)
            lost = len(values - _values(folder.directory, name)) if whole else 0
            told = f"{lost} of {len(values)} values are missing"
            wrong = (f"{wrong}, {told}" if wrong else told) if lost else wrong
        found += [f"{name}: {wrong}"] if wrong else []
    return found


def _cut(directory: Path, name: str) -> str | None:
    """What is wrong with the end of a file; None where nothing is, or there is no file."""
    path = directory / name
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            return "is empty"
        file.seek(-1, 2)
        return None if file.read() == b"\n" else "its last line is cut off"


def _values(directory: Path, name: str) -> set[tuple[int, int]]:
    """Number and step of each whole line of data."""
    found = set()
    for line in (content(directory, name) or b"").split(b"\n")[:-1]:
        number, _, rest = line.removeprefix(b"LW.data(").partition(b",")
        step = rest.partition(b",")[0]
        if number.isdigit() and step.removeprefix(b"-").isdigit():
            found.add((int(number), int(step)))
    return found
