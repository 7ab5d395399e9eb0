"""Data of any number of keys and steps in few files, which only ever grow by whole lines, and their index.

    chunks = Chunks(Path("media"), folder_of)
    chunks.refresh()
    chunks.write(120, {"val/confusion": "matrix", "a": "image"}, {"val/confusion": "{...}"}, {"a": "a cat"})

`data/00000.js`, the chunks, have a line `LW.data(7,120,{...});` per value: 7 is the number of a key with its kind, 120
the step. A chunk is closed when it has 512 KiB, or a 128th of all: there are few, and the page loads one at once.
What is written in one call is in one chunk. `manifest.js`, the index, has lines of three kinds:

    LW.key(7,"val/a:b","matrix","val/a_b-7d6fd7c5");   the number of a key with its kind, and the folder of its images
    LW.text(0,["cat","dog"]);                          what stands for `0` in place of a list of texts
    LW.step(120,0,[7,9,12,12],{"8":"a caption"});      keys 7 to 9 and 12 have step 120, their data are in chunk 0

The last line about a key and step holds. A call adds to the chunk first, then to the index: after a crash between the
two, the values are as if they had not been written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lwcallbacks.disk import append_lines
from lwcallbacks.writers.compact import Texts, encode

MIN_CHUNK, SHARE = 2**19, 128
STEP = re.compile(r"LW\.step\((-?\d+),")
INDEX = re.compile(r"LW\.(key|text)\((.*)\);")


class Chunks:
    """Appends to the chunks and the index in a directory, and goes on with what is there.

    Args:
        folder_of: the folder of a key's images, below the directory.
    """

    def __init__(self, directory: Path, folder_of: Callable[[str], str]) -> None:
        self._folder_of = folder_of
        self._manifest = directory / "manifest.js"
        self._directory = directory / "data"
        self._seen: int | None = None
        self.bytes_written = 0
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self.texts = Texts({})
        self._sizes: list[int] = []

    def refresh(self) -> None:
        """Read the index, unless it is as this object has left it: another may have written here, or deleted it."""
        size = self._manifest.stat().st_size if self._manifest.exists() else 0
        if size == self._seen:
            return
        self._forget()
        texts: dict[int, list[str]] = {}
        for name, arguments in _calls(self._manifest):
            match name, json.loads(f"[{arguments}]"):
                case "key", [number, key, kind, _]:
                    self._numbers[key, kind] = number
                case "text", [number, strings]:
                    texts[number] = strings
        self.texts = Texts(texts)
        last = max((int(path.stem) for path in self._directory.glob("[0-9]*.js")), default=-1)
        self._sizes = [_size(self.path(number)) for number in range(last + 1)]
        self._seen = size

    def path(self, number: int) -> Path:
        return self._directory / f"{number:05d}.js"

    def last_step(self) -> int | None:
        """The step that was written last, by whoever wrote here; None of none."""
        whole = self._manifest.read_text().split("\n")[:-1] if self._manifest.exists() else []
        return next((int(found[1]) for line in reversed(whole) if (found := STEP.match(line))), None)

    @property
    def last(self) -> Path:
        """The chunk that was written last."""
        return self.path(max(0, len(self._sizes) - 1))

    def write(
        self, step: int, kinds: Mapping[str, str], texts: Mapping[str, str], captions: Mapping[str, str] | None = None
    ) -> None:
        """Add values of one step, after `refresh`.

        Args:
            kinds: of each key, in order.
            texts: the JSON of each that is no image, by key.
            captions: of images, by key.
        """
        index, numbers = [], dict[str, int]()
        for key, kind in kinds.items():
            number = self._numbers.get((key, kind))
            if number is None:
                number = len(self._numbers)
                self._numbers[key, kind] = number
                index.append(f"LW.key({_arguments(number, key, kind, self._folder_of(key))});")
            numbers[key] = number
        data = [f"LW.data({numbers[key]},{step},{texts[key]});" for key in kinds if key in texts]
        told = {str(numbers[key]): caption for key, caption in (captions or {}).items()}
        try:
            chunk = self._append(data) if data else None
            index += [f"LW.text({_arguments(number, texts)});" for number, texts in self.texts.new.items()]
            of_step = _arguments(step, chunk, _ranges(numbers.values()), *([told] if told else []))
            self.bytes_written += append_lines(self._manifest, "\n".join([*index, f"LW.step({of_step});"]))
        except BaseException:
            self._seen = None  # what is new is not written down: begin again with what is
            raise
        self.texts.new.clear()
        self._seen = self._manifest.stat().st_size

    def _append(self, data: list[str]) -> int:
        """The chunk that the lines are in."""
        if not self._sizes or self._sizes[-1] >= max(MIN_CHUNK, sum(self._sizes) // SHARE):
            self._sizes.append(0)
        number = len(self._sizes) - 1
        if not self._sizes[number]:
            self._directory.mkdir(parents=True, exist_ok=True)
        self.bytes_written += append_lines(self.path(number), "\n".join(data))
        self._sizes[number] = _size(self.path(number))
        return number


def _arguments(*values: Any) -> str:
    return encode(values)[1:-1]


def _ranges(numbers: Iterable[int]) -> list[int]:
    """First and last of each run of numbers.

    >>> _ranges([7, 8, 9, 12])
    [7, 9, 12, 12]
    """
    ranges: list[int] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1] + 1:
            ranges[-1] = number
        else:
            ranges += [number, number]
    return ranges


def _calls(manifest: Path) -> Iterable[tuple[str, str]]:
    """Names and arguments of the lines about keys and texts; not of one that a crash has cut."""
    whole = manifest.read_text().split("\n")[:-1] if manifest.exists() else []
    return [found.groups() for line in whole if (found := INDEX.fullmatch(line))]  # type: ignore[misc]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
