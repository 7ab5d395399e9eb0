"""Names of classes and counts as they are shown: no two names alike, and all short enough for their place.

distinct(["cat", "dog", "cat"])                # ("cat", "dog", "cat (2)")
shorten("a very long name with an ending", 12) # "a very…nding"
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable


def distinct(names: Iterable[object]) -> tuple[str, ...]:
    """The names as text; one that stands before already has its index behind it, so that no two are equal.

    >>> distinct(["cat", "dog", "cat"])
    ('cat', 'dog', 'cat (2)')
    >>> distinct(["cat", "cat", "cat (1)"])    # no other class's name is taken
    ('cat', 'cat (1) (1)', 'cat (1)')
    """
    texts = [str(name) for name in names]
    given, taken, told = set(texts), set[str](), []
    for index, text in enumerate(texts):
        name = text
        while name in taken or (name != text and name in given):
            name = f"{name} ({index})"
        taken.add(name)
        told.append(name)
    return tuple(told)


def shorten(text: str, limit: int) -> str:
    """At most `limit` letters wide, of which the last is as telling as the first: both ends stay.

    A letter of Chinese, Japanese or Korean is as wide as two.

    >>> shorten("n02085620-Chihuahua", 12)
    'n02085…uahua'
    """
    if len(text) <= limit and (text.isascii() or sum(map(_width, text)) <= limit):
        return text
    end = _fitting(reversed(text), (limit - 1) // 2)
    start = _fitting(text, limit - 1 - sum(map(_width, text[len(text) - end :])))
    return f"{text[:start]}…{text[len(text) - end :]}"


def _fitting(letters: Iterable[str], width: int) -> int:
    """How many letters have room."""
    widths = itertools.accumulate(map(_width, letters))
    return sum(1 for _ in itertools.takewhile(lambda so_far: so_far <= width, widths))


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def labels_of(names: Iterable[object], limit: int) -> tuple[str, ...]:
    """`distinct` and `shorten` together: names that only differ in the middle stay distinct, too."""
    return distinct(shorten(name, limit) for name in distinct(names))


def compact(count: int) -> str:
    """A count in at most five characters: whole below 100,000, then three digits and a unit.

    >>> compact(99_999), compact(123_456), compact(999_999)
    ('99999', '123k', '1M')
    """
    if count < 10**5:
        return str(count)
    rounded = float(f"{count:.3g}")
    power, unit = next(
        (p, u) for p, u in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")) if rounded >= 10**p
    )
    return f"{rounded / 10**power:.3g}{unit}"
