"""The outputs of modules in the batches that a logged step is made of, by forward hooks that exist only then.

activations = Activations(module, ("*.relu",), LogHistogram(), 50, link, attempt, say)
activations.start(steps.of)              # at the start of a batch
activations.evaluated()                  # before a step of an optimizer
activations.logged(20, step, False)      # behind a logged step
outputs = activations.end()              # at the end of a batch: nothing is left on the module; the processes meet
outputs.seen()                           # waits for the device
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.reading import Step, in_one_sum
from lwcallbacks.callbacks.steps import Stepping
from lwcallbacks.callbacks.trainer import refuse_parts_of_outputs
from lwcallbacks.gradients.activations import OutputReading, Outputs, Seen
from lwcallbacks.gradients.modules import chosen_of, floats, has_units, is_plain, own_dim, seen_and_hidden
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.lightning import Callback, LightningModule, Trainer
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.state.link import Counted, Link


@dataclass(frozen=True, eq=False)
class StepOutputs:
    """Outputs of the batches that a logged step was made of.

    Attributes:
        number: the step to log them at.
        num_calls: calls in which processes met for them.
        waits: whether they need not be drawn.
    """

    number: int
    reading: OutputReading
    num_calls: int
    waits: bool
    _steps: Sequence[Step]

    @property
    def nbytes(self) -> int:
        return self.reading.nbytes

    def seen(self) -> dict[str, Seen]:
        """By module; waits for the device. Empty where there was no step."""
        return {} if self.is_skipped else self.reading.finish()

    def dead_units(self) -> dict[str, tuple[float, float]]:
        """As `Diagnosis.feed_units` takes them; waits for the device."""
        return {name: of.dead for name, of in self.seen().items() if of.dead is not None}

    @property
    def is_skipped(self) -> bool:
        """Whether there was no gradient, or every optimizer has skipped the step on its device, which is waited for."""
        return bool(self._steps) and all(not step.readings or step.is_skipped for step in self._steps)


class Activations:
    """See the module's synopsis.

    Args:
        module: whose modules to watch.
        patterns: of their names, as a shell's; empty for all modules without others inside, but for losses, metrics and
            those that only reshape.
        histogram: how elements are counted.
        every: steps of an optimizer from one that is logged to the next.
        link: to the other processes.
        attempt: a context in which a failure does not stop training.
        say: tells something once.

    Raises:
        ValueError: a pattern fits no module.
    """

    def __init__(
        self,
        module: nn.Module,
        patterns: Sequence[str],
        histogram: LogHistogram,
        every: int,
        link: Link,
        attempt: Callable[[], AbstractContextManager[None]],
        say: Callable[[str], None],
    ) -> None:
        self._every = every
        self._link = link
        self._attempt = attempt
        self._say = say
        found, hidden = seen_and_hidden(module)
        for pattern in patterns:
            if not any(Chosen((pattern,)).has(name) for name in (*found, *hidden)):
                names = ", ".join(list(found)[:3])
                raise ValueError(f"activations has {pattern!r}, which no module fits, expected a name as {names}")
        chosen = chosen_of(found, patterns)
        if hidden and (not patterns or any(Chosen(patterns).has(name) for name in hidden)):
            outer = ", ".join(dict.fromkeys(hidden.values()))
            say(f"nobody can see the modules inside of what is compiled ({outer}), so they have no activations")
        self._outputs = Outputs({name: has_units(part) for name, part in chosen.items()}, histogram.mantissa_bits)
        self.names = tuple(chosen)
        # Leaves that are not chosen tell which dimension of their output has the units.
        self._parts = {**chosen_of(found, ()), **chosen}
        self._device = next((p.device for p in module.parameters()), torch.device("cpu"))
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        self._layouts: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._steppings: Sequence[Stepping] = ()
        self._counts: list[int] = []
        self._rates: dict[int, int] = {}
        self._logged: list[tuple[int, Step | None, bool]] = []
        self._evaluations = self._cleared = 0
        self._is_watching = self._has_guessed = False

    def start(self, steppings: Sequence[Stepping], *, waits: bool = False) -> None:
        """Begin to see, if a step that this batch belongs to is logged, unless it `waits`: the same on every process.

        That is told by where the optimizers are, and by how often each has stepped in the batch before.
        """
        self._steppings, self._counts = steppings, [s.count for s in steppings]
        coming = (range(s.count + 1, s.count + 1 + max(1, self._rates.get(s.index, 1))) for s in steppings)
        # First of all, since the processes meet if this is true.
        self._is_watching = not waits and any(number % self._every == 0 for numbers in coming for number in numbers)
        self.close()
        self._outputs.keep()
        if self._is_watching:
            for name, part in self._parts.items():
                with self._attempt():
                    self._handles.append(part.register_forward_hook(_Hook(self, name)))

    def logged(self, number: int, step: Step | None, waits: bool) -> None:
        """A logged step has come, to be logged as that number."""
        self._logged.append((number, step, waits))

    def end(self) -> StepOutputs | None:
        """End to see, and read what was seen if a logged step has come: on every process, if on any."""
        self.close()
        self._rates = {s.index: s.count - n for s, n in zip(self._steppings, self._counts, strict=True)}
        logged, self._logged = self._logged, []
        if not logged or not self.names or not self._is_watching:
            if not any(s.is_logged and not self._rates[s.index] for s in self._steppings):
                self._outputs.forget()  # no step that is to come is made of it
            return None
        link = Counted(self._link)
        with torch.no_grad():
            steps = self._outputs.shared(rank=link.rank, world_size=link.world_size, device=self._device)
            [reading] = in_one_sum([steps], link)
        waits = all(waits for *_, waits in logged)
        return StepOutputs(logged[-1][0], reading, link.num_calls, waits, [s for _, s, _ in logged if s is not None])

    def close(self) -> None:
        """Nothing is left on the module."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._layouts.clear()

    def forget(self) -> None:
        """What was seen led to no step, unless another optimizer has made one of it."""
        if not self._logged:
            self._outputs.forget()

    def evaluated(self) -> None:
        """A loss is worked out. If its module is called again before the step, that is another go at the same batch."""
        self._evaluations += 1

    def see(self, name: str, part: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch._C._current_graph_task_id() != -1:
            return  # in the backward pass what was checkpointed is worked out again
        x = next(floats(output), None)
        if x is None or not is_plain(x):
            return
        with self._attempt(), self._lock, torch.no_grad(), torch.inference_mode(mode=False):
            if self._cleared != self._evaluations and any(s.is_due for s in self._steppings):
                self._outputs.again()
                self._cleared = self._evaluations
            unit_dim = self._unit_dim(part, args, x)
            if unit_dim is not None:
                self._layouts[id(x)] = weakref.ref(x), unit_dim
            if name in self.names:
                self._outputs.see(name, x, self._guessed(name, part, x) if unit_dim is None else unit_dim)

    def _unit_dim(self, part: nn.Module, args: tuple[Any, ...], x: Tensor) -> int | None:
        """Where the units of an output are, if the module tells, or the one that has made its input."""
        own = own_dim(part)
        if own is not None:
            return own
        first = next(floats(args), None)
        known = None if first is None else self._layouts.get(id(first))
        if first is None or known is None or known[0]() is not first or first.ndim != x.ndim:
            return None
        return known[1]

    def _guessed(self, name: str, part: nn.Module, x: Tensor) -> int | None:
        if x.ndim == 3 and has_units(part) and not self._has_guessed:
            self._has_guessed = True
            self._say(
                f"units of modules such as {name} are counted along the last of three dimensions, since the input is "
                "no layer's output as it is. If units are another dimension, give them one directly, as relu(conv(x))"
            )
        return {2: 1, 3: -1, 4: 1, 5: 1}.get(x.ndim)


def watch(
    trainer: Trainer,
    module: LightningModule,
    callback: Callback,
    patterns: Sequence[str],
    histogram: LogHistogram,
    every: int,
    owner: str,
    say: Callable[[str], None],
) -> Activations:
    """`Activations` of a fit, on every process of the same modules. What they cost is booked on the callback.

    Raises:
        ValueError: they are not the same, a pattern fits none, or a process has but a part of an output.
    """
    refuse_parts_of_outputs(trainer, owner)
    hub, thread = Hub.of(trainer), threading.get_ident()

    @contextmanager
    def attempt() -> Iterator[None]:
        is_replica = threading.get_ident() != thread  # which the meter does not know
        with (
            nullcontext() if is_replica else hub.meter.of(callback),
            hub.outlet.attempt(owner, "could not read an output"),
        ):
            yield

    try:
        found = Activations(module, patterns, histogram, every, hub.link, attempt, say)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
    if hub.unlike(f"{owner}/activations", "\n".join(found.names)):
        raise ValueError(f"{owner}: activations finds other modules on other processes, expected the same on all")
    return found


class _Hook:
    """On one module. In a copy of the module, or in its pickle, it does nothing."""

    def __init__(self, owner: Activations, name: str) -> None:
        self._owner = owner
        self._name = name

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not torch.compiler.is_compiling():
            self._owner.see(self._name, module, args, output)

    def __reduce__(self) -> Any:
        # A method of the standard library that takes anything and does nothing: to load it takes no lwcallbacks.
        return getattr, (nullcontext(), "__exit__")
