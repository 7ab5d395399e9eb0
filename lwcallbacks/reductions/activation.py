"""What the outputs of a module are like: a mean, a largest value, a histogram, and units that are always zero.

counts = ActivationCounts(num_units=16)
seen = counts.value(counts.lift(torch.relu(torch.randn(8, 16))))
seen.mean, seen.num_dead
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MIN, Scatter, Scattered, Slots, State, amounts, expect
from lwcallbacks.reductions.floats import EXACT_SLOTS, as_float32, exact_terms
from lwcallbacks.reductions.histogram import LogHistogram
from lwcallbacks.reductions.log_bins import LogBins
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.sums import ExactMean, ExactSum

_CHUNK, _AT_ONCE = 1 << 18, 1 << 22
"""Elements that are added up at once, on the CPU and on a device: there, 40 bytes are made of each."""

_COPIES = 32
"""Tables of sums on a device, which adds to one slot one after the other: neighbours add to different ones."""

_NAN = 0x7FC00000


class Activation(NamedTuple):
    """What the elements of an output are like.

    Attributes:
        mean: the correctly rounded mean; NaN of nothing, and where a NaN was seen.
        largest: the largest absolute value, NaN where there is one, 0.0 of nothing.
        num_dead: units of which no element was anything but zero, out of `num_units`.
        bins: all elements, by their leading bits.

    >>> counts = ActivationCounts()
    >>> counts.value(counts.lift(torch.tensor([0.0, -2.0])))[:2]
    (-1.0, 2.0)
    """

    mean: float
    largest: float
    num_dead: int
    num_units: int
    bins: LogBins

    @property
    def num_values(self) -> int:
        """The number of elements."""
        return self.bins.num_finite + self.bins.num_nan + self.bins.num_posinf + self.bins.num_neginf

    @property
    def zero(self) -> float:
        """The share of elements that are zero; NaN of nothing."""
        return self.bins.num_zero / self.num_values if self.num_values else float("nan")


@dataclass(frozen=True)
class ActivationCounts(Scattered):
    """Mean, largest absolute value, histogram and dead units of the outputs of a module.

    Args:
        num_units: size of dimension 1, whose entries are the units: channels, or features of a linear layer. 0 tells no
            units apart.
        mantissa_bits: bits of the mantissa that tell bins apart, as of `LogHistogram`.

    `lift(values)`: float [N, num_units, ...], read as float32; [N, ...] if `num_units` is 0. `value`: `Activation`. A
    unit is dead if all its elements are zero, those of all samples and positions; NaN is not zero. State: int64
    [2**(9 + mantissa_bits) + 4], [259], [1] and [num_units]; O(N) to lift.

    >>> counts = ActivationCounts(2)
    >>> seen = counts.value(counts.lift(torch.tensor([[0.0, 1.0], [0.0, 0.0]])))
    >>> seen.mean, seen.largest, seen.num_dead, seen.zero
    (0.25, 1.0, 1, 0.75)
    """

    num_units: int = 0
    mantissa_bits: int = 3

    @cached_property
    def _histogram(self) -> LogHistogram:
        return LogHistogram(self.mantissa_bits)

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {
            "counts": self._histogram.slots["counts"],
            "sums": Slots(EXACT_SLOTS),
            "largest": Slots(1, "max"),
            "live": Slots(self.num_units),
        }

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        self._expect(values)
        counts, sums = self._histogram.scatter(values, valid=valid), ExactSum().scatter(values, valid=valid)
        largest = _sizes(values)
        if valid is not None:
            largest = largest.masked_fill(amounts(valid, values) == 0, INT64_MIN)
        return {**counts, **sums, "largest": (None, largest.unsqueeze(-1)), "live": (None, self._live(values, valid))}

    def tally(self, state: State, values: Tensor, *, valid: Tensor | None = None) -> State:  # type: ignore[override]
        self._expect(values)
        kept = values.detach() if valid is None else values.detach()[valid]
        if not kept.numel():
            return state
        self._histogram.tally(state, kept)
        for piece in _pieces(kept):
            ExactSum().tally(state, piece)
            low, high = torch.aminmax(piece)
            self._add(state, "largest", _sizes(torch.maximum(-low, high)).view(1, 1))
            self._add(state, "live", self._live(piece, None))
        return state

    def add(self, state: State, values: Tensor) -> State:
        """`accumulate` in pieces of some samples each, for tensors of any size, on any device without a wait.

        `state` is on the device of `values`, and may be overwritten.
        """
        if may_look(values):
            return self.tally(state, values)
        self._expect(values)
        values = values.detach()
        if values.numel():
            state["counts"] += self._histogram.tables([values])[0]
            for piece in _pieces(values):
                self._add(state, "largest", _sizes(as_float32(piece).abs().amax()).view(1, 1))
                state["sums"] += _sums(piece)
                self._add(state, "live", self._live(piece, None))
        return state

    def _add(self, state: State, name: str, amount: Tensor) -> None:
        self.slots[name].scatter_(state[name], None, amount)

    def _live(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """How many elements of each unit are not zero, of each sample: int64 [N, num_units]."""
        if not self.num_units:
            return values.new_zeros((len(values), 0), dtype=torch.int64)
        beside = tuple(range(2, values.ndim))
        found = as_float32(values) != 0
        live = found.sum(beside) if beside else found.to(torch.int64)
        return live * amounts(valid, live)

    def _expect(self, values: Tensor) -> None:
        shape = tuple(values.shape)
        fits = len(shape) >= 1 and (not self.num_units or shape[1:2] == (self.num_units,))
        expect(
            fits, self, f"values have shape {shape}", f"(N, {self.num_units}, ...)" if self.num_units else "(N, ...)"
        )

    def value(self, state: State) -> Activation:
        largest, live = int(state["largest"]), state["live"].cpu()
        bins = self._histogram.value(state)
        total = bins.num_finite + bins.num_nan + bins.num_posinf + bins.num_neginf
        ones = torch.zeros(EXACT_SLOTS, dtype=torch.int64)
        ones[127] = total << 23  # as many ones, as `ExactMean` adds them up
        return Activation(
            mean=ExactMean().value({"sums": torch.cat([state["sums"].cpu(), ones])}),
            largest=0.0 if largest < 0 else float(torch.tensor(largest, dtype=torch.int32).view(torch.float32)),
            num_dead=int((live == 0).sum()),
            num_units=self.num_units,
            bins=bins,
        )


def _sizes(x: Tensor) -> Tensor:
    """Bits of absolute values, int64: ordered as they are, with NaN above all."""
    x = as_float32(x).abs()
    return x.view(torch.int32).to(torch.int64).masked_fill(x.isnan(), _NAN)


def _pieces(values: Tensor) -> Iterator[Tensor]:
    """Some samples each, as views."""
    most = _CHUNK if may_look(values) else _AT_ONCE
    return iter(torch.split(values, max(1, most // max(1, values[0].numel()))))


def _sums(values: Tensor) -> Tensor:
    """What `ExactSum` adds for these values, int64 [259]."""
    slot, amount = (x.reshape(-1) for x in exact_terms(values))
    copy = torch.arange(len(slot), device=slot.device) % _COPIES
    tables = torch.zeros(_COPIES * EXACT_SLOTS, dtype=torch.int64, device=slot.device)
    return tables.index_add_(0, slot + copy * EXACT_SLOTS, amount).view(_COPIES, EXACT_SLOTS).sum(0)
