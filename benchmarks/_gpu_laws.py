"""Every reduction gives the same bits on every device, at once and in parts: for `gpu.py`. Needs torch alone.

    [said for said in broken_laws([torch.device("cpu"), torch.device("cuda")], seeds=3, samples=500)]

Fields are drawn at random on the CPU: a third of the floats are random bits (NaN of every payload, infinities,
subnormals), a third are ordinary, a third come from a few values, so that ties happen. The reference is one lift of
all samples on the CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from lwcallbacks.reductions import (
    ActivationCounts,
    ConfusionCounts,
    ExactMean,
    ExactSum,
    Extrema,
    First,
    LogHistogram,
    PerClass,
    PerGroup,
    Product,
    RandomSample,
    Reduction,
    ScoreCounts,
    ScoreRange,
    TopK,
    content_ids,
)
from lwcallbacks.reductions.floats import orderable
from lwcallbacks.reductions.hardness import doubt, hardness

NAN, INF = float("nan"), float("inf")
FEW = (0.0, -0.0, 1.0, 1.0, 0.5, -3.0, NAN, INF, -INF, 1e-8)
# Each dtype of floats, with one of integers: labels and ids come in all of them, too.
DTYPES = {
    torch.float32: torch.int64,
    torch.float16: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float64: torch.uint8,
}
BITS = {16: torch.int16, 32: torch.int32, 64: torch.int64}


class Draw:
    """Fields of `n` samples in one dtype."""

    def __init__(self, generator: Generator, n: int, dtype: torch.dtype) -> None:
        self.generator, self.n, self.dtype = generator, n, dtype

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, (self.n, *shape), generator=self.generator)

    def floats(self, *shape: int) -> Tensor:
        whole = BITS[torch.finfo(self.dtype).bits]
        ends = torch.iinfo(whole)
        size = (self.n, *shape)
        bits = torch.randint(ends.min, ends.max, size, generator=self.generator, dtype=whole).view(self.dtype)
        ordinary = torch.randn(size, generator=self.generator).to(self.dtype)
        few = torch.tensor(FEW, dtype=self.dtype)[self.integers(0, len(FEW), *shape)]
        which = self.integers(0, 3, *shape)
        return torch.where(which == 0, bits, torch.where(which == 1, ordinary, few))

    def scores(self, *shape: int) -> Tensor:
        """Scores of which few are far from [0, 1]."""
        near = torch.rand((self.n, *shape), generator=self.generator) * 1.2 - 0.1
        return torch.where(self.integers(0, 20, *shape) == 0, self.floats(*shape), near.to(self.dtype))

    def labels(self, *shape: int, low: int = -1, high: int = 4) -> Tensor:
        return self.integers(low, high, *shape).to(DTYPES[self.dtype])

    def identified(self) -> tuple[Tensor, ...]:
        """Ids of which some repeat, with the payload of each."""
        ids = self.integers(0, max(1, 3 * self.n // 4))
        table = Draw(Generator().manual_seed(1), self.n, self.dtype).floats(3, 2)
        return ids, table[ids], ids.to(torch.uint8)


Make = Callable[[Draw], Any]

LAWFUL: dict[str, tuple[Reduction, Make]] = {
    "sum": (ExactSum(), lambda d: (d.floats(),)),
    "sum of maps": (ExactSum(), lambda d: (d.floats(2, 3),)),
    "mean": (ExactMean(), lambda d: (d.floats(),)),
    "weighted mean": (ExactMean(), lambda d: (d.floats(), d.floats())),
    "activations": (ActivationCounts(3), lambda d: (d.floats(3, 2),)),
    "extrema": (Extrema(), lambda d: (d.floats(4),)),
    "histogram": (LogHistogram(), lambda d: (d.floats(5),)),
    "coarse histogram": (LogHistogram(mantissa_bits=0), lambda d: (d.floats(),)),
    "confusion of labels": (ConfusionCounts(3), lambda d: (d.labels(), d.labels())),
    "confusion of scores": (ConfusionCounts(3), lambda d: (d.floats(3), d.labels())),
    "confusion of many classes": (ConfusionCounts(100, ignore_index=7), lambda d: (d.scores(100), d.labels(high=101))),
    "confusion by the best five": (ConfusionCounts(20, top_k=5), lambda d: (d.floats(20), d.labels(high=21))),
    "confusion of maps": (ConfusionCounts(3, ignore_index=1), lambda d: (d.floats(3, 2, 2), d.labels(2, 2))),
    "two classes by one score": (ConfusionCounts(2), lambda d: (d.scores(), d.labels(high=3))),
    "binary scores": (ConfusionCounts(2, task="binary", threshold=0.25), lambda d: (d.scores(), d.labels())),
    "binary logits": (ConfusionCounts(2, task="binary", logits=True), lambda d: (d.floats(), d.labels())),
    "multilabel": (ConfusionCounts(4, task="multilabel"), lambda d: (d.scores(4), d.labels(4, low=0, high=2))),
    "binary score counts": (ScoreCounts(2, task="binary", mantissa_bits=4), lambda d: (d.scores(), d.labels())),
    "score counts": (ScoreCounts(5, mantissa_bits=6), lambda d: (d.scores(5), d.labels(high=6))),
    "score counts of logits": (
        ScoreCounts(100, logits=True, mantissa_bits=4),
        lambda d: (10 * d.floats(100), d.labels()),
    ),
    "score counts of some classes": (
        ScoreCounts(3, 1, logits=True, classes=(2, 0), mantissa_bits=4),
        lambda d: (d.floats(3, 2, 2), d.labels(2, 2)),
    ),
    "multilabel score counts": (
        ScoreCounts(4, task="multilabel", mantissa_bits=4, classes=(3, 1)),
        lambda d: (d.scores(4), d.labels(4, low=0, high=2)),
    ),
    "range of scores": (ScoreRange(), lambda d: (d.scores(3),)),
    "largest": (TopK(5), lambda d: (d.floats(), *d.identified())),
    "smallest": (TopK(5, largest=False), lambda d: (d.floats(), *d.identified())),
    "more places than samples": (TopK(2000), lambda d: (d.floats(), *d.identified())),
    "first": (First(7), lambda d: d.identified()),
    "random sample": (RandomSample(7, seed=3), lambda d: d.identified()),
    "largest per group": (PerGroup(TopK(3), 9), lambda d: (d.labels(), d.floats(), *d.identified())),
    "fewer places than groups": (PerGroup(RandomSample(2), 2), lambda d: (d.labels(), *d.identified())),
    "mean per class": (PerClass(ExactMean(), 3), lambda d: (d.labels(), d.floats())),
    "extrema per class": (PerClass(Extrema(), 3), lambda d: (d.labels(), d.floats(2))),
    "product": (
        Product(loss=ExactMean(), worst=TopK(3)),
        lambda d: dict(zip(("loss", "worst"), (lambda x: ((x,), (x, *d.identified())))(d.floats()), strict=True)),
    ),
}


def broken_laws(name: str, devices: Sequence[torch.device], seeds: int, samples: int) -> Iterator[str]:
    """What is not as on the CPU, for one entry of `LAWFUL`."""
    reduction, make = LAWFUL[name]
    for dtype in DTYPES:
        for seed in range(seeds):
            for n in (0, 1, samples):
                generator = Generator().manual_seed(seed)
                fields = make(Draw(generator, n, dtype))
                valid = torch.randint(0, 2, (n,), generator=generator).bool()
                where = f"{str(dtype).removeprefix('torch.')}, {n} samples, seed {seed}"
                expected = call(reduction.lift, fields)
                of_valid = call(reduction.lift, each(fields, lambda t, valid=valid: t[valid]))
                for device in devices:
                    moved = each(fields, lambda t, device=device: t.to(device))
                    for way, state in states(reduction, moved, n, generator):
                        yield from (f"{where}, {device}, {way}: {said}" for said in unlike(state, expected, reduction))
                    masked = call(reduction.lift, moved, valid=valid.to(device))
                    yield from (f"{where}, {device}, valid: {said}" for said in unlike(masked, of_valid, reduction))


def states(reduction: Reduction, fields: Any, n: int, generator: Generator) -> Iterator[tuple[str, Any]]:
    """The same samples, cut and ordered in several ways."""
    yield "at once", call(reduction.lift, fields)
    yield "strided", call(reduction.lift, each(fields, lambda t: torch.stack([t, t], -1)[..., 0]))
    order = torch.randperm(n, generator=generator)
    cuts = sorted({0, n, *torch.randint(0, n + 1, (4,), generator=generator).tolist()})
    places = [order[start:stop] for start, stop in pairwise(cuts)] or [order]
    parts = [each(fields, lambda t, place=place: t[place.to(t.device)]) for place in places]
    state, *lifted = (call(reduction.lift, part) for part in parts)
    for one in lifted:
        state = reduction.merge(one, state)
    yield "merged", state
    state = call(reduction.lift, parts[0])
    for part in parts[1:]:
        state = call(partial(reduction.accumulate, state), part)
    yield "accumulated", state


def call(function: Callable[..., Any], fields: Any, **kwargs: Any) -> Any:
    return function(**fields, **kwargs) if isinstance(fields, dict) else function(*fields, **kwargs)


def each(fields: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The fields with each tensor changed."""
    if isinstance(fields, Tensor):
        return change(fields)
    if isinstance(fields, dict):
        return {name: each(field, change) for name, field in fields.items()}
    return tuple(each(field, change) for field in fields)


def unlike(state: dict[str, Tensor], expected: dict[str, Tensor], reduction: Reduction) -> Iterator[str]:
    """Where a state, or its value, has other bits than expected."""
    of_one = state.keys() ^ expected.keys()
    if any(bits_of({**state, **expected}[name]).any() for name in of_one):
        yield f"tables {sorted(state)}, expected {sorted(expected)}"
        return
    for name in sorted(state.keys() & expected.keys()):
        tensor = expected[name]
        if plain(state[name]) != plain(tensor):
            yield f"{name} differs in {differing(state[name].cpu(), tensor)}"
    # A choice of nothing has no payload yet, or one of zeros.
    if not of_one and plain(reduction.value(state)) != plain(reduction.value(expected)):
        yield f"the value is {reduction.value(state)}, expected {reduction.value(expected)}"


def differing(found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"form: {found.dtype} {tuple(found.shape)}, expected {expected.dtype} {tuple(expected.shape)}"
    other = bits_of(found) != bits_of(expected)
    return f"{int(other.sum())} of {other.numel()} bytes"


def bits_of(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def plain(value: Any) -> Any:
    """What can be compared by `==`, to the bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), bits_of(value).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "__dict__"):
        value = vars(value)
    return {name: plain(part) for name, part in value.items()} if isinstance(value, dict) else value


def broken_names(devices: Sequence[torch.device], seeds: int, samples: int) -> Iterator[str]:
    """Where `content_ids` gives a sample another id than on the CPU, or in another batch or layout."""
    for dtype in (*DTYPES, *DTYPES.values(), torch.bool):
        for seed in range(seeds):
            draw = Draw(Generator().manual_seed(seed), samples // 10 + 1, torch.float32)
            images, labels = draw.floats(3, 24, 24), draw.labels()
            images = images if dtype == torch.float32 else (images.nan_to_num() * 100).clamp(0, 1000).to(dtype)
            expected = content_ids(images, labels)
            for device in devices:
                here, beside = images.to(device), labels.to(device)
                for way, found in (
                    ("at once", content_ids(here, beside)),
                    ("channels last", content_ids(here.to(memory_format=torch.channels_last), beside)),
                    ("one by one", torch.cat([content_ids(here[i : i + 1], beside[i : i + 1]) for i in range(9)])),
                ):
                    if plain(found.cpu()) != plain(expected[: len(found)]):
                        yield f"{str(dtype).removeprefix('torch.')}, seed {seed}, {device}, {way}: other ids"


def broken_orders(devices: Sequence[torch.device], seeds: int, samples: int) -> Iterator[str]:
    """Where `hardness` or `doubt` of a sample has other bits than on the CPU, or in another batch or layout."""
    for dtype in DTYPES:
        for seed in range(seeds):
            draw = Draw(Generator().manual_seed(seed), samples, dtype)
            classes, one, many = draw.floats(11), draw.scores(), draw.scores(5)
            labels, ones, sets = draw.labels(high=12), draw.labels(high=3), draw.labels(5, low=0, high=3)
            for logits in (True, False):
                of_many: dict[str, Any] = {"logits": logits, "multilabel": True}
                for name, function, fields in (
                    ("classes", partial(hardness, logits=logits), (classes, labels)),
                    ("one score", partial(hardness, logits=logits), (one, ones)),
                    ("labels", partial(hardness, **of_many), (many, sets)),
                    ("doubt of classes", partial(doubt, logits=logits), (classes,)),
                    ("doubt of one score", partial(doubt, logits=logits), (one,)),
                    ("doubt of labels", partial(doubt, **of_many), (many,)),
                ):
                    expected = orderable(function(*fields))  # of a NaN the bits do not matter
                    expected[function(*fields).isnan()] = 0
                    for device in devices:
                        here = each(fields, lambda t, device=device: t.to(device))
                        strided = each(here, lambda t: torch.stack([t, t], -1)[..., 0])
                        parts = [function(*each(here, lambda t, i=i: t[i : i + 7])) for i in range(0, samples, 7)]
                        for way, found in (
                            ("at once", function(*here)),
                            ("strided", function(*strided)),
                            ("in parts", torch.cat(parts)),
                        ):
                            bits = orderable(found.cpu()).masked_fill(found.cpu().isnan(), 0)
                            if not bits.equal(expected):
                                number = int((bits != expected).sum())
                                where = f"{str(dtype).removeprefix('torch.')}, seed {seed}, {device}, {way}"
                                yield f"{name}, logits={logits}: {where}: {number} of {len(bits)} differ"
