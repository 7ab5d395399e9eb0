"""What a logged step of an optimizer was made of: begun to be read in its hooks, finished in the background.

reader = Reader(module, steps, Chosen(), depth=None, histogram=LogHistogram(), columns=["norms"])
reader.weights()                         # before the first step
reader.keep_parameters(stepping)         # before a step
reader.keep_unclipped(stepping)          # before its gradients are clipped
step = reader.read(stepping)             # behind it; the processes meet if parameters are spread over them
step.layers()                            # waits for the device
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lwcallbacks.callbacks.steps import Stepping, Steps, on_host
from lwcallbacks.gradients import further
from lwcallbacks.gradients.absent import Members
from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.names import Chosen, layers_of, named_parameters_of, names_of
from lwcallbacks.gradients.norms import in_float64
from lwcallbacks.gradients.read import Column, Reading, Row, finished, gradient_norms, read, read_shared
from lwcallbacks.gradients.sample import Samples, num_real
from lwcallbacks.gradients.shards import is_spread
from lwcallbacks.gradients.used import used_gradients
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.to_host import soon_on_host
from lwcallbacks.state.link import AllReduce, Counted, Link, current_link

More = Literal["weights", "moments", "updates"]
"""What can be counted beside the gradients."""
_NONE = Members()
Weights = tuple[Sequence[str], np.ndarray, np.ndarray]
"""Layers of parameters, int64 numbers of elements and float64 2-norms, a row for each parameter."""


@dataclass(frozen=True, eq=False)
class Step:
    """One logged step of an optimizer. What is called waits for the device.

    Attributes:
        optimizer: its name, as `Stepping` has it.
        number: which of its steps it was, from 1.
        readings: of each device; none where no parameter had a gradient.
        num_calls: calls in which processes met for it.
        countings: of what was to be counted further.
        lacks_moments: whether moments were to be counted, and the optimizer has none.
        suffix: what keys of no layer's own end with: the optimizer's name, where there are several.
        members: the layers that the optimizer has, and those that none has.
    """

    optimizer: str
    number: int
    readings: Sequence[Reading]
    num_calls: int
    _found_inf: Callable[[], Tensor] | None
    _skipped: int
    _skipped_on_device: Callable[[], Tensor] | None
    countings: Sequence[further.Counting] = ()
    lacks_moments: bool = False
    suffix: str = ""
    members: Members = _NONE
    _moved: Sequence[Callable[[], Tensor]] = ()

    @property
    def host_bytes(self) -> int:
        """What moves from an accelerator to the host."""
        return sum(part.host_bytes for part in self._parts)

    @property
    def nbytes(self) -> int:
        """Of host memory, until it is drawn."""
        return sum(part.nbytes for part in self._parts)

    @property
    def _parts(self) -> list[Reading | further.Counting]:
        return [*self.readings, *self.countings]

    @property
    def peaks(self) -> list[tuple[Sequence[int], Tensor]]:
        """The `id` of parameters, and the largest absolute values [P] of their gradients, float32, there."""
        return [reading.peaks for reading in self.readings if reading.peaks is not None]

    def layers(self) -> Layers | None:
        """None where there was no gradient, and where the optimizer has skipped the step on its device."""
        layers = None if self.is_skipped else finished(self.readings)
        return None if layers is None else layers.grouped(layers.names)

    def counts(self) -> further.Counts | None:
        """Of what was counted further; None where `layers` is, and where that was nothing."""
        return None if self.is_skipped else further.counted(self.countings)

    @property
    def is_skipped(self) -> bool:
        """Whether the optimizer has skipped the step on its device."""
        return self._found_inf is not None and bool(on_host(self._found_inf()))

    @property
    def has_cleared(self) -> bool:
        """Whether there is no gradient behind the step, though it has changed something: there was one before."""
        return any(bool(on_host(of_device())) for of_device in self._moved)

    def num_skipped(self) -> int:
        """Steps that a gradient scaler had skipped by then."""
        return self._skipped + (0 if self._skipped_on_device is None else on_host(self._skipped_on_device()))


class Reader:
    """See the module's synopsis.

    Args:
        module: which knows its parameters by name.
        steps: of all its optimizers.
        chosen: parameters to read.
        depth: parts of a name that make a layer; None for all of it.
        histogram: how elements are counted.
        columns: norms to read, the same on every process.
        more: what to count besides, of "weights", "moments" and "updates"; the same on every process.
        link: to the other processes, which parameters may be spread over; by default `current_link`.
    """

    def __init__(
        self,
        module: nn.Module,
        steps: Steps,
        chosen: Chosen,
        depth: int | None,
        histogram: LogHistogram,
        columns: Sequence[Column],
        more: Sequence[More] = (),
        link: Link | None = None,
    ) -> None:
        self._module = module
        self._steps = steps
        self._chosen = chosen
        self._depth = depth
        self._histogram = histogram
        self._columns = columns
        self._more = more
        self._link = link or current_link()
        self._samples = Samples()
        self._kept: dict[int, Kept] = {}
        self._unclipped: dict[int, dict[int, Tensor]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether processes meet to read: parameters of any optimizer are spread over them. The same on each."""
        return any(is_spread(p) for stepping in self._steps.of for p in parameters_of(stepping.optimizer))

    def has_chosen(self, stepping: Stepping) -> bool:
        """Whether any parameter of an optimizer is to be read by now: frozen ones are not."""
        return self._chosen == Chosen() or any(p.requires_grad for p in self._chosen_of(stepping))

    def _chosen_of(self, stepping: Stepping) -> list[Tensor]:
        names = {} if self._chosen == Chosen() else names_of(self._module)
        own = parameters_of(stepping.optimizer)
        return [p for p in own if self._chosen.has(names.get(id(p), "*"))]

    @torch.no_grad()
    def weights(self) -> Callable[[], Weights] | None:
        """Norms of the parameters as they are now; None where there are none, nobody asks for them, or processes would
        have to meet for them."""
        if "weights" not in self._columns or self.is_shared:
            return None
        own = {s.name: parameters_of(s.optimizer) for s in self._steps.of}
        of = layers_of(names_of(self._module), own, self._chosen, self._depth).values()
        named = [(p, layer) for pairs in of for p, layer in pairs if not is_lazy(p)]
        if not named:
            return None
        kept = Kept([p for p, _ in named], self._samples)
        devices = dict.fromkeys(p.device for p, _ in named)
        parts = [[pair for pair in named if pair[0].device == device] for device in devices]
        norms = [
            soon_on_host(kept.norms([p for p, _ in part], device)[1])
            for device, part in zip(devices, parts, strict=True)
        ]
        layers = [layer for part in parts for _, layer in part]
        elements = np.array([num_real(p) for part in parts for p, _ in part], dtype=np.int64)
        return lambda: (layers, elements, in_float64(np.concatenate([of().numpy() for of in norms])))

    @torch.no_grad()
    def keep_parameters(self, stepping: Stepping) -> None:
        """Keep what the step's change is worked out from, if that is asked for."""
        if "changes" not in self._columns and "updates" not in self._more:
            return
        # One that is frozen by now may have a gradient, and its step.
        stepped = [p for p in self._chosen_of(stepping) if p.requires_grad or p.grad is not None]
        self._kept[stepping.index] = Kept(stepped, self._samples)

    @torch.no_grad()
    def keep_unclipped(self, stepping: Stepping) -> None:
        """Keep the norms of the gradients as they are, if that is a column."""
        if "before" in self._columns:
            self._unclipped[stepping.index] = gradient_norms(parameters_of(stepping.optimizer))

    def forget(self, stepping: Stepping) -> None:
        """What was kept is not needed: the step did not come."""
        self._kept.pop(stepping.index, None)
        self._unclipped.pop(stepping.index, None)

    @torch.no_grad()
    def read(self, stepping: Stepping) -> Step:
        kept = self._kept.pop(stepping.index, Kept())
        unclipped = self._unclipped.pop(stepping.index, {})
        own = {s.name: parameters_of(s.optimizer) for s in self._steps.of}
        known = named_parameters_of(self._module)
        names = {id(p): name for name, p in known}
        named = layers_of(names, own, self._chosen, self._depth)[stepping.name]
        optimized = {id(p) for of in own.values() for p in of}
        outside = [p for _, p in known if p.grad is not None and id(p) not in optimized]
        others = layers_of(names, {"": outside}, self._chosen, self._depth)[""]
        used = used_gradients(stepping.optimizer)
        rows = [Row(layer, p, unclipped.get(id(p)), used.get(id(p))) for p, layer in named]
        link = Counted(self._link)
        items = self._items(stepping, named, kept)
        if self.is_shared:
            readings, countings = self._summed(rows, items, kept, link)
        else:
            readings = read(rows, self._histogram, self._columns, kept)
            countings = further.count(items, self._histogram)
        found_inf, skipped = stepping.found_inf, stepping.skipped_on_device
        return Step(
            stepping.name,
            stepping.count,
            readings,
            link.num_calls,
            None if found_inf is None else soon_on_host(found_inf.clone()),
            stepping.skipped,
            None if skipped is None else soon_on_host(skipped),
            countings,
            "moments" in self._more and not any(item.name.startswith(further.MOMENTS) for item in items),
            f"/{stepping.name}" if len(self._steps.of) > 1 else "",
            _members(named, others),
            () if readings else _moved(kept, [p for p, _ in named]),
        )

    def _items(self, stepping: Stepping, named: Sequence[tuple[Tensor, str]], kept: Kept) -> list[further.Item]:
        items = further.weights(named) if "weights" in self._more else []
        if "moments" in self._more:
            items += further.moments(named, stepping.optimizer, shared=self.is_shared)
        return items + (further.updates(named, kept.copies()) if "updates" in self._more else [])

    def _summed(
        self, rows: Sequence[Row], items: Sequence[further.Item], kept: Kept, link: Counted
    ) -> tuple[list[Reading], list[further.Counting]]:
        here: dict[str, Any] = {"rank": link.rank, "world_size": link.world_size}
        reading = read_shared(rows, self._histogram, self._columns, kept, **here)
        if not items:
            return [in_one_sum([reading], link)[0]], []
        found = in_one_sum([reading, further.count_shared(items, self._histogram, **here)], link)
        return [found[0]], [found[1]]


def _moved(kept: Kept, parameters: Sequence[Tensor]) -> list[Callable[[], Tensor]]:
    """Of each device, whether any parameter there is another than was kept."""
    devices = dict.fromkeys(p.device for p in parameters)
    changed = [kept.norms([p for p in parameters if p.device == device], device)[0] for device in devices]
    return [soon_on_host((norms[..., 0] != 0).any()) for norms in changed]


def _members(named: Sequence[tuple[Tensor, str]], others: Sequence[tuple[Tensor, str]]) -> Members:
    """Of an optimizer's own parameters, and of those that have a gradient and no optimizer."""
    learning = dict.fromkeys(layer for p, layer in named if p.requires_grad and not is_lazy(p) and p.numel())
    frozen = dict.fromkeys(layer for _, layer in named if layer not in learning)
    outside = dict.fromkeys(layer for p, layer in others if p.requires_grad)
    return Members(tuple(learning), tuple(frozen), tuple(outside))


def in_one_sum(steps: Sequence[Generator[Tensor, Tensor, Any]], link: Counted) -> list[Any]:
    """What coroutines return that ask for one sum over all processes each: their tensors of integers go as one.

    Raises:
        Exception: what the first of them has raised, after the sum, in which every process takes part.
    """
    packs = [next(of) for of in steps]
    summed = link.perform(AllReduce(torch.cat(packs), "sum", stays=True))
    ends = [0]
    for pack in packs:
        ends.append(ends[-1] + pack.numel())
    found = []
    for of, pack, (begin, end) in zip(steps, packs, pairwise(ends), strict=True):
        try:
            of.send(summed[begin:end].to(pack.dtype))
        except StopIteration as stop:
            found.append(stop.value)
    return found


def parameters_of(optimizer: Any) -> list[Tensor]:
    """All parameters of an optimizer, in its order."""
    return [p for group in optimizer.param_groups for p in group["params"]]
