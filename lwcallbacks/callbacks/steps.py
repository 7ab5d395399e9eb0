"""Being there when an optimizer steps: before and behind it, at every n-th of its own steps.

    steps = Steps(every=50, before=..., behind=...)        # each is given a `Stepping`; `each=...` comes at every step
    steps.watch(trainer.optimizers)                        # any number of times; those that are new are added
    steps.remove()                                         # nothing is left on an optimizer

Behind the step a gradient is the one that was used: reduced over processes, unscaled and clipped. At a step that is not
logged there is a count and no more. Hooks of an optimizer are no part of its pickle or copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


class Stepping:
    """One optimizer, and how often it has stepped.

    Attributes:
        handed: as the Trainer has it.
        optimizer: whose steps are seen: the same, or the one inside that it steps.
        name: the class of `handed`, with a number where several are of one: as `LearningRateMonitor` calls it.
        index: its place among the optimizers.
        count: steps so far.
        skipped: steps that a gradient scaler has skipped so far, as far as the host knows.
        skipped_on_device: further ones, which only the device knows, of a fused optimizer; or None.
        is_due: whether a step has been announced that has not come yet.
        has_stepped: whether one has come since it is watched.
    """

    __slots__ = (
        "_before", "_behind", "_depth", "_each", "_every", "_handles", "count", "handed", "has_stepped", "index",
        "is_due", "name", "optimizer", "skipped", "skipped_on_device",
    )  # fmt: skip

    def __init__(
        self, handed: Any, optimizer: Any, name: str, index: int, every: int, before: Call, behind: Call, each: Call
    ) -> None:
        self.handed = handed
        self.optimizer = optimizer
        self.name = name
        self.index = index
        self.count = self.skipped = 0
        self.skipped_on_device: Tensor | None = None
        self.is_due = self.has_stepped = False
        self._depth = 0  # calls of step() under way: of a class of one's own, whose step() calls that of torch
        self._every = every
        self._before = before
        self._behind = behind
        self._each = each
        self._handles = [
            optimizer.register_step_pre_hook(self._on_pre_step),
            optimizer.register_step_post_hook(self._on_post_step),
        ]
        # Before hooks of the user's, which may clear gradients.
        with suppress(AttributeError):
            optimizer._optimizer_step_post_hooks.move_to_end(self._handles[-1].id, last=False)

    @property
    def is_logged(self) -> bool:
        """Whether the step that comes next is one of the n-th."""
        return (self.count + 1) % self._every == 0

    @property
    def found_inf(self) -> Tensor | None:
        """Whether the step has found what is not finite, where a scaler leaves skipping to the optimizer."""
        return getattr(self.handed, "found_inf", None)

    def _on_pre_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._depth += 1
        if self._depth == 1 and (self.count + 1) % self._every == 0:
            self._before(self)

    def _on_post_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        self.count += 1
        self._each(self)
        self.is_due, self.has_stepped = False, True
        found_inf = self.found_inf
        if found_inf is not None:
            before = self.skipped_on_device
            self.skipped_on_device = found_inf.clone() if before is None else before + found_inf
        if self.count % self._every == 0:
            self._behind(self)

    def begin(self) -> None:
        """A batch begins: no step is under way, though one may have raised."""
        self._depth = 0

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


Call = Callable[[Stepping], object]


def nothing(*args: Any) -> None:
    """A call that does nothing."""


class Steps:
    """See the module's synopsis."""

    def __init__(self, every: int, before: Call, behind: Call, each: Call = nothing) -> None:
        self.every = every
        self._calls = before, behind, each
        self.of: list[Stepping] = []
        """One for each optimizer."""

    def watch(self, optimizers: Iterable[Any]) -> bool:
        """Follow these optimizers and no others; whether any of them is new.

        Raises:
            TypeError: an optimizer has no hooks.
        """
        handed = list(optimizers)
        found = [_that_steps(optimizer) for optimizer in handed]
        if [id(optimizer) for optimizer in found] == [id(stepping.optimizer) for stepping in self.of]:
            return False
        counts = self.counts()
        self.remove()
        triples = enumerate(zip(handed, found, _names(handed), strict=True))
        self.of = [Stepping(*of, i, self.every, *self._calls) for i, of in triples]
        self.go_on(counts)
        return True

    def find(self, optimizer: Any) -> Stepping | None:
        """The one of an optimizer, which may be wrapped."""
        names = {id(optimizer), id(getattr(optimizer, "optimizer", optimizer))}
        return next((s for s in self.of if names & {id(s.handed), id(s.optimizer)}), None)

    def left_out(self) -> list[Stepping]:
        """At the end of a batch, those whose step was announced and has not come: a scaler has left it out."""
        due = [stepping for stepping in self.of if stepping.is_due]
        for stepping in due:
            stepping.is_due = False
            stepping.skipped += any(p.grad is not None for g in stepping.optimizer.param_groups for p in g["params"])
        return due

    def idle(self) -> list[Stepping]:
        """Those of which no step was seen, nor one that a scaler has left out."""
        return [stepping for stepping in self.of if not (stepping.has_stepped or stepping.skipped)]

    def counts(self) -> dict[str, dict[int, int]]:
        """Steps so far and those that were skipped, by the optimizer's index. Waits for the device."""
        skipped = {s.index: s.skipped + on_host(s.skipped_on_device) for s in self.of}
        return {"steps": {s.index: s.count for s in self.of}, "skipped": skipped}

    def go_on(self, counts: Mapping[str, Mapping[int, int]]) -> None:
        """Count on from there."""
        for stepping in self.of:
            stepping.count = counts.get("steps", {}).get(stepping.index, 0)
            stepping.skipped = counts.get("skipped", {}).get(stepping.index, 0)

    def remove(self) -> None:
        for stepping in self.of:
            stepping.remove()
        self.of = []


def on_host(count: Tensor | None) -> int:
    """A count of a device as a number; waits for the device."""
    return 0 if count is None else int(count.item())


def _that_steps(optimizer: Any) -> Any:
    """The innermost optimizer of the same parameters: that of a wrapper, and of one such as SAM, which calls the step
    of another and may clear gradients behind it."""
    known, inside = [], [optimizer]
    while len(inside) == 1:
        known += inside
        held = getattr(known[-1], "__dict__", {}).values()
        inside = [of for of in held if _is_stepped_by(known[-1], of) and not any(of is one for one in known)]
    if _has_hooks(known[-1]):
        return known[-1]
    raise TypeError(
        f"found the optimizer {type(optimizer).__name__}, which has no register_step_post_hook, so that nobody can see "
        "its steps. Expected a torch.optim.Optimizer: derive it from that class, or write `self.optimizer = ...` in "
        "it, of the optimizer whose step it calls"
    )


def _is_stepped_by(outer: Any, inner: Any) -> bool:
    if not isinstance(inner, Optimizer) or not _has_hooks(inner):
        return False
    return not _has_hooks(outer) or _parameters(inner) == _parameters(outer)  # without hooks there is no choice


def _parameters(optimizer: Any) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _has_hooks(optimizer: Any) -> bool:
    try:
        optimizer.register_step_post_hook(nothing).remove()
    except AttributeError:  # another kind of class, or one whose __init__ does not call torch's
        return False
    return True


def _names(optimizers: list[Any]) -> list[str]:
    names: list[str] = []
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        number = sum(type(other).__name__ == kind for other in optimizers[: len(names)])
        names.append(f"{kind}-{number}" if number else kind)
    return names
