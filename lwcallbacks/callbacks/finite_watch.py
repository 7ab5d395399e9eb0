"""Looking, behind each backward, whether gradients and losses are finite, without a wait.

    watch = FiniteWatch(trainer, module, chosen, source)
    watch.take(steps)                            # whose parameters
    watch.begin(batch, batch_idx)                # then, as Lightning calls its hooks,
    watch.note_loss(loss); watch.look(); watch.before_step(); watch.stepped(optimizer); watch.end()
    watch.first                                  # a `NonFinite`, once one has been used in a step

A look is begun at once. With `look(later=True)` it is what `watch.was_read(...)` says of the step behind it, which
spares one; where nothing has been read by the end of the batch, it is begun then. What a look has found is judged in
the order of events, on the CPU at once and on a device as soon as it has arrived: a gradient that is not finite counts
once an optimizer has stepped with it. One that a scaler has made, or that somebody has replaced or thrown away before,
does not count. A loss that is not finite counts in any case.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lwcallbacks.callbacks.nonfinite import NonFinite
from lwcallbacks.callbacks.reading import parameters_of
from lwcallbacks.callbacks.steps import Steps
from lwcallbacks.callbacks.trainer import batches_done, gradient_scaler, logging_step, train_loader
from lwcallbacks.capture import Source, Step
from lwcallbacks.gradients.finite import held, odd, oddities_of
from lwcallbacks.gradients.names import Chosen, buffers_of, layers_of, named_parameters_of, names_of
from lwcallbacks.lightning import Trainer
from lwcallbacks.reductions.to_host import arriving
from lwcallbacks.state.padding import indices_of

MOST = 1000
"""Events that may wait for a device."""
_KINDS = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128}
_SHUFFLED = (
    "the loader does not tell. Give ids= (a key of the batch, an index into it, or a function of outputs and batch)"
)


@dataclass(frozen=True, eq=False)
class _Arriving:
    """A tensor on its way to the host."""

    is_here: Callable[[], bool]
    values: Callable[[], Tensor]


class _Oddities:
    """Which of some tensors are not finite, once that was begun: on the way to the host.

    Args:
        names: by the `id` of the parameter.
        tensors: in the order of the names; None where there is none.
    """

    def __init__(self, names: Mapping[int, str], tensors: Sequence[Tensor | None]) -> None:
        self._names = names
        self._tensors: Sequence[Tensor | None] | None = tensors
        self._found: list[tuple[Sequence[int], _Arriving]] = []

    @torch.no_grad()
    def begin(self, read: Sequence[tuple[Sequence[int], Tensor]] = ()) -> None:
        """At the first call. `read` are the largest values [P] that are known of parameters, float32."""
        if self._tensors is None:
            return
        tensors, self._tensors = self._tensors, None
        self._found = [(keys, _Arriving(*arriving(odd(peaks)))) for keys, peaks in read]
        known = {key for keys, _ in read for key in keys}
        pairs = zip(self._names, tensors, strict=True)
        left = {key: held(x) for key, x in pairs if x is not None and key not in known}
        for device in dict.fromkeys(x.device for x in left.values()):
            of = {key: x for key, x in left.items() if x.device == device and x.numel()}
            if of:
                self._found.append((list(of), _Arriving(*arriving(oddities_of(list(of.values()))))))

    def is_here(self) -> bool:
        return self._tensors is None and all(found.is_here() for _, found in self._found)

    def by_name(self) -> dict[str, str]:
        """ "NaN" or "Inf" by name, in the order of the tensors."""
        self.begin()
        values: dict[int, float] = {}
        for keys, found in self._found:
            odd_ones = found.values()
            values |= {keys[i]: float(odd_ones[i]) for i in torch.nonzero(odd_ones)[:, 0].tolist()}
        if not values:
            return {}
        kinds = {key: "NaN" if math.isnan(value) else "Inf" for key, value in values.items()}
        return {name: kinds[key] for key, name in self._names.items() if key in kinds}


@dataclass(frozen=True, eq=False)
class _Look:
    """One look at losses and gradients."""

    where: NonFinite
    oddities: _Oddities
    losses: Sequence[_Arriving]
    factor: float
    samples: Callable[[], tuple[tuple[int, ...] | None, str]]
    starts_again: bool
    """Whether gradients are others than at the look before: those were thrown away, and not added to."""

    def is_here(self) -> bool:
        return self.oddities.is_here() and all(loss.is_here() for loss in self.losses)

    def seen(self) -> NonFinite:
        """All but the samples."""
        losses = tuple(float(x) * self.factor for loss in self.losses for x in loss.values().flatten().tolist())
        return replace(self.where, losses=losses, layers=self.oddities.by_name())

    def with_samples(self, seen: NonFinite) -> NonFinite:
        samples, how = self.samples()
        return replace(seen, samples=samples, samples_by=how)


@dataclass(frozen=True, eq=False)
class _Stepped:
    """A step, or one that was announced and left out. A fused optimizer may leave it out on its device."""

    came: bool
    found_inf: _Arriving | None = None
    layers: frozenset[str] | None = None
    """Those of the optimizer; None where it is the only one."""

    def is_here(self) -> bool:
        return self.found_inf is None or self.found_inf.is_here()

    def is_of(self, found: NonFinite) -> bool:
        """Whether the optimizer has any of the layers that are not finite."""
        return self.layers is None or not found.layers or bool(self.layers & found.layers.keys())

    def was_used(self) -> bool:
        return self.came and (self.found_inf is None or not bool(self.found_inf.values()))


class FiniteWatch:
    """See the module's synopsis.

    Args:
        trainer: whose steps they are.
        module: which knows its parameters by name.
        chosen: parameters to look at.
        source: where the ids of a batch's samples are.
        count: steps that were not finite, before a resume.
    """

    def __init__(self, trainer: Trainer, module: nn.Module, chosen: Chosen, source: Source, count: int = 0) -> None:
        self._trainer = trainer
        self._module = module
        self._chosen = chosen
        self._source = source
        self._steps: Steps | None = None
        self._members: list[int] = []
        self._parameters: list[Tensor] = []
        self._names: dict[int, str] = {}
        self._events: deque[_Look | _Stepped] = deque()
        self._last: _Look | None = None
        self._gradient: weakref.ref[Tensor] | None = None
        self._versions: list[int] = []
        self._losses: list[Tensor] = []
        self._batch: tuple[Any, int] | None = None
        self._has_looked = False
        self._model: tuple[_Oddities, _Oddities] | None = None
        self._began = trainer.current_epoch, batches_done(trainer)
        self.candidate: NonFinite | None = None
        """Found in a look, and not used yet."""
        self.first: NonFinite | None = None
        self.count = count
        """Steps with a gradient or a loss that was not finite."""

    def here(self) -> NonFinite:
        """What was seen last in this batch, finite or not; waits for the device."""
        if self._last is None:
            trainer = self._trainer
            batch_idx = -1 if self._batch is None else self._batch[1]
            return NonFinite(trainer.global_rank, logging_step(trainer), trainer.current_epoch, batch_idx)
        return self._whole(self._last, self._last.seen())

    def take(self, steps: Steps) -> None:
        """Look at the parameters of these optimizers, in the order of backward: what the module lists last comes
        first."""
        self._steps, self._members = steps, _members(steps)
        own = {s.name: parameters_of(s.optimizer) for s in steps.of}
        names = names_of(self._module)
        found = {id(p): (p, name) for of in layers_of(names, own, self._chosen, None).values() for p, name in of}
        order = {key: i for i, key in enumerate(names)}
        keys = sorted(found, key=lambda key: -order.get(key, -1))
        self._parameters, self._names = [found[key][0] for key in keys], {key: found[key][1] for key in keys}
        if self._model is None:
            self._model = _look_at(self._module)

    # -- as Lightning calls its hooks ------------------------------------------------------------------------------

    def begin(self, batch: Any, batch_idx: int) -> None:
        self._batch, self._losses = (batch, batch_idx), []

    def note_loss(self, loss: Tensor) -> None:
        """What backward is given: Lightning has divided it by the batches that are accumulated."""
        self._losses.append(loss.detach())

    def look(self, later: bool = False) -> None:
        """Behind a backward. `later`, if the gradients are as the step's reader will find them."""
        if self._batch is not None:
            if self._steps is not None and self._members != _members(self._steps):
                self.take(self._steps)  # some have joined, as where a backbone is unfrozen
            self._has_looked = True
            losses, self._losses = self._losses, []
            self._last = self._look(*self._batch, losses)
            self._versions = self._versions_now()
            if not later:
                self._begin()
            self._events.append(self._last)
            self.advance()

    def was_read(self, peaks: Sequence[tuple[Sequence[int], Tensor]]) -> None:
        """Behind a step: the `id` of parameters, and the largest absolute values [P] of their gradients, float32."""
        self._begin(peaks)
        self.advance()

    def _begin(self, peaks: Sequence[tuple[Sequence[int], Tensor]] = ()) -> None:
        """The last look, if it has waited."""
        if self._last is not None:
            self._last.oddities.begin(peaks)

    def before_step(self) -> None:
        """Before a step: in manual optimization there may have been a backward that Lightning does not know of."""
        if not self._has_looked or self._versions != self._versions_now():
            self.look()

    def _versions_now(self) -> list[int]:
        """In manual optimization, how often each gradient was written into, as torch counts."""
        if self._trainer.lightning_module.automatic_optimization:
            return []
        return [p.grad._version for p in self._parameters if p.grad is not None]

    def stepped(self, optimizer: Any) -> None:
        """Behind a step."""
        if not self._has_looked:
            self.look()
        found_inf = getattr(optimizer, "found_inf", None)
        arrives = None if found_inf is None else _Arriving(*arriving(found_inf.clone()))
        self._settle(_Stepped(True, arrives, self._layers_of(optimizer)))

    def found_for(self, optimizer: Any) -> NonFinite | None:
        """What a step of this optimizer would use, or what has been used before."""
        step = _Stepped(True, None, self._layers_of(optimizer))
        return self.first if self.candidate is None or not step.is_of(self.candidate) else self.candidate

    def _layers_of(self, optimizer: Any) -> frozenset[str] | None:
        if self._steps is None or len(self._steps.of) < 2:
            return None
        return frozenset(self._names[id(p)] for p in parameters_of(optimizer) if id(p) in self._names)

    def skipped(self) -> None:
        """A step that was announced has not come."""
        self._settle(_Stepped(False))

    def end(self) -> None:
        """Behind a batch."""
        self._begin()
        self._batch, self._losses, self._last = None, [], None
        self.advance()

    def end_epoch(self) -> None:
        """Behind an epoch, which is waited for: a loss that is not finite counts without a step, too."""
        self.advance(wait=True)
        if self.candidate is not None and self.candidate.has_bad_loss:
            self._judge(_Stepped(False))

    def advance(self, wait: bool = False) -> None:
        """Judge what has arrived; with `wait` everything, which waits for the device."""
        while self._events and (wait or len(self._events) > MOST or self._events[0].is_here()):
            self._judge(self._events.popleft())

    # ----------------------------------------------------------------------------------------------------------------

    def _settle(self, step: _Stepped) -> None:
        self._has_looked = False
        self._events.append(step)
        self.advance()

    def _judge(self, event: _Look | _Stepped) -> None:
        if isinstance(event, _Look):
            if event.starts_again and self.candidate is not None and not self.candidate.has_bad_loss:
                # Of several closures of a step each is used.
                self.candidate = self.candidate if self.candidate.batch == event.where.batch else None
            seen = event.seen()
            if seen.layers or seen.has_bad_loss:
                self.candidate = self.candidate or self._whole(event, seen)
            elif self.candidate is not None and not self.candidate.has_bad_loss:
                self.candidate = None
            return
        if self.candidate is not None and not self.candidate.has_bad_loss and not event.is_of(self.candidate):
            return  # it is another optimizer's
        candidate, self.candidate = self.candidate, None
        is_used = event.was_used()
        if candidate is not None and (is_used or candidate.has_bad_loss):
            self.count += 1
            self.first = self.first or replace(candidate, is_used=is_used)

    def _whole(self, look: _Look, seen: NonFinite) -> NonFinite:
        """With what is asked for only where something is not finite."""
        found = look.with_samples(seen)
        if self._model is None:
            return found
        parameters, buffers = (odd.by_name() for odd in self._model)
        # An attention mask holds infinities.
        return replace(found, model=parameters | {name: kind for name, kind in buffers.items() if kind == "NaN"})

    @torch.no_grad()
    def _look(self, batch: Any, batch_idx: int, losses: Sequence[Tensor]) -> _Look:
        trainer = self._trainer
        # With a scaler, a gradient that is not finite is never used.
        gradients = [p.grad for p in self._parameters] if gradient_scaler(trainer) is None else []
        epoch, step = trainer.current_epoch, logging_step(trainer)
        is_divided = trainer.lightning_module.automatic_optimization
        return _Look(
            NonFinite(trainer.global_rank, step, epoch, batch_idx, num_layers=sum(x is not None for x in gradients)),
            _Oddities(self._names if gradients else {}, gradients),
            [_Arriving(*arriving(loss)) for loss in losses],
            float(trainer.accumulate_grad_batches) if is_divided else 1.0,
            partial(self._indices, epoch, batch_idx) if self._source.ids is None else _ids(self._source, batch),
            self._starts_again(gradients),
        )

    def _starts_again(self, gradients: Sequence[Tensor | None]) -> bool:
        first = next((x for x in gradients if x is not None and x.layout is torch.strided), None)
        before, self._gradient = self._gradient, None if first is None else weakref.ref(first)
        return first is not None and before is not None and before() is not first

    def _indices(self, epoch: int, batch_idx: int) -> tuple[tuple[int, ...] | None, str]:
        done = self._began[1] if epoch == self._began[0] else 0  # in an epoch that was resumed
        try:
            found = indices_of(train_loader(self._trainer), batch_idx - done)
        except Exception as error:
            return None, f"the loader could not be asked: {type(error).__name__}: {error}"
        return (None, _SHUFFLED) if found is None else (tuple(found), "position")


def _look_at(module: nn.Module) -> tuple[_Oddities, _Oddities]:
    """Of a module's parameters, and of its buffers."""
    return _begun(named_parameters_of(module)), _begun(buffers_of(module).items())


def _members(steps: Steps) -> list[int]:
    """The `id` of each parameter of the optimizers."""
    return [id(p) for s in steps.of for p in parameters_of(s.optimizer)]


def _begun(named: Iterable[tuple[str, Tensor]]) -> _Oddities:
    known = {id(x): (name, x) for name, x in named if x.dtype in _KINDS and not is_lazy(x)}
    found = _Oddities({key: name for key, (name, _) in known.items()}, [x for _, x in known.values()])
    found.begin()
    return found


def _ids(source: Source, batch: Any) -> Callable[[], tuple[tuple[int, ...] | None, str]]:
    """Those that the user gives, without the batch; what is on a device is waited for when it is needed."""
    try:
        ids = Step(None, batch).find("ids", source)
    except Exception as error:
        told = str(error).partition("; the step returned")[0]
        why = f"the ids could not be read: {type(error).__name__}: {told}"
        return lambda: (None, why)
    return lambda: (None if ids is None else tuple(map(int, ids.flatten().tolist())), "ids")
