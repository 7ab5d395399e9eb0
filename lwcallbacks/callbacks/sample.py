"""What the callbacks that show a few samples have in common: their arguments, images of a list, and unnamed classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.callbacks.names import named_in_full
from lwcallbacks.media import is_channels_last
from lwcallbacks.reductions import FieldError
from lwcallbacks.warn import warn


def check_size(owner: str, size: Any) -> int | tuple[int, int]:
    """The size of a place for an image. Raises ValueError where it is none."""
    both = (size, size) if isinstance(size, int) else size
    if not isinstance(both, tuple) or len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
        raise ValueError(f"{owner}: size={size!r}, expected an int of at least 1, or two, (height, width)")
    checked: int | tuple[int, int] = size
    return checked


def check_number(owner: str, num_samples: object) -> None:
    """Raise ValueError for a number of samples that is none."""
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"{owner}: num_samples={num_samples!r}, expected an int of at least 1")


def expect_channels_first(more: str = "", **fields: Tensor | None) -> None:
    """Raise FieldError where one of the fields that are images is [N, H, W, C], which would be drawn as rubbish.

    Args:
        more: what else to write, at the end of the message.
        fields: by name.
    """
    images = {name: field for name, field in fields.items() if field is not None and is_channels_last(field)}
    if images:
        found = ", ".join(f"{name} {tuple(field.shape)}" for name, field in images.items())
        codes = {name: "batch[0]" if name == "inputs" else "..." for name in images}
        cures = ", ".join(f"{name}=lambda outputs, batch: {code}.movedim(-1, 1)" for name, code in codes.items())
        raise FieldError(f"found {found}, expected images (N, C, H, W). Channels go first: {cures}{more}")


def both(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, of a size that `check_size` has seen."""
    return (size, size) if isinstance(size, int) else size


def sized(fields: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensor | None]]:
    """Images [N, C, H, W] each with their sizes int32 [N, 2], where these follow them; None where they do not. A field
    that is missing is passed over."""
    found: list[tuple[Tensor, Tensor | None]] = []
    for field in (field for field in fields if field is not None):
        if found and field.ndim == 2 and field.dtype == torch.int32 and field.shape[1] == 2:
            found[-1] = found[-1][0], field
        else:
            found.append((field, None))
    return found


def full_sizes(images: Tensor) -> Tensor:
    """The sizes of images that fill their place, int32 [N, 2]."""
    sizes = torch.full((len(images), 2), images.shape[-2], dtype=torch.int32, device=images.device)
    sizes[:, 1] = images.shape[-1]
    return sizes


def warn_unnamed(
    owner: str,
    names: tuple[str, ...] | None,
    labels: Iterable[int],
    said: set[str],
    may_ignore: bool = False,
    ignored: int | None = None,
) -> None:
    """Warn, once for each set `said`, of labels that have no name: their index is shown.

    Args:
        may_ignore: whether the owner has an argument `ignore_index` that the label may be meant for.
        ignored: what it is; that label needs no name.
    """
    unnamed = sorted({label for label in labels if names is not None and len(names) <= label != ignored})
    if names is not None and unnamed and "unnamed" not in said:
        said.add("unnamed")
        found = f"class_names has {len(names)} names, but there is a label {unnamed[-1]}"
        cure = f"Give {unnamed[-1] + 1} names{named_in_full(names, unnamed[-1] + 1)}"
        if may_ignore and ignored is None:
            cure = f"For a target that does not count write ignore_index={unnamed[-1]}. {cure}"
        warn(f"lwcallbacks: {owner}: {found}; its index is shown. {cure}")
