"""Modules whose outputs can be read, and what their outputs are.

found, hidden = seen_and_hidden(module)            # by name; hidden are those inside of what is compiled
chosen_of(found, ("*.relu",))
own_dim(nn.Conv2d(1, 2, 3)), has_units(nn.ReLU())  # (-3, True)
next(floats(output), None)                         # the first tensor of floats in it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lwcallbacks.gradients.names import Chosen, modules_of

_UNIT_DIMS = {
    **{f"{kind}{n}d": -1 - n for n in (1, 2, 3) for kind in ("Conv", "ConvTranspose")},
    **{f"{kind}{n}d": 1 for n in (1, 2, 3) for kind in ("BatchNorm", "InstanceNorm")},
    **dict.fromkeys(("GroupNorm", "SyncBatchNorm"), 1),
    **dict.fromkeys(("Linear", "Bilinear", "LayerNorm", "RMSNorm", "Embedding", "RNNBase"), -1),
}
"""Dimension of the units in the output of layers, by class."""
_LEFT_OUT = {"_Loss", "Metric", "Flatten", "Unflatten", "Identity"}
_NO_UNITS = {"Softmax", "Softmax2d", "Softmin", "LogSoftmax", "MultiheadAttention", "GLU"}
"""Of torch's activations those that do not work element by element."""


def chosen_of(found: Mapping[str, nn.Module], patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Those that a pattern fits; without patterns those without others inside, but for losses, metrics and such whose
    output has the elements of their input."""
    if patterns:
        return {name: part for name, part in found.items() if Chosen(patterns).has(name)}
    return {name: part for name, part in found.items() if _is_leaf(part) and not _kinds(part) & _LEFT_OUT}


def seen_and_hidden(module: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Modules by name that a hook can see, and those that it can't, each with what it is inside of."""
    plain = {id(part): name for name, part in modules_of(module).items()}
    whole = getattr(module, "_compiler_ctx", None) is not None  # as Lightning keeps a compiled module
    closed = {"": "the whole module"} if whole else {}
    found: dict[str, nn.Module] = {}
    hidden: dict[str, str] = {}
    for name, part in module.named_modules():
        inside = next((closed[above] for above in _above(name) if above in closed), None)
        if inside is None and _takes_no_hook(part):
            closed[name] = inside = name or "the whole module"
        elif inside is None and type(part).__name__ == "OptimizedModule":  # a hook on itself is called
            closed[name], found[name] = name, part
        if inside is not None and id(part) in plain:
            hidden[plain[id(part)]] = inside
        elif inside is None and id(part) in plain:
            found[plain[id(part)]] = part
    return found, {name: inside for name, inside in hidden.items() if name not in found}


def _above(name: str) -> list[str]:
    """The name, and those of the modules that it is inside of, from the inside out; "" is the outermost."""
    parts = name.split(".") if name else []
    return [".".join(parts[:i]) for i in range(len(parts), -1, -1)]


def _takes_no_hook(part: nn.Module) -> bool:
    """Whether it is compiled where it is, by `part.compile()` or as a script."""
    return getattr(part, "_compiled_call_impl", None) is not None or isinstance(part, torch.jit.ScriptModule)


def _is_leaf(part: nn.Module) -> bool:
    return not any(True for _ in part.children()) or type(part).__name__ == "OptimizedModule"


def _kinds(part: nn.Module) -> set[str]:
    """Names of its class and of those that it derives from."""
    return {kind.__name__ for kind in type(part).__mro__}


def has_units(part: nn.Module) -> bool:
    """Whether it is an activation, which works element by element."""
    of_torch = any(kind.__module__ == "torch.nn.modules.activation" for kind in type(part).__mro__)
    return (of_torch and not _kinds(part) & _NO_UNITS) or "relu" in type(part).__name__.lower()


def own_dim(part: nn.Module) -> int | None:
    """The dimension of its output that has the units, if its class tells."""
    return next((_UNIT_DIMS[kind] for kind in _kinds(part) if kind in _UNIT_DIMS), None)


def floats(value: Any) -> Iterator[Tensor]:
    """Tensors of floats in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from floats(item)


def is_plain(x: Tensor) -> bool:
    """Whether it has values here and now, all of them."""
    is_spread = hasattr(x, "placements") or hasattr(x, "to_local")
    is_odd = is_spread or x.is_nested or x.is_sparse or x.device.type == "meta" or x.is_quantized
    captured = x.is_cuda and torch.cuda.is_current_stream_capturing()
    return not (is_odd or captured or torch._C._functorch.is_functorch_wrapped_tensor(x))
