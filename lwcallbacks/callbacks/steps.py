"""Being there when an optimizer steps: before and behind it, at every n-th of its own steps.

    steps = Steps(every=50, before=..., behind=...)        # each is given a `Stepping`; `each=...` comes at every step
    steps.watch(trainer.optimizers)                        # any number of times; those that are new are added
    steps.remove()                                         # nothing is left on an optimizer

Behind the step a gradient is the one that was used: reduced over processes, unscaled and clipped. At a step that is not
logged there is a count and no more. Hooks of an optimizer are no part of its pickle or copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor


class Stepping:
    """One optimizer, and how often it has stepped.

    Attributes:
        optimizer: torch's own; of a `LightningOptimizer`, the one inside.
        name: its class, with a number where several are of one: as `LearningRateMonitor` calls it.
        index: its place among the optimizers.
        count: steps so far.
        skipped: steps that a gradient scaler has skipped so far, as far as the host knows.
        skipped_on_device: further ones, which only the device knows, of a fused optimizer; or None.
        is_due: whether a step has been announced that has not come yet.
    """

    __slots__ = (
        "_before", "_behind", "_each", "_every", "_handles", "count", "index", "is_due", "name", "optimizer", "skipped",
        "skipped_on_device",
    )  # fmt: skip

    def __init__(
        self, optimizer: Any, name: str, index: int, every: int, before: Call, behind: Call, each: Call
    ) -> None:
        self.optimizer = optimizer
        self.name = name
        self.index = index
        self.count = self.skipped = 0
        self.skipped_on_device: Tensor | None = None
        self.is_due = False
        self._every = every
        self._before = before
        self._behind = behind
        self._each = each
        self._handles = [
            optimizer.register_step_pre_hook(self._on_pre_step),
            optimizer.register_step_post_hook(self._on_post_step),
        ]

    @property
    def is_logged(self) -> bool:
        """Whether the step that comes next is one of the n-th."""
        return (self.count + 1) % self._every == 0

    def _on_pre_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if (self.count + 1) % self._every == 0:
            self._before(self)

    def _on_post_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.count += 1
        self._each(self)
        self.is_due = False
        found_inf = getattr(optimizer, "found_inf", None)  # where a scaler leaves skipping to the optimizer
        if found_inf is not None:
            before = self.skipped_on_device
            self.skipped_on_device = found_inf.clone() if before is None else before + found_inf
        if self.count % self._every == 0:
            self._behind(self)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


Call = Callable[[Stepping], object]


def nothing(stepping: Stepping) -> None:
    """A call that does nothing."""


class Steps:
    """See the module's synopsis."""

    def __init__(self, every: int, before: Call, behind: Call, each: Call = nothing) -> None:
        self._every = every
        self._calls = before, behind, each
        self.of: list[Stepping] = []
        """One for each optimizer."""

    def watch(self, optimizers: Iterable[Any]) -> bool:
        """Follow these optimizers and no others; whether any of them is new.

        Raises:
            TypeError: an optimizer has no hooks.
        """
        found = [_with_hooks(optimizer) for optimizer in optimizers]
        if [id(optimizer) for optimizer in found] == [id(stepping.optimizer) for stepping in self.of]:
            return False
        counts = self.counts()
        self.remove()
        pairs = list(zip(found, _names(found), strict=True))
        self.of = [Stepping(o, name, i, self._every, *self._calls) for i, (o, name) in enumerate(pairs)]
        self.go_on(counts)
        return True

    def find(self, optimizer: Any) -> Stepping | None:
        """The one of an optimizer, which may be wrapped."""
        inside = getattr(optimizer, "optimizer", optimizer)
        return next((s for s in self.of if s.optimizer is optimizer or s.optimizer is inside), None)

    def left_out(self) -> list[Stepping]:
        """At the end of a batch, those whose step was announced and has not come: a scaler has left it out."""
        due = [stepping for stepping in self.of if stepping.is_due]
        for stepping in due:
            stepping.is_due = False
            stepping.skipped += any(p.grad is not None for g in stepping.optimizer.param_groups for p in g["params"])
        return due

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


def _with_hooks(optimizer: Any) -> Any:
    for found in (optimizer, getattr(optimizer, "optimizer", None)):
        if hasattr(found, "register_step_pre_hook") and hasattr(found, "register_step_post_hook"):
            return found
    raise TypeError(
        f"found the optimizer {type(optimizer).__name__}, which has no register_step_post_hook, so that nobody can see "
        "its steps. Expected a torch.optim.Optimizer: derive it from that class, or write `self.optimizer = ...` in "
        "it, of the optimizer whose step it calls"
    )


def _names(optimizers: list[Any]) -> list[str]:
    names: list[str] = []
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        number = sum(type(other).__name__ == kind for other in optimizers[: len(names)])
        names.append(f"{kind}-{number}" if number else kind)
    return names
