"""Where a callback's fields are to be found.

Source(preds="logits", more=(("score", None), ("indexes", lambda outputs, batch: batch["query"])))
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, TypeAlias

from torch import nn

from lwcallbacks.capture.errors import CaptureError
from lwcallbacks.capture.forms import Form
from lwcallbacks.capture.names import KEYS

# In this order, and with Any, for jsonargparse: it takes the first member that fits, and would look for callables that
# return a Tensor among the subclasses of Tensor.
Extract: TypeAlias = str | int | Callable[..., Any]
"""A key (or field, or attribute) of the step's output, of what the forward call returned, or of the batch; an index
into the batch; or a function: `f(outputs, batch) -> tensor`, or `f(outputs, batch, returned) -> tensor` with what the
forward call returned, or `f(outputs, batch, calls) -> tensor` with a list of what each of several returned, in order.

A function may also be given by its name: "package.module.function" is imported where it is no such key."""

_OWN = ("inputs", "preds", "targets", "ids")


@dataclass(frozen=True)
class Source:
    """Where to find each field, if not in the usual places.

    Args:
        inputs: where the inputs are.
        preds: where the predictions are.
        targets: where the targets are.
        ids: where the id of each row is, integers [N]; there is no usual place for it.
        forward: the name of the submodule whose calls return the predictions; None is the module itself.
        more: any further fields by name; one without a place is looked for under its own name.
        forms: how to read those fields that are no tensor, by name. Where a form has parts, "inputs.size" is the part
            "size" of the inputs.

    >>> source = Source(targets=1, more={"score": "my_score"})
    >>> source.extract("targets"), source.extract("score"), source.extract("preds")
    (1, 'my_score', None)
    """

    inputs: Extract | None = None
    preds: Extract | None = None
    targets: Extract | None = None
    ids: Extract | None = None
    forward: str | None = None
    more: tuple[tuple[str, Extract | None], ...] = ()
    forms: tuple[tuple[str, Form], ...] = ()

    def __post_init__(self) -> None:
        for name in ("more", "forms"):
            given = getattr(self, name)
            pairs = given.items() if isinstance(given, Mapping) else given or ()
            object.__setattr__(self, name, tuple((field, value) for field, value in pairs))

    def fault(self) -> str | None:
        """What is no place at all, and what was expected; None where all are places."""
        given = {name: getattr(self, name) for name in _OWN} | dict(self.more)
        for name, extract in given.items():
            is_place = extract is None or isinstance(extract, (str, int)) or callable(extract)
            if isinstance(extract, bool) or not is_place:
                found = f"{name}={extract!r}"
                return f"{found}, expected a key, an index into the batch, or a function of outputs and batch"
        if self.forward is not None and not isinstance(self.forward, str):
            found = f"forward is {type(self.forward).__name__}"
            return f"{found}, expected the name of a submodule: write forward='net' where the step calls self.net(x)"
        return None

    def form(self, field: str) -> tuple[str, Form | None, str]:
        """The field that is to be found, how to read it, and which part of it is wanted."""
        whole, _, part = field.partition(".")
        form = dict(self.forms).get(whole)
        return (field, None, "") if form is None else (whole, form, part)

    def extract(self, field: str) -> Extract | None:
        """Where `field` is; None for the usual places."""
        field = self.form(field)[0]
        extract = dict(self.more).get(field)
        if extract is None and field in _OWN:
            extract = getattr(self, field)
        return field if extract is None and is_further(field) else extract

    def asks_forward(self, names: Sequence[str]) -> bool:
        """Whether one of the fields `names` may be in what the forward calls return."""
        extracts = {name: self.extract(name) for name in names}
        usual = "preds" in names and extracts["preds"] is None
        # A key is looked for in what the forward call returned, too.
        return usual or any(isinstance(e, str) or (callable(e) and takes_returned(e)) for e in extracts.values())


def is_further(field: str) -> bool:
    """Whether it is a field of the user's own, which is looked for under its own name."""
    return field not in KEYS and field not in _OWN


def takes_returned(function: Callable[..., Any]) -> bool:
    """Whether it is a function of three: outputs, batch and what the forward call returned, or all calls.

    It is one that must be given three arguments, or has a third one called `returned` or `calls`. Any other is a
    function of two: of `*args`, or what has a default, nobody knows what it is for.
    """
    positional = _positional(function)
    required = [p for p in positional if p.default is Parameter.empty]
    return len(required) == 3 or any(p.name in ("returned", "calls") for p in positional[2:3])


def takes_calls(function: Callable[..., Any]) -> bool:
    """Whether what it takes beside outputs and batch is what each forward call returned: it calls that `calls`."""
    return [p.name for p in _positional(function)[2:3]] == ["calls"]


def _positional(function: Callable[..., Any]) -> Sequence[Parameter]:
    kinds = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    return [p for p in _parameters(function) if p.kind in kinds]


def _parameters(function: Callable[..., Any]) -> Sequence[Parameter]:
    try:
        return list(inspect.signature(_called(function)).parameters.values())
    except (TypeError, ValueError):  # as of some functions written in C
        return ()


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.forward if isinstance(function, nn.Module) else function


def imported(name: str) -> Callable[..., Any]:
    """The function of that name.

    Raises:
        CaptureError: there is none; the message tells why.
    """
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CaptureError(str(error)) from error
    if not callable(found):
        raise CaptureError(f"it is a {type(found).__name__}")
    return found
