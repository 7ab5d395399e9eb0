"""A metric under examination: how one is made, and when two of its values are the same.

    subject = MetricSubject(lambda: MulticlassAccuracy(num_classes=3), Closeness(atol=1e-6))
    subject.expect_same(subject.value(batches), subject.value(joined), "in these batches, and all in one")

A metric is whatever torchmetrics accepts for one, wrappers and `MetricCollection` among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from hypothesis import assume
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from lwcallbacks.testing.held import attributes
from lwcallbacks.testing.law import Broken, Case, Law, Subject
from lwcallbacks.testing.program import written
from lwcallbacks.testing.real_processes import on_each_process
from lwcallbacks.testing.reference import Reference
from lwcallbacks.testing.same import Closeness, difference, differing, same_in_another_order
from lwcallbacks.testing.samples import Args, backwards, copied, in_float64, num_samples
from lwcallbacks.testing.tried import refused
from lwcallbacks.testing.world import World, contained_metrics

T = TypeVar("T")


def _computed(metric: Any, rank: int) -> Any:
    return metric.compute()


@dataclass(frozen=True)
class MetricSubject(Subject):
    """A metric under examination: how one is made, and when two of its values are the same.

    Attributes:
        factory: makes one.
        close: how far floats may be apart; without it, they must have the same bits.
        least: no batch is cut into smaller ones than this.
        double: whether states are in float64, which tells rounding from a fault.
        reference: what the value should be, where there is such a function.
        own_calls: where the metric asks for its process by itself, which simulated ones do not answer.
        real: whether processes are real ones.
    """

    factory: Callable[[], Any]
    close: Closeness | None = None
    least: int = 1
    double: bool = False
    reference: Reference | None = None
    own_calls: Sequence[str] = ()
    real: bool = False

    def __str__(self) -> str:
        with suppress(Exception):
            return type(self.factory()).__name__
        return getattr(self.factory, "__name__", "the metric")

    def new(self, seed: int | None = None) -> Any:
        """A metric that computes each time that it is asked to: a cached value would hide what a law is about.

        Random numbers are the same in and after each new metric, so that one that draws some is no riddle.

        Args:
            seed: of other random numbers once it is made.
        """
        torch.default_generator.manual_seed(0)
        metric = self.factory()
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        for part in contained_metrics(metric):
            part.compute_with_cache = False
            if self.double:
                _to_float64(part)
        return metric

    def updated(self, batches: Sequence[Args], seed: int | None = None) -> Any:
        """A new metric that saw copies of these batches."""
        metric = self.new(seed)
        for args in batches:
            metric.update(*copied(args))
        return metric

    def on_processes(
        self, case: Case, size: int, make: Callable[[int], T], call: Callable[[T, int], Any] = _computed
    ) -> list[Any]:
        """`call(make(rank), rank)` on each of so many processes, by rank: simulated ones, or real ones on gloo."""
        if self.real:
            return on_each_process(size, make, call)
        world = World(size)
        values = world.each([make(rank) for rank in range(size)], call)
        if world.mixed:
            case.drawn["read as numbers of one's own dtype"] = "; ".join(world.mixed)
        return values

    def value(self, batches: Sequence[Args]) -> Any:
        return self.updated(batches).compute()

    def shared(self, batches: Sequence[Args]) -> str:
        """What changes in a metric that sees nothing, while another one sees these batches; in words, may be empty."""
        bystander = self.new()
        before = attributes(bystander, classes=True)
        self.updated(batches).compute()
        parts = zip(contained_metrics(bystander), before, attributes(bystander, classes=True), strict=True)
        for part, old, now in parts:
            for name, found in now.items():
                if difference(found, old.get(name)):
                    kind = type(getattr(part, name)).__name__.lower()
                    of_class = "of its class, " if name not in vars(part) else ""
                    return f"{type(part).__name__}.{name}, a {kind} {of_class}which all metrics of it share"
        return ""

    @contextmanager
    def where_defined(self, batches: Sequence[Args]) -> Iterator[None]:
        """Pass an example over where what is done raises, and plain update and compute of these batches does, too."""
        try:
            yield
        except Broken:
            raise
        except Exception:
            assume(self.has_value(batches))
            raise

    def has_value(self, batches: Sequence[Args]) -> bool:
        """Whether plain update and compute of these batches does not raise."""
        try:
            self.value(batches)
        except Exception:
            return False
        return True

    def expect_same(
        self, found: Any, expected: Any, told: str, words: str = "", *, in_any_order: Sequence[Args] = ()
    ) -> None:
        """Raise Broken where two values are not the same.

        Args:
            found, expected: the values.
            told: what they are of, as "on 2 processes, and on one"; `words` may stand here, too.
            words: what a user sees, as "on 2 processes you report {} where one process reports {}".
            in_any_order: batches whose samples may have their entries in a value in another order.
        """
        if (where := differing(found, expected, self.close)) is None:
            return
        if in_any_order and same_in_another_order(
            found, expected, num_samples(in_any_order), self.close, lambda: self.value([backwards(in_any_order)])
        ):
            return
        first, second = where.shortly()
        begin, middle, end = (words or told).split("{}")
        told = told.replace("{}", "this", 1).replace("{}", "that", 1)
        place = f" (in {where.place})" if where.place else ""
        words = f"{begin}{first}{middle}{second}{end}{place}"
        rounding = self.close is None and differing(found, expected, _ROUNDING) is None
        hint = "; exact=False, rtol=1e-5 takes this for rounding" if rounding else ""
        raise Broken(f"{told}: {where}{hint}", words=words, values=(found, expected))

    def script(self, case: Case) -> str:
        """The program of the law, with the factory and the data of this example."""
        return written(self.factory, *case.script, precise=case.precise) if case.script else ""

    def refused(self, case: Case) -> Exception | None:
        """What plain update and compute say of this example, where they raise."""
        return refused(self, case)

    def defined_in_parts(self, case: Case) -> bool:
        """Whether each batch alone, what came up to it, and what came from it on, has a value."""
        batches = case.sample
        parts = [part for i in range(len(batches)) for part in (batches[i : i + 1], batches[: i + 1], batches[i:])]
        return all(map(self.has_value, parts))

    def rounds(self, law: Law[Any], case: Case) -> bool:
        """Whether the same example keeps the law in float64, where floats may be close at all."""
        if self.close is None:
            return False
        values = iter([in_float64(value) for value in case.values])

        def next_value(strategy: SearchStrategy[Any]) -> Any:
            for value in values:
                return value
            raise _Further

        try:
            law.holds(replace(self, double=True), Case("batches", in_float64(case.original), next_value))
        except _Further:
            return True
        except Exception:
            return False
        return True


_ROUNDING = Closeness(rtol=1e-5)


class _Further(Exception):
    """The law has held up to where it was found broken before, and goes on."""


def _to_float64(metric: Any) -> None:
    """States, defaults and buffers in float64; `Metric.double()` is meant to do nothing."""
    for name, default in metric._defaults.items():
        metric._defaults[name] = in_float64(default)
        setattr(metric, name, in_float64(getattr(metric, name)))
    for module in metric.modules():
        for name, buffer in module._buffers.items():
            if isinstance(buffer, Tensor):
                module._buffers[name] = in_float64(buffer)
        for parameter in module.parameters(recurse=False):
            parameter.data = in_float64(parameter.data)
