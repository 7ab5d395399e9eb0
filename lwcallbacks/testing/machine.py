"""A life of a metric in any order: update, forward, compute, reset, merge, save, load, pickle, move, sync.

    MyMetricMachine = metric_machine(MyMetric, multiclass_batches(num_classes=3))
    TestMyMetric = MyMetricMachine.TestCase            # in a test file: pytest runs it

The laws try one thing at a time. The machine finds what goes wrong between two of them: a cache that nobody clears, a
count that is lost while loading, a reset that forgets a list. It remembers which batches the metric should know, and
whenever a value is asked for, compares it with a reference, or with a new metric that sees all these samples at once.
"""

from __future__ import annotations

import io
import pickle
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.strategies import SearchStrategy
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lwcallbacks.testing.errors import LawViolation, WouldAbort, WouldHang
from lwcallbacks.testing.examining import printed
from lwcallbacks.testing.law import Finding, default_examples
from lwcallbacks.testing.life import COMPUTE, Life
from lwcallbacks.testing.own_calls import own_calls
from lwcallbacks.testing.reference import USUAL, Reference, contradiction
from lwcallbacks.testing.same import Closeness, difference, same_in_another_order, shown
from lwcallbacks.testing.samples import Args, Indivisible, backwards, copied, join, num_samples, on_device
from lwcallbacks.testing.sim_device import second_device
from lwcallbacks.testing.world import World, contained_metrics
from lwcallbacks.warn import warn

CPU = torch.device("cpu")
_WATCHED = 3  # syncs in which it is watched what a metric asks for by itself
EXACT = Closeness()


def metric_machine(
    factory: Callable[[], Any],
    batches: SearchStrategy[Any],
    reference: Callable[..., Any] | None = None,
    *,
    exact: bool = True,
    atol: float | None = None,
    rtol: float = 0.0,
    strict: bool = False,
    without: Collection[str] = (),
    examples: int | None = None,
    steps: int = 20,
) -> type[RuleBasedStateMachine]:
    """A state machine of hypothesis whose rules are what happens to a metric, in any order.

    Its `TestCase` belongs into a test file; `hypothesis.stateful.run_state_machine_as_test` runs it elsewhere. A
    failure prints the shortest life that was found, as a program of rules. Each life ends with a look at the value, and
    some lives look at it after each rule.

    The rules are update, forward (whose value is about its batch alone), compute, reset, merge (into the metric, and of
    the metric into a new one), save and load (into the metric and into a new one, by torch and `weights_only=True`; a
    load saves first where nothing is saved), pickle, move (to a second device where there is one, simulated or real;
    and `half()` and `double()` of a module around it, which leave a metric's state alone) and sync (with one or two
    processes of a simulated world). What a metric does not support, such as `merge_state` of some, or what can't be
    pickled, is left out; so is, with a warning, the sync of a metric that asks `torch.distributed` itself.

    Args:
        factory: makes the metric.
        batches: a strategy for lists of batches; one list is drawn for a life, and its batches are used again.
        reference: a function of all samples at once, as for `check_metric`. Without one, the metric itself that sees
            all samples in one update.
        exact: whether values must have the same bits; of no effect with a reference.
        atol, rtol: with `exact=False`, or with a reference: |a - b| <= atol + rtol |b|. With a reference atol=1e-6 and
            rtol=1e-5 unless you say so.
        strict: whether torchmetrics' own cache of computed values stays on. `merge_state` and `load_state_dict` of
            torchmetrics 1.9 do not clear it, so that any metric can be found with an old value.
        without: rules to leave out, of those above; and "empty_process" for a sync in which a process has no data.
        examples: how many lives, by default four for each of the environment's LWCALLBACKS_EXAMPLES, else 200: a life
            is much cheaper than an example of a law, and what breaks a metric needs several steps to come together.
        steps: the most rules in a life.

    Raises:
        ValueError: a tolerance that does not fit `exact`, an unknown rule, or a metric in place of a factory.

    Examples:
        >>> from hypothesis.stateful import run_state_machine_as_test
        >>> from torchmetrics import MaxMetric
        >>> from lwcallbacks.testing import value_batches
        >>> run_state_machine_as_test(metric_machine(MaxMetric, value_batches(), examples=10))
    """
    tolerant = atol is not None or rtol > 0
    if reference is None and exact is tolerant:
        found, wanted = ("exact=True", "no atol and rtol") if exact else ("exact=False", "atol=1e-6, or rtol=")
        raise ValueError(f"metric_machine: {found}, expected {wanted}")
    close = Closeness(atol or 0.0, rtol) if tolerant else None
    held_against = Reference(reference, close or USUAL) if reference is not None else None
    if not isinstance(factory, type) and callable(getattr(factory, "compute", None)):
        raise ValueError(
            f"metric_machine: {factory!r}, expected a class, or a function that makes a new metric each time"
        )
    if unknown := set(without) - _RULES:
        raise ValueError(f"metric_machine: without {sorted(unknown)}, expected some of {sorted(_RULES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = type(factory()).__name__
        examined = _Setup(factory, name, close, held_against, strict, frozenset(without) | _unsupported(factory))

    class Machine(_Life):
        setup = examined

        @initialize(batches=batches, look_each_time=st.booleans())
        def start(self, batches: Any, look_each_time: bool) -> None:
            self.begin(batches, look_each_time)

    Machine.__name__ = Machine.__qualname__ = f"{name}Machine"
    Machine.TestCase.settings = settings(
        max_examples=examples or 4 * default_examples(),
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],  # not explain: the lines that it names are of the kit
        report_multiple_bugs=False,
        print_blob=False,
    )
    return Machine


_RULES = {"update", "forward", "compute", "reset", "merge", "save", "load", "pickled", "move", "sync", "empty_process"}


@dataclass(frozen=True)
class _Setup:
    """What all lives of a machine have in common."""

    factory: Callable[[], Any]
    name: str
    close: Closeness | None
    reference: Reference | None
    strict: bool
    without: frozenset[str]
    own_calls: list[str] = field(default_factory=list)
    """Where the metric asks for its process by itself, which simulated ones do not answer."""
    watched: list[bool] = field(default_factory=list)
    """Whether it did, of the first syncs."""


def _unsupported(factory: Callable[[], Any]) -> set[str]:
    """Rules that a metric refuses."""
    found = set()
    metric = factory()
    try:
        metric.merge_state(factory())
    except (AttributeError, NotImplementedError):
        found.add("merge")
    except RuntimeError as refusal:
        if "not supported" in str(refusal):
            found.add("merge")
    except Exception:
        pass  # of metrics without data; the rule shows whether it is so with data
    try:
        pickle.dumps(metric)
    except Exception:
        found.add("pickled")
    return found


def _allowed(name: str, condition: Callable[[Any], Any] = lambda life: True) -> Callable[[Any], Any]:
    """A rule that may be left out, and that may have to wait for something: a life of resets alone tells nothing."""
    return precondition(lambda life: name not in life.setup.without and condition(life))


def _last(life: _Life, number: int = 1) -> list[str]:
    """The names of the last steps."""
    return [step.partition("(")[0] for step in life.past[-number:]]


# One of the batches of this life, by number.
_NUMBER = st.runner().flatmap(lambda life: st.integers(0, max(0, len(life.pool) - 1)))


class _Life(RuleBasedStateMachine):
    """One metric, the batches that it should know, and the checkpoint that was saved last."""

    setup: ClassVar[_Setup]

    def __init__(self) -> None:
        super().__init__()
        self.pool: list[Args] = []
        self.seen: list[int] = []
        self.saved: bytes | None = None
        self.seen_by_saved: list[int] = []
        self.past: list[str] = []
        self.values: dict[tuple[Any, ...], Any] = {}
        self.asked: list[int] = []
        self.values_apart: tuple[Any, Any] | None = None
        self.look_each_time = self.failed = False
        self.device = CPU

    def begin(self, batches: Sequence[Args], look_each_time: bool) -> None:
        self.pool = list(batches)
        self.look_each_time = look_each_time
        self.metric = self.new()
        single = len(contained_metrics(self.metric)) == 1
        self.life = Life(self.setup.factory, strict=self.setup.strict, single=single)

    def teardown(self) -> None:
        """The end of a life is a look at the value, unless something failed before."""
        if self.past and not self.failed and "compute" not in self.setup.without:
            with self.doing("compute()", COMPUTE):
                self.look()

    def new(self) -> Any:
        metric = self.setup.factory()
        for part in contained_metrics(metric):
            part.compute_with_cache = self.setup.strict
        return metric.to(self.device)

    def updated(self, metric: Any, numbers: Sequence[int]) -> Any:
        for number in numbers:
            metric.update(*self.batch(number))
        return metric

    def batch(self, number: int) -> Args:
        return on_device(copied(self.pool[number]), self.device)

    @contextmanager
    def doing(self, step: str, lines: str) -> Iterator[None]:
        """A step, in words and as a program says it. It goes without the warnings of a metric (no data, one sample)."""
        self.past.append(step)
        self.life.step(lines)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
                if self.look_each_time and step != "compute()" and "compute" not in self.setup.without:
                    self.past.append("compute()")
                    self.life.step(COMPUTE)
                    self.look()
            except Exception as error:
                self.failed = True
                self.write_down(error)
                raise

    # What happens to a metric.

    @_allowed("update", lambda life: life.pool)
    @rule(batch=_NUMBER)
    def update(self, batch: int) -> None:
        with self.doing(f"update({batch})", f"metric.update(*{self.life.named(batch)})"):
            self.updated(self.metric, [batch])
            self.seen.append(batch)

    @_allowed("forward", lambda life: life.pool)
    @rule(batch=_NUMBER)
    def forward(self, batch: int) -> None:
        with self.doing(f"forward({batch})", f"metric(*{self.life.named(batch)})"):
            value = self.metric(*self.batch(batch))
            self.seen.append(batch)
            self.expect(value, [batch], "forward gives the value of its batch")

    @_allowed("compute", lambda life: _last(life, 2) not in ([], ["compute"], ["compute", "compute"]))
    @rule()
    def compute(self) -> None:
        with self.doing("compute()", COMPUTE):
            self.look()

    @_allowed("reset", lambda life: life.past and _last(life) != ["reset"])
    @rule()
    def reset(self) -> None:
        with self.doing("reset()", "metric.reset()"):
            self.metric.reset()
            self.seen = []

    @_allowed("merge", lambda life: life.pool)
    @rule(batches=st.lists(_NUMBER, max_size=2), into_new=st.booleans())
    def merge(self, batches: list[int], into_new: bool) -> None:
        with self.doing(f"merge({batches}, into_new={into_new})", self.life.merge(batches, into_new)):
            other = self.updated(self.new(), batches)
            if into_new:
                other.merge_state(self.metric)
                self.metric, self.seen = other, [*batches, *self.seen]
            else:
                self.metric.merge_state(other)
                self.seen = [*self.seen, *batches]

    @_allowed("save", lambda life: life.past and _last(life) != ["save"])
    @rule()
    def save(self) -> None:
        with self.doing("save()", self.life.save()):
            _keep(self.metric)
            file = io.BytesIO()
            torch.save(tree_map_only(Tensor, lambda x: x.cpu(), dict(self.metric.state_dict())), file)
            self.saved, self.seen_by_saved = file.getvalue(), list(self.seen)

    @_allowed("load", lambda life: life.past and (life.saved is not None or "save" not in life.setup.without))
    @rule(into_new=st.booleans())
    def load(self, into_new: bool) -> None:
        if self.saved is None:  # few lives would load, if they had to come by a save first
            self.save()
        with self.doing(f"load(into_new={into_new})", self.life.load(into_new)):
            if into_new:
                self.metric = self.new()
            _keep(self.metric)
            saved = torch.load(io.BytesIO(self.saved or b""), weights_only=True)
            self.metric.load_state_dict(tree_map_only(Tensor, lambda x: x.to(self.device), saved))
            self.seen = list(self.seen_by_saved)

    @_allowed("pickled", lambda life: life.device == CPU and life.seen and _last(life) != ["pickled"])
    @rule()
    def pickled(self) -> None:
        with self.doing("pickled()", "metric = pickle.loads(pickle.dumps(metric))"):
            self.metric = pickle.loads(pickle.dumps(self.metric))

    @_allowed("move", lambda life: _last(life) != ["move"])
    @rule(to=st.sampled_from(["half", "double", "cpu", "second device"]))
    def move(self, to: str) -> None:
        with self.doing(f"move({to})", self.life.move(to)):
            around = torch.nn.ModuleList([self.metric])
            if to in ("half", "double"):
                getattr(around, to)()
            else:
                self.device = (second_device() or CPU) if to == "second device" else CPU
                around.to(self.device)

    @_allowed("sync", lambda life: life.pool)
    @rule(others=st.lists(st.lists(_NUMBER, max_size=2), min_size=1, max_size=2))
    def sync(self, others: list[list[int]]) -> None:
        everything = [*self.seen, *(number for share in others for number in share)]
        empty = not (self.seen and all(others))
        if not everything or (empty and "empty_process" in self.setup.without) or self.asks_itself(others):
            return
        with self.doing(f"sync({others})", self.life.sync(others)):
            self.asked = everything
            metrics = [self.metric, *(self.updated(self.new(), share) for share in others)]
            parts = contained_metrics(self.metric)
            links = [(part.dist_sync_fn, part.distributed_available_fn) for part in parts]
            for part in parts:
                part._computed = None  # real processes have computed equally often
            values = World(len(metrics)).compute_all(metrics)
            for part, (part.dist_sync_fn, part.distributed_available_fn) in zip(parts, links, strict=True):
                part._computed = None
            for rank, value in enumerate(values):
                self.expect(value, everything, f"process {rank} of {len(values)} gives the value of all")

    def asks_itself(self, others: list[list[int]]) -> bool:
        """Whether the metric asks for its process by itself, as far as the first syncs show. It is said once."""
        setup = self.setup
        if len(setup.watched) < _WATCHED and not setup.own_calls:
            with suppress(Exception), own_calls() as calls:  # the sync itself tells what it raises
                shares = [self.seen, *others]
                World(len(shares)).compute_all([self.updated(self.new(), share) for share in shares])
            setup.watched.append(bool(calls))
            setup.own_calls.extend(calls)
            if calls:
                warn(
                    f"lwcallbacks: metric_machine: {setup.name} asks for its process itself: {'; '.join(calls)}; no "
                    'simulated process answers that, so sync is left out: write without=["sync"]'
                )
        return bool(setup.own_calls)

    # What is expected.

    def look(self) -> None:
        """Compute and compare; without data, where a new metric computes something."""
        if not self.seen:
            try:
                self.at_once([])
            except Exception:
                return
        self.expect(self.metric.compute(), self.seen)

    def at_once(self, numbers: list[int]) -> Any:
        """What a new metric computes that gets these batches as one; if they are not made of samples, one by one."""
        key = (self.device, *numbers)
        if key not in self.values:
            batches = [self.batch(number) for number in numbers]
            with suppress(Indivisible):
                batches = [join(batches)] if batches else []
            fresh = self.new()
            for args in batches:
                fresh.update(*args)
            self.values[key] = fresh.compute()
        return self.values[key]

    def expect(self, found: Any, numbers: list[int], about: str = "") -> None:
        """Raise where a value is not what it should be of these batches."""
        self.asked = numbers
        reference = self.setup.reference
        if reference is not None and numbers:
            with suppress(Indivisible):
                expected = reference.of([self.pool[number] for number in numbers])
                if expected is not None:
                    self.values_apart = found, expected
                    self.fail_if(reference.contradiction(found, expected), numbers, about)
                return
        expected = self.at_once(numbers)
        self.values_apart = found, expected
        where = difference(found, expected, self.setup.close)
        if where and not self.same_samples(found, expected, numbers):
            told = f"a new metric {'that sees the same samples at once' if numbers else 'without data'} reports"
            exactly = f"you report, and {told}: {where}"  # another dtype, the sign of a zero
            self.fail_if(contradiction(found, expected, self.setup.close or EXACT, told) or exactly, numbers, about)

    def same_samples(self, found: Any, expected: Any, numbers: list[int]) -> bool:
        """Whether a value has its entries of samples in another order, as after a merge."""
        batches = [self.batch(i) for i in numbers]

        def turned() -> Any:
            fresh = self.new()
            fresh.update(*backwards(batches))
            return fresh.compute()

        return same_in_another_order(found, expected, num_samples(batches), self.setup.close, turned)

    def fail_if(self, wrong: str | None, numbers: list[int], about: str) -> None:
        if wrong:
            known = ", ".join(shown(self.pool[number]) for number in numbers)
            said = f"\n  expected: {about}" if about else ""
            raise LawViolation(
                f"{self.setup.name}: after {', '.join(self.past)}: {wrong}{said}\n  samples: {known or 'none'}"
            )

    def write_down(self, error: Exception) -> None:
        """Note the program of this life on what it ended with, and give a violation its finding."""
        if not isinstance(error, LawViolation):
            error.add_note(f"{_PROGRAM}{textwrap.indent(self.life.program(self.pool), '    ')}")
            return
        how = {WouldHang: "hang", WouldAbort: "abort"}.get(type(error), "value")
        found, expected = self.values_apart if self.values_apart and how == "value" else ("", " ")
        precise = str(found) == str(expected)
        values = (printed(found, precise), printed(expected, precise)) if how == "value" else None
        joined: Any = [self.pool[number] for number in self.asked]
        reference = self.setup.reference.function if self.setup.reference and joined else None
        with suppress(Indivisible):
            joined = [join(joined)] if joined else []
        samples = joined[0] if reference else joined
        source = self.life.program(self.pool, samples=samples, reference=reference, precise=precise)
        error.finding = Finding("broken", str(error), how, values, source)  # type: ignore[arg-type]
        error.add_note(f"{_PROGRAM}{textwrap.indent(source, '    ')}")


_PROGRAM = "A program that shows it, program() of this error:\n"


def _keep(metric: Any) -> None:
    """Make states part of the checkpoint, as a metric's `persistent` does."""
    for part in contained_metrics(metric):
        part.persistent(True)
