"""To call a function of a module in the middle of a training, which goes on as if it had not been called.

with set_apart(module, seed=0):
    images = function(module)          # in eval mode, without gradients, with a random state of its own
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lwcallbacks.capture.tensors import as_tensor


@contextmanager
def set_apart(module: nn.Module, seed: int) -> Iterator[None]:
    """Within, the module is in eval mode, there are no gradients, and random numbers start at `seed`.

    After it, each submodule is in the mode that it was in, and the random states of Python, NumPy, torch and the
    module's device are what they were. Whatever the block changes besides is changed.

    >>> module, before = nn.Dropout(), torch.random.get_rng_state()
    >>> with set_apart(module, seed=0):
    ...     first, mode = torch.rand(1), module.training
    >>> mode, module.training, bool(before.equal(torch.random.get_rng_state()))
    (False, True, True)
    """
    modes = [(part, part.training) for part in module.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    kind: Any = None if device.type == "cpu" else getattr(torch, device.type, None)
    forked: dict[str, Any] = {"devices": []} if kind is None else {"devices": [device], "device_type": device.type}
    with torch.random.fork_rng(**forked), torch.no_grad():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed other devices, too
        if hasattr(kind, "default_generators"):
            kind.default_generators[device.index or 0].manual_seed(seed)
        elif kind is not None:
            kind.manual_seed(seed)
        try:
            module.eval()
            yield
        finally:
            for part, mode in modes:
                part.training = mode  # as Lightning does: `train()` may be the user's own
            random.setstate(python)
            np.random.set_state(numpy)


def is_whole(module: nn.Module) -> bool:
    """Whether all parameters are on this process as a whole, so that the module can be called here alone."""
    sharded = {"DTensor", "FlatParameter"}
    return not any(
        hasattr(p, "ds_id") or sharded & {c.__name__ for c in type(p).__mro__} for p in module.parameters()
    ) and not any(type(part).__name__ == "FullyShardedDataParallel" for part in module.modules())


def as_images(value: Any) -> list[Tensor]:
    """What a function gave as images, one by one, on the CPU: tensors [C, H, W].

    Args:
        value: a tensor [N, C, H, W] or [N, H, W]; or a list of tensors [C, H, W] or [H, W], of arrays uint8 [H, W],
            [H, W, 3] or [H, W, 4] with the channels last, or of PIL images.

    >>> [tuple(image.shape) for image in as_images([torch.zeros(3, 2, 5), np.zeros((4, 5, 3), np.uint8)])]
    [(3, 2, 5), (3, 4, 5)]

    Raises:
        ValueError: it is nothing of the kind.
    """
    if isinstance(value, Tensor) and value.ndim == 3:
        value = value[:, None]
    given = list(value) if isinstance(value, Sequence) or getattr(value, "ndim", 0) == 4 else []
    found = [_image(image) for image in given]
    if not found or not all(image is not None and image.ndim == 3 for image in found):
        told = (
            f"a {type(value).__name__} of shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)[:80]
        )
        raise ValueError(f"sample= gives {told}, expected images [N, C, H, W], or a list of [C, H, W] or of PIL images")
    images = [image for image in found if image is not None]
    channels = sorted({len(image) for image in images})
    if len(channels) > 1:
        raise ValueError(f"sample= gives images of {' and '.join(map(str, channels))} channels, expected one number")
    return images


def _image(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        tensor = as_tensor(value)
        return None if tensor is None else tensor[None].cpu() if tensor.ndim == 2 else tensor.cpu()
    array = np.asarray(value)
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        return None
    return torch.from_numpy(np.moveaxis(array[..., None] if array.ndim == 2 else array, -1, 0).copy())
