"""What `GradientHistogram` takes: its arguments, and the parameters of a module that they are for.

check_arguments(every_n_train_steps=50, bins=64, ...)        # all of them by name; raises ValueError
check_parameters("GradientHistogram('gradients')", module, names, include=("net.*",), exclude=None)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lwcallbacks.gradients.names import Chosen, named_parameters_of
from lwcallbacks.gradients.shards import is_sum

Patterns = str | Sequence[str] | None


def several(patterns: Any) -> tuple[Any, ...]:
    """One pattern, several or none, as a tuple.

    >>> several("net.*"), several(["a", "b"]), several(None)
    (('net.*',), ('a', 'b'), ())
    """
    if patterns is None:
        return ()
    return (patterns,) if isinstance(patterns, str) or not isinstance(patterns, Sequence) else tuple(patterns)


def check_arguments(
    *, every_n_train_steps: Any, bins: Any, histograms: Any, activations: Any, depth: Any, include: Any, exclude: Any,
    **switches: Any,
) -> None:  # fmt: skip
    """See the callback's docstring; `switches` are those that are True or False.

    Raises:
        ValueError: one of them is not as said there.
    """
    _check("every_n_train_steps", every_n_train_steps, _is_int(every_n_train_steps, 1), "an int of at least 1")
    _check("bins", bins, _is_int(bins, 1, 512), "an int of 1 to 512")
    _check("histograms", histograms, histograms in (None, True, False), "True, False or None")
    for argument, wanted in switches.items():
        _check(argument, wanted, wanted in (True, False), "True or False")
    fits = isinstance(activations, bool) or (bool(several(activations)) and _are_patterns(activations))
    _check("activations", activations, fits, 'True, False, a pattern such as "*.relu", or several of them')
    _check("depth", depth, depth is None or _is_int(depth, 1), "an int of at least 1, or None")
    for argument, given in (("include", include), ("exclude", exclude)):
        fits = _are_patterns(given) and (argument == "exclude" or given is None or bool(several(given)))
        _check(argument, given, fits, 'a pattern such as "encoder.*", several of them, or None')


def _are_patterns(given: Any) -> bool:
    return all(isinstance(pattern, str) and pattern for pattern in several(given))


def _is_int(value: Any, low: int, high: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check(argument: str, found: Any, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(f"GradientHistogram: {argument}={found!r}, expected {expected}")


def check_parameters(
    owner: str, module: nn.Module, names: Sequence[str], *, include: Patterns, exclude: Patterns
) -> None:
    """When training starts: whether these parameters of the module can be read, and each pattern fits one of them.

    Raises:
        ValueError: not so.
    """
    if not names:  # it has none, or does not tell
        return
    inside = next((name for name in names if "_fsdp_wrapped_module" in name), None)
    if inside is not None:
        found = f"found the parameter {inside} of a module that FSDP1 wraps"
        raise ValueError(f"{owner}: {found}, expected `fully_shard` (FSDP2) instead of it")
    trained = [name for name, p in named_parameters_of(module) if p.requires_grad]
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in several(patterns):
            if not any(Chosen((pattern,)).has(name) for name in names):
                first = ", ".join((trained or names)[:3])
                found = f"{argument} has {pattern!r}, which no parameter fits"
                raise ValueError(f"{owner}: {found}, expected a pattern for names as {first}")
    if not any(Chosen(several(include), several(exclude)).has(name) for name in names):
        found = f"include={include!r} and exclude={exclude!r} leave none of {len(names)} parameters"
        raise ValueError(f"{owner}: {found}, expected at least one, as {(trained or names)[0]}")
    partial_one = next((name for name, p in module.named_parameters() if is_sum(p)), None)
    if partial_one is not None:
        found = f"found the parameter {partial_one} with the placement Partial, of which no process has a value"
        raise ValueError(f"{owner}: {found}, expected Shard or Replicate")
