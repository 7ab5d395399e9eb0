"""A field with an entry for each sample that is no row of a tensor: the boxes of each image, texts, graphs.

ItemsForm().read([{"boxes": boxes, "labels": labels}, ...])         # Items, one mapping for each image
ItemsForm().read({"boxes": padded, "labels": padded})               # the same of padded tensors
ItemsForm().read(tensor)                                            # that tensor
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lwcallbacks.capture.forms import BoxesForm, Form, boxes_by_image
from lwcallbacks.capture.tensors import as_tensor


class Items(list[Any]):
    """Entries in the order of the samples. A slice is a list."""

    ndim = 1
    """As of a tensor: it has rows."""


@dataclass(frozen=True)
class ItemsForm(Form):
    """What a metric may take that is updated with lists: a tensor as it is, or a list with an entry for each sample.

    Boxes in one mapping of padded tensors become a list with a mapping for each image, without the rows that are no
    boxes: those are looked for on the host.

    >>> ItemsForm().read(("a cat", "a dog"))
    ['a cat', 'a dog']
    """

    is_tensor_too = is_first = True

    def fits(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return BoxesForm(1).fits(value)
        return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(e, (Mapping, str)) for e in value)

    def read(self, value: Any, part: str = "") -> Tensor | Items | None:
        tensor = as_tensor(value)
        if tensor is not None:
            return tensor
        if isinstance(value, Mapping) and BoxesForm(1).fits(value):
            return Items(boxes_by_image(value))
        return Items(value) if isinstance(value, (list, tuple)) else None
