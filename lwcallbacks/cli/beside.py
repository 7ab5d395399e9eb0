"""The numbers of a run, or of runs beside each other, as lines of text for a terminal.

for line in beside([read("version_0"), read("version_1")]):
    print(line)
for line in numbers(read("version_0")):
    print(line)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_uppercase

from lwcallbacks.cli.runs import extreme, mode_of, name_of
from lwcallbacks.cli.text import plain
from lwcallbacks.readers import MediaFolder

STAGES = ("val", "test", "train")
_WHICH = {"min": "lowest", "max": "highest", None: "last"}
MOST_KEYS = 16
"""Of one parent, as the norms of a model's layers: of more the page has the numbers."""


def beside(folders: Sequence[MediaFolder]) -> Iterator[str]:
    """A line for each run, and a table with a line for each number: its best value in each run, else its last, what
    is different from the first run, and which is better as far as that is known."""
    letters = [ascii_uppercase[i] if i < len(ascii_uppercase) else str(i + 1) for i in range(len(folders))]
    for letter, folder in zip(letters, folders, strict=True):
        told = [name_of(folder), folder.run.get("state"), folder.directory]
        yield f"{letter}  {'   '.join(plain(part) for part in told if part is not None)}"
    curves = [folder.curves() for folder in folders]
    keys, on_page = _shown({key for of_run in curves for key in of_run})
    changes = [f"{letter} - {letters[0]}" for letter in letters[1:]]
    head = ["", "", letters[0], *(title for pair in zip(letters[1:], changes, strict=True) for title in pair), "better"]
    rows = [_row(key, _mode(folders, key), letters, [of_run.get(key, {}) for of_run in curves]) for key in keys]
    if rows:
        yield ""
        yield from _aligned([head, *rows])
    yield from on_page


def numbers(folder: MediaFolder) -> Iterator[str]:
    """A line for each number of one run: its best value and its step, else its last, as they would be compared."""
    curves = folder.curves()
    keys, on_page = _shown(curves)
    rows = []
    for key in keys:
        mode = _mode([folder], key)
        found = extreme(curves[key], mode)
        at = "" if found is None else f"at step {found[0]:,}"
        rows.append([plain(key), _WHICH[mode], _number(None if found is None else found[1]), at])
    yield from _aligned(rows)
    yield from on_page


def _shown(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """The keys that have a line, and lines on those that are too many of one parent."""
    ranked = sorted(keys, key=rank)
    parents = Counter(key.rpartition("/")[0] for key in ranked)
    many = {parent for parent, number in parents.items() if parent and number > MOST_KEYS}
    told = ", ".join(f"{plain(parent)}/* ({parents[parent]})" for parent in sorted(many))
    return [key for key in ranked if key.rpartition("/")[0] not in many], ["", f"On the page: {told}"] if many else []


def rank(key: str) -> tuple[int, str]:
    """Validation first, then the other stages, then what goes with them."""
    return next((i for i, stage in enumerate(STAGES) if key.startswith(stage)), len(STAGES)), key


def _mode(folders: Sequence[MediaFolder], key: str) -> str | None:
    """Whether lower or higher is better: what the first run that monitors it says, else what its name does."""
    told = next((folder.run.get("mode") for folder in folders if folder.run.get("monitor") == key), None)
    return told if told in ("min", "max") else mode_of(key)


def _row(key: str, mode: str | None, letters: Sequence[str], curves: Sequence[Mapping[int, float]]) -> list[str]:
    found = [extreme(curve, mode) for curve in curves]
    values = [None if value is None else value[1] for value in found]
    first, *others = values
    cells = [_number(first)]
    for value in others:
        cells += [_number(value), "-" if first is None or value is None else f"{value - first:+.3g}"]
    known = {letter: value for letter, value in zip(letters, values, strict=True) if value is not None}
    top = (min if mode == "min" else max)(known.values(), default=None)
    best = [letter for letter, value in known.items() if value == top]
    is_told = mode is not None and len(known) > 1 and len(best) < len(known)
    return [plain(key), _WHICH[mode], *cells, ", ".join(best) if is_told else ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of equal width: words on the left, numbers on the right."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        last = len(row) - 1
        cells = [
            cell.ljust(width) if i in (0, 1, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
