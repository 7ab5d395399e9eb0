"""Names of classes, as they are given, by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def class_names_of(owner: str, class_names: Any, num_classes: int | None = None) -> tuple[str, ...] | None:
    """Names by class index; None stays None.

    Raises:
        ValueError: a str, a dict whose indices are not 0, 1, 2, ..., or another number than `num_classes`.
    """
    if class_names is None:
        return None
    if isinstance(class_names, str) or not isinstance(class_names, Iterable):
        raise ValueError(f"{owner}: class_names={class_names!r}, expected names by class, as in ['cat', 'dog']")
    if isinstance(class_names, Mapping):
        by_index = dict(class_names)
        if all(isinstance(index, int) for index in by_index.values()):
            by_index = {index: name for name, index in by_index.items()}
        if set(by_index) != set(range(len(by_index))):
            raise ValueError(f"{owner}: class_names={class_names!r}, expected a name for each of 0, 1, 2, ...")
        class_names = [by_index[i] for i in range(len(by_index))]
    names = tuple(map(str, class_names))
    if num_classes is not None and len(names) != num_classes:
        raise ValueError(f"{owner}: class_names has {len(names)} names, expected num_classes={num_classes}")
    return names
