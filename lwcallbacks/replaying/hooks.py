"""Which module first gives an output, or a gradient, that is not finite: by hooks, for one forward and one backward.

with Hooked(module) as hooked:
    loss = compute(module)
    told = hooked.of_forward()                 # a sentence, or None where all was finite
    loss.backward()
hooked.of_backward()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lwcallbacks.capture.tree import walk


def floats_in(value: Any) -> Iterator[Tensor]:
    """The tensors of floats in it."""
    yield from (x for x in walk(value) if isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex()))


def described(value: Any) -> str | None:
    """What in it is not finite, as "NaN in 3 of 320"; None where all is."""
    for x in floats_in(value):
        for what, found in (("NaN", torch.isnan(x)), ("Inf", torch.isinf(x))):
            if number := int(found.sum()):
                return f"{what} in {number} of {x.numel()}"
    return None


def odd_rows(value: Any) -> tuple[int, list[int]] | None:
    """How many rows the first tensor has that is not finite, and which of them are not; None where all is.

    One that may be a mask counts where there is no other.
    """
    odd = [x.detach() for x in floats_in(value) if x.ndim and not bool(x.isfinite().all())]
    if not odd:
        return None
    x = next(filter(_is_odd, odd), odd[0])
    return len(x), (~x.isfinite()).reshape(len(x), -1).any(1).nonzero().flatten().tolist()


def extent(value: Any) -> str:
    """From where to where the finite floats go, as " from -0.5 to 3"."""
    of = [x.detach()[torch.isfinite(x)].flatten() for x in floats_in(value) if not x.is_complex()]
    every = torch.cat([x.to("cpu", torch.float64) for x in of]) if of else torch.zeros(0)
    return f" from {float(every.min()):.4g} to {float(every.max()):.4g}" if every.numel() else ""


@dataclass(eq=False)
class _Call:
    """One call of a module."""

    title: str
    within: _Call | None
    out_is_finite: bool = True
    """Of the gradients of its outputs, those that have come."""
    bad_at: int | None = None
    """When first a gradient of its inputs or own parameters was not finite."""


class Hooked:
    """See the module's synopsis. Nothing stays on the module."""

    def __init__(self, module: nn.Module, batch_is_finite: bool = True) -> None:
        self._module = module
        self._batch_is_finite = batch_is_finite
        self._handles: list[Any] = []
        self._open: list[_Call] = []
        self._calls: list[_Call] = []
        self._told: str | None = None
        self.rows: tuple[int, list[int]] | None = None
        """Of what was the first that was not finite, as `odd_rows` says."""
        self._first_out: tuple[str, str] | None = None
        self._clock = 0

    def __enter__(self) -> Hooked:
        for name, module in self._module.named_modules():
            if name:
                title = f"{name} ({type(module).__name__})"
                self._handles += [
                    module.register_forward_pre_hook(partial(self._before, title), with_kwargs=True),
                    module.register_forward_hook(self._behind, with_kwargs=True),
                ]
        return self

    def __exit__(self, *raised: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def of_forward(self) -> str | None:
        """What was the first that was not finite, up to now."""
        return self._told

    def of_backward(self) -> str | None:
        """The same of gradients; the innermost module that was given a finite one and has made another."""
        guilty = [call for call in self._calls if call.out_is_finite and call.bad_at is not None]
        around = {id(outer) for call in guilty for outer in _around(call)}
        inner = [call for call in guilty if id(call) not in around]
        if inner:
            first = min(inner, key=lambda call: call.bad_at or 0)
            return f"{first.title}: the gradient of its output is finite, and it makes one that is not"
        if self._first_out is not None:
            title, what = self._first_out
            return (
                f"the gradient of the output of {title} is the first that is not finite ({what}), made by what follows"
            )
        return None

    # ----------------------------------------------------------------------------------------------------------------

    def _before(self, title: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = _Call(title, self._open[-1] if self._open else None)
        given = [args, kwargs]
        if self._told is None and any(_is_odd(x) for x in floats_in(given)):
            where = f"inside {call.within.title}" if call.within else "in the step"
            made = f"it was made {where}, and by no module" if self._batch_is_finite else "no module has made it"
            what = f"the input of {title} is the first that is not finite ({described(given)})"
            self._told = f"{what}: {made}"
            self.rows = odd_rows(given)
        self._open.append(call)
        self._calls.append(call)
        parameters = [p for p in module.parameters(recurse=False) if p.requires_grad]
        for x in (*floats_in([args, kwargs]), *parameters):
            if x.requires_grad:
                self._handles.append(x.register_hook(partial(self._came_in, call)))  # type: ignore[no-untyped-call]

    def _behind(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = self._open.pop()
        what = described(output)
        if what is not None and self._told is None:
            weights = described(list(module.parameters(recurse=False)))
            own = f"; its own parameters are not finite ({weights})" if weights else ""
            is_fine = described([args, kwargs]) is None
            given = f"its inputs are finite,{extent([args, kwargs])}" if is_fine else "an input is -Inf"
            self._told = f"{call.title}: its output is the first that is not finite ({what}); {given}{own}"
            self.rows = odd_rows(output)
        for x in floats_in(output):
            if x.requires_grad:
                self._handles.append(x.register_hook(partial(self._came_out, call)))  # type: ignore[no-untyped-call]

    def _came_out(self, call: _Call, gradient: Tensor) -> None:
        self._clock += 1
        what = described(gradient)
        if what is not None:
            call.out_is_finite = False
            self._first_out = self._first_out or (call.title, what)

    def _came_in(self, call: _Call, gradient: Tensor) -> None:
        self._clock += 1
        if call.bad_at is None and described(gradient) is not None:
            call.bad_at = self._clock


def _is_odd(x: Tensor) -> bool:
    """Whether it is not finite, and no mask either, which is -Inf here and there."""
    is_mask = False if x.is_complex() else not bool((x.isnan() | (x == float("inf"))).any() | x.isinf().all())
    return not is_mask and not bool(x.isfinite().all())


def _around(call: _Call) -> Iterator[_Call]:
    while call.within is not None:
        call = call.within
        yield call
