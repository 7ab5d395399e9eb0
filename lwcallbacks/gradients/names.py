"""Parameters as the user calls them.

names = names_of(module)             # {id(parameter): "net.0.weight"}, a shared parameter once
modules_of(module)                   # {"net.0": <the module>}
Chosen(("net.*",), ("*.bias",)).has("net.0.weight")
layers_of(names, {"SGD": parameters}, Chosen(), depth=2)      # {"SGD": [(parameter, "net.0"), ...]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
"""Modules that stand before the user's own, by the name of their class, and what they call it."""


def names_of(module: nn.Module) -> dict[int, str]:
    """By `id`, without what `torch.compile` and others put between.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> list(names_of(nn.ModuleDict({"net": nn.DataParallel(net)})).values())
    ['net.0.weight', 'net.0.bias']
    """
    return {id(p): name for name, p in named_parameters_of(module)}


def named_parameters_of(module: nn.Module) -> list[tuple[str, Tensor]]:
    """What `names_of` names, in the order of the module.

    >>> [name for name, _ in named_parameters_of(nn.Sequential(nn.Linear(2, 2)))]
    ['0.weight', '0.bias']
    """
    wrapped = _wrapped(module)
    return [(_plain(name, wrapped), p) for name, p in module.named_parameters()]


def buffers_of(module: nn.Module) -> dict[str, Tensor]:
    """Buffers by the names that the user gives them, a shared one once.

    >>> list(buffers_of(nn.DataParallel(nn.Sequential(nn.BatchNorm1d(2)))))
    ['0.running_mean', '0.running_var', '0.num_batches_tracked']
    """
    wrapped = _wrapped(module)
    return {_plain(name, wrapped): buffer for name, buffer in module.named_buffers()}


def modules_of(module: nn.Module) -> dict[str, nn.Module]:
    """The modules inside by name, one that has several names once. What only wraps another gives way to it.

    >>> net = nn.Sequential(nn.Linear(2, 2))
    >>> [(name, type(part).__name__) for name, part in modules_of(nn.ModuleDict({"net": nn.DataParallel(net)})).items()]
    [('net', 'Sequential'), ('net.0', 'Linear')]
    """
    wrapped = _wrapped(module)
    return {plain: part for name, part in module.named_modules() if (plain := _plain(name, wrapped))}


def _wrapped(module: nn.Module) -> set[str]:
    """Names of modules that are inside of a wrapper."""
    wrapped = set()
    for prefix, inside in module.named_modules():
        inner = _WRAPPERS.get(type(inside).__name__)
        if inner is not None:
            wrapped.add(f"{prefix}.{inner}" if prefix else inner)
    return wrapped


def _plain(name: str, wrapped: set[str]) -> str:
    if not wrapped:
        return name
    parts = name.split(".")
    return ".".join(part for i, part in enumerate(parts) if ".".join(parts[: i + 1]) not in wrapped)


@dataclass(frozen=True)
class Chosen:
    """Patterns as those of a shell: a name is chosen if one of `include` fits, if there are any, and none of `exclude`.

    >>> Chosen(include=("encoder.*",), exclude=("*.bias",)).has("encoder.0.bias")
    False
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def has(self, name: str) -> bool:
        if not self.include and not self.exclude:
            return True
        fits = not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
        return fits and not any(fnmatchcase(name, pattern) for pattern in self.exclude)


def layers_of(
    names: Mapping[int, str], optimizers: Mapping[str, Sequence[Tensor]], chosen: Chosen, depth: int | None
) -> dict[str, list[tuple[Tensor, str]]]:
    """The chosen parameters of each optimizer, each with the name of its layer: the first `depth` parts of its own.

    They are in the order of the module, whatever groups an optimizer has them in. `names` are those of `names_of`. A
    layer that several optimizers have a part of has the optimizer's name behind its own. A parameter that the module
    does not know is called by the optimizer and its number there, and comes behind.
    """
    found: dict[str, list[tuple[Tensor, str]]] = {}
    for optimizer, parameters in optimizers.items():
        own = {id(p): (p, names.get(id(p), f"{optimizer}.{i}")) for i, p in enumerate(parameters)}
        ordered = [*(own[key] for key in names if key in own), *(own[key] for key in own if key not in names)]
        found[optimizer] = [(p, layer_of(name, depth)) for p, name in ordered if chosen.has(name)]
    owners = Counter(layer for of in found.values() for layer in {layer for _, layer in of})
    return {
        optimizer: [(p, f"{layer}/{optimizer}" if owners[layer] > 1 else layer) for p, layer in of]
        for optimizer, of in found.items()
    }


def layer_of(name: str, depth: int | None) -> str:
    """The first `depth` parts of a parameter's name, or all of it."""
    return name if depth is None else ".".join(name.split(".")[:depth])
