"""Names of classes as an argument: a list by index, or a dict in either direction.

class_names_of("ConfusionMatrix", ["cat", "dog"], num_classes=2)          # ("cat", "dog")
class_names_of("ConfusionMatrix", {"dog": 1, "cat": 0})                   # ("cat", "dog"), as in ImageFolder
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral
from typing import Any

from lwcallbacks.media import distinct

_FEW = 20

EXPECTED = "expected a list of names by class index, a dict {index: name} or a dict {name: index}"


def class_names_of(
    owner: str, class_names: Iterable[Any] | Mapping[Any, Any] | None, num_classes: int | None = None
) -> tuple[str, ...] | None:
    """The names by class index, no two of them equal; None if there are none.

    Args:
        owner: whose argument it is, in messages.
        class_names: any sequence or generator of names in the order of the classes; a dict {index: name}, whose
            indices may be text as in JSON; or a dict {name: index}. The order of a dict does not matter.
        num_classes: how many names there have to be.

    >>> class_names_of("ConfusionMatrix", {2: "owl", 0: "cat", 1: "dog"}, num_classes=3)
    ('cat', 'dog', 'owl')
    >>> class_names_of("ConfusionMatrix", "cat")
    Traceback (most recent call last):
    TypeError: ConfusionMatrix: class_names='cat' is one text, expected a list of names by class index, a dict \
{index: name} or a dict {name: index}; write class_names=['cat']

    Raises:
        TypeError: one text, a set, or nothing that can be iterated.
        ValueError: another number of names than of classes; a dict without an index, with one twice, or below 0.
    """
    if class_names is None:
        return None
    if isinstance(class_names, str | bytes):
        text = class_names if isinstance(class_names, str) else class_names.decode(errors="replace")
        cure = f"write class_names={[part.strip() for part in text.split(',')]!r}"
        raise TypeError(f"{owner}: class_names={class_names!r} is one text, {EXPECTED}; {cure}")
    if isinstance(class_names, Set) or not isinstance(class_names, Iterable):
        found = "has no order" if isinstance(class_names, Set) else f"is a {type(class_names).__name__}"
        raise TypeError(f"{owner}: class_names={class_names!r} {found}, {EXPECTED}; write class_names=['cat', 'dog']")
    names = _by_index(owner, class_names) if isinstance(class_names, Mapping) else list(class_names)
    if num_classes is not None and len(names) != num_classes:
        told = f"{owner}: class_names has {len(names)} names, expected {num_classes}: one for each class"
        raise ValueError(f"{told}{named_in_full(names, num_classes)}")
    return distinct(names)


def names_or_indices(names: tuple[str, ...] | None, number: int) -> tuple[str, ...]:
    """The names of so many classes; their indices where they have none.

    >>> names_or_indices(None, 3)
    ('0', '1', '2')
    """
    return tuple(map(str, range(number))) if names is None else names


def named_in_full(names: Sequence[Any], num_classes: int) -> str:
    """How to write a list with a name for each class, where some are missing; "" where it would be too long."""
    if not len(names) < num_classes <= _FEW:
        return ""
    return f"; write class_names={[*map(str, names), *map(str, range(len(names), num_classes))]!r}"


def _by_index(owner: str, class_names: Mapping[Any, Any]) -> list[Any]:
    """The names of a dict in the order of their indices, of which none may be missing."""
    names: dict[int, Any] = {}
    for index, name in _pairs(owner, class_names):
        if index < 0 or index in names:
            found = f"the index {index}" if index < 0 else f"two names for the index {index}"
            raise ValueError(f"{owner}: class_names has {found}, expected one name for each index from 0 on")
        names[index] = name
    missing = [index for index in range(max(names, default=-1)) if index not in names]
    if missing:
        expected = "one name for each index from 0 on, those of classes that never occur, too"
        pair = f"{str(missing[0])!r}: {missing[0]}" if next(iter(names.values())) in class_names else ""
        cure = f"add {pair or f'{missing[0]}: {str(missing[0])!r}'} to it"
        raise ValueError(f"{owner}: class_names has no name for {_first(missing)}, expected {expected}; {cure}")
    return [names[index] for index in range(len(names))]


def _pairs(owner: str, class_names: Mapping[Any, Any]) -> list[tuple[int, Any]]:
    """Index and name. Integers go before integers that are written as text, which may be names: {"7": 0, "3": 1}."""
    for is_index in (_is_integer, _is_text_of_integer):
        if all(map(is_index, class_names)):
            return [(int(index), name) for index, name in class_names.items()]
        if all(map(is_index, class_names.values())):
            return [(int(index), name) for name, index in class_names.items()]
    raise ValueError(f"{owner}: class_names={dict(class_names)!r} has no indices, {EXPECTED}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_text_of_integer(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal()  # a key of JSON


def _first(indices: list[int], most: int = 5) -> str:
    first = ", ".join(map(str, indices[:most]))
    return f"{first} and {len(indices) - most} more" if len(indices) > most else first
