"""A metric against a reference: a function of all samples at once, such as scikit-learn's.

    def accuracy(preds, target):
        return accuracy_score(target, preds.argmax(1))

    check_metric(lambda: MulticlassAccuracy(3, average="micro"), multiclass_batches(3), reference=accuracy)

A reference may count in float64 and return Python's numbers or arrays: only numbers are compared, not their types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.testing.same import Closeness, shown
from lwcallbacks.testing.samples import Args, copied, join

# What float32 leaves of a value in the usual sums.
USUAL = Closeness(atol=1e-6, rtol=1e-5)


class Reference:
    """What the value should be.

    Attributes:
        function: gets all samples as `update` would. It returns what `compute` should; of a dict, the keys that it
            knows; None where it says nothing about these samples.
        close: how far a value may be from it.
        answers: how often it said something.
    """

    def __init__(self, function: Callable[..., Any], close: Closeness = USUAL) -> None:
        self.function = function
        self.close = close
        self.answers = 0

    def of(self, batches: Sequence[Args]) -> Any:
        """What it says of these batches.

        Raises:
            Indivisible: they can't be put together.
            AssertionError: the function raised; the message has its exception.
        """
        args = copied(join(batches))
        try:
            expected = self.function(*args)
        except Exception as error:
            raise AssertionError(
                f"the reference raised {type(error).__name__}: {error}; where it says nothing, let it return None"
            ) from error
        self.answers += expected is not None
        return expected

    def contradiction(self, found: Any, expected: Any) -> str | None:
        """What is reported and what the reference says, in words; None where they agree."""
        return contradiction(found, expected, self.close)


def contradiction(found: Any, expected: Any, close: Closeness, told: str = "the reference says") -> str | None:
    """Where a value is not the expected one, in words; None where it is."""
    where = _unlike(found, expected, close)
    if where is None:
        return None
    place, reported, said = where
    return f"you report {reported} where {told} {said}{f' (at {place})' if place else ''}"


def _unlike(found: Any, expected: Any, close: Closeness, place: str = "") -> tuple[str, str, str] | None:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if missing := [key for key in expected if key not in found]:
            return place, f"the keys {list(found)}", f"also {missing}"
        pairs = [(f"{place}[{key!r}]", found[key], expected[key]) for key in expected]
        return next(filter(None, (_unlike(f, e, close, at) for at, f, e in pairs)), None)
    ours, theirs = _numbers(found), _numbers(expected)
    if ours is None or theirs is None:
        if isinstance(found, list | tuple) and isinstance(expected, list | tuple) and len(found) == len(expected):
            items = enumerate(zip(found, expected, strict=True))
            return next(filter(None, (_unlike(f, e, close, f"{place}[{i}]") for i, (f, e) in items)), None)
        same = ours is None and theirs is None and type(found) is type(expected) and bool(found == expected)
        return None if same else (place, shown(found), shown(expected))
    if ours.shape != theirs.shape:
        return place, f"a shape of {tuple(ours.shape)}", f"{tuple(theirs.shape)}"
    agree = (ours == theirs) | (ours.isnan() & theirs.isnan())
    finite = ours.isfinite() & theirs.isfinite()
    agree |= finite & ((ours - theirs).abs() <= close.atol + close.rtol * theirs.abs())
    if bool(agree.all()):
        return None
    at = tuple((~agree).nonzero()[0].tolist())
    index = f"[{', '.join(map(str, at))}]" if at else ""
    return place + index, f"{ours[at].item():.8g}", f"{theirs[at].item():.8g}"


def _numbers(value: Any) -> Tensor | None:
    """A number, an array, a tensor or a list of numbers in float64; None for anything else."""
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return None
