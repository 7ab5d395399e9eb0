"""Whatever a loader draws and a step makes of it: every row counts once, or a warning says how many do not.

Held against a plain loop, for data sets, samplers, batch sizes, collate functions and 1 to 4 simulated processes, all
drawn at random.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSamplerWrapper
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)
from torchmetrics.classification import MulticlassConfusionMatrix

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.callbacks.epoch import Ended, Epoch
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import Source, Step
from lwcallbacks.reductions import ConfusionCounts, ExactSum, First, RandomSample
from lwcallbacks.state.padding import layout_of
from lwcallbacks.testing import World

CLASSES = 3
EXAMPLES = int(os.environ.get("LWCALLBACKS_EXAMPLES", "12")) * 3


class Indices(Dataset):
    """The index itself, or for ready-made batches a batch of one."""

    def __init__(self, n: int, *, ready: bool = False) -> None:
        self.n = n
        self.ready = ready

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return [i] if self.ready else i


class Own(Sampler):
    """A sampler of the user's: some indices twice, some never."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter([i * i % self.n for i in range(self.n)])

    def __len__(self) -> int:
        return self.n


class Strided(DistributedSampler):
    """A distributed sampler of the user's, which repeats nothing."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


INNER: dict[str, Callable[[int], Any]] = {
    "sequential": lambda n: SequentialSampler(range(n)),
    "shuffled": lambda n: RandomSampler(range(n), generator=seeded()),
    "weighted": lambda n: WeightedRandomSampler(torch.arange(1.0, n + 1), n + 2, generator=seeded()),
    "own": Own,
}
DEALT: dict[str, Callable[..., Any]] = {
    "padded": lambda inner, n, world, rank: DistributedSamplerWrapper(
        inner, num_replicas=world, rank=rank, shuffle=False
    ),
    "unpadded": lambda inner, n, world, rank: UnrepeatedDistributedSamplerWrapper(
        inner, num_replicas=world, rank=rank, shuffle=False
    ),
    "plain": lambda inner, n, world, rank: DistributedSampler(range(n), world, rank, shuffle=False),
    "shuffling": lambda inner, n, world, rank: DistributedSampler(range(n), world, rank, shuffle=True),
    "own, dealt": lambda inner, n, world, rank: Strided(range(n), world, rank),
    "not dealt": lambda inner, n, world, rank: inner,
}
ROWS: dict[str, Callable[[int], int]] = {
    "one": lambda i: 1,
    "three": lambda i: 3,
    "some": lambda i: (5 * i + 1) % 4,
    "thirds": lambda i: i % 3,
    "mostly one": lambda i: 2 if i % 5 == 4 else 1,
    "drops": lambda i: 0 if i % 4 == 2 else 1,
}


class Case(NamedTuple):
    n: int
    batch_size: int | None
    inner: str
    dealt: str
    rows: str
    world: int
    ids: bool


CASES = st.builds(
    Case,
    n=st.integers(1, 17),
    batch_size=st.sampled_from([None, 1, 2, 3, 5]),
    inner=st.sampled_from(sorted(INNER)),
    dealt=st.sampled_from(sorted(DEALT)),
    rows=st.sampled_from(sorted(ROWS)),
    world=st.integers(1, 4),
    ids=st.booleans(),
).filter(lambda case: case.n >= case.world)  # Lightning's sampler for predict wants a sample for each process


def rows_of(indices: list[int], case: Case) -> torch.Tensor:
    """The index that each row of a batch is of."""
    return torch.tensor([i for i in indices for _ in range(ROWS[case.rows](i))], dtype=torch.int64)


def fields(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"preds": rows * 7 % CLASSES, "targets": rows * rows % CLASSES, "inputs": rows.float()[:, None], "key": rows}


def loader_of(case: Case, rank: int) -> DataLoader:
    # On one process a Trainer leaves the sampler as it is.
    inner = INNER[case.inner](case.n)
    sampler = DEALT[case.dealt](inner, case.n, case.world, rank) if case.world > 1 else inner
    data = Indices(case.n, ready=case.batch_size is None)
    return DataLoader(data, case.batch_size, sampler=sampler, collate_fn=lambda batch: rows_of(list(batch), case))


def by_chance(case: Case) -> bool:
    """Whether all batches have as many rows as indices, and some rows are not one for each: nobody can tell."""
    drawn: list[list[int]] = []
    for rank in range(case.world):
        loader = loader_of(case, rank)
        loader.collate_fn = lambda batch: drawn.append(list(batch))
        for _ in loader:
            pass
    rows = [[ROWS[case.rows](i) for i in batch] for batch in drawn]
    return all(sum(batch) == len(batch) for batch in rows) and any(n != 1 for batch in rows for n in batch)


def epochs(case: Case, needs: dict[str, Need]) -> tuple[list[Ended], list[str], list[DataLoader]]:
    """One epoch on every process of a simulated world, what was said, and the loaders."""
    running, loaders, said = [], [], []
    for rank in range(case.world):
        loader = loader_of(case, rank)
        epoch = Epoch("val", needs, [Place([layout_of(loader)])], num_replicas=case.world, say=said.append)
        for k, rows in enumerate(loader):
            epoch.update(0, k, Step(fields(rows), None))
        running.append(epoch)
        loaders.append(loader)
    ended = World(case.world).run(lambda rank: running[rank].ending(rank, case.world))
    return ended, [*said, *ended[0].faults, *ended[0].notes], loaders


def drawn_by(case: Case) -> list[int]:
    """Every index that is to count, once for each time that it was meant to be drawn."""
    inner = list(INNER[case.inner](case.n))
    reads_data = case.world > 1 and case.dealt in ("plain", "shuffling", "own, dealt")
    return list(range(case.n)) if reads_data else inner


def plain_loop(case: Case) -> torch.Tensor:
    """The confusion matrix of all rows, counted one by one."""
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    found = fields(rows_of(drawn_by(case), case))
    for target, pred in zip(found["targets"].tolist(), found["preds"].tolist(), strict=True):
        counts[target, pred] += 1
    return counts


def check(case: Case, matrix: torch.Tensor, said: list[str]) -> None:
    expected = plain_loop(case)
    twice = [int(m[1]) for m in (re.search(r"at most (\d+) of \d+ rows", message) for message in said) if m]
    more = matrix - expected
    known = case.world == 1 or case.dealt not in ("own, dealt", "not dealt")
    all_have_rows = case.rows not in ("drops", "some", "thirds")
    if known and (case.rows == "one" or (case.ids and all_have_rows)):
        assert torch.equal(matrix, expected)
        assert not said
    elif case.ids and case.dealt == "not dealt" and len(drawn_by(case)) == len(set(drawn_by(case))):
        assert torch.equal(matrix, expected)  # every process has read the same, and one of them counts
    else:
        assert (more >= 0).all()
        assert int(more.sum()) <= sum(twice)
        assert len(twice) <= 1
        assert len(said) == len(twice)


# The last batch of process 1 is sample 5 with two rows and a repeat of sample 0 with none: as many by chance.
BY_CHANCE = Case(n=7, batch_size=2, inner="sequential", dealt="plain", rows="thirds", world=2, ids=False)


@settings(max_examples=EXAMPLES)
@given(CASES)
@example(BY_CHANCE)
def test_every_row_counts_once_or_a_number_is_said(case: Case) -> None:
    """Without a word wherever rows are indices, and wherever ids are given; the same for a reduction and a metric."""
    # An index that is drawn twice in one batch cannot be told from two rows of it by its id.
    repeats = case.inner in ("weighted", "own") and case.dealt in ("padded", "unpadded")
    if case.ids and repeats:
        case = case._replace(ids=False)
    assume(case.ids or not by_chance(case))
    source = Source(ids="key" if case.ids else None)
    names = ("preds", "targets")
    needs = {
        "counts": Need(ConfusionCounts(CLASSES), names, source),
        "metric": Need(MulticlassConfusionMatrix(CLASSES), names, source, owner="metric"),
    }
    for name, need in needs.items():
        ended, said, _ = epochs(case, {name: need})
        rows = rows_of(drawn_by(case), case)
        if not len(rows) and name == "metric":
            continue  # torchmetrics warns of a metric without data
        matrix = ended[0].values[0][name].long()
        check(case, matrix, said)
        assert all(torch.equal(other.values[0][name].long(), matrix) for other in ended)


@settings(max_examples=EXAMPLES)
@given(CASES)
def test_a_choice_is_the_same_on_any_number_of_processes_and_for_any_batch_size(case: Case) -> None:
    """Also where rows are as many as indices by chance in some batches, and not in others."""
    need = Need(RandomSample(4), ("ids", "key"), Source(more=(("key", None),)))
    case = case._replace(inner="sequential", ids=False)
    if case.world > 1 and case.dealt == "shuffling":
        # Who knows positions and who goes by content chooses differently; each does so in any batches.
        case = case._replace(dealt="plain")
    assume(case.dealt != "own, dealt" and not by_chance(case) and not by_chance(case._replace(world=1, batch_size=2)))
    ended, said, _ = epochs(case, {"sample": need})
    alone, _, _ = epochs(case._replace(world=1, batch_size=2), {"sample": need})
    chosen, expected = ([t.tolist() for t in e[0].values[0]["sample"].payload] for e in (ended, alone))
    assert chosen == expected
    assert not said


@settings(max_examples=EXAMPLES)
@given(CASES)
def test_the_first_samples_are_those_or_an_error_says_why_not(case: Case) -> None:
    """select="first": the first of the data set, wherever rows are indices in order."""
    case = case._replace(inner="sequential", dealt="plain", ids=False)
    assume(not by_chance(case))
    ended, said, _ = epochs(case, {"first": Need(First(3), ("position", "key"), Source(more=(("key", None),)))})
    aligned = case.rows == "one" or all(ROWS[case.rows](i) == 1 for i in range(case.n))
    if aligned:
        assert ended[0].values[0]["first"].payload[0].tolist() == list(range(min(3, case.n)))
        assert not said
    else:
        assert said


@settings(max_examples=EXAMPLES)
@given(CASES)
def test_a_number_of_a_batch_counts_for_the_samples_that_count(case: Case) -> None:
    """One number for the whole batch, such as its loss: once for each index that is no padding, whatever its rows."""
    case = case._replace(inner="sequential", dealt="plain", ids=False)
    running = []
    for rank in range(case.world):
        loader = loader_of(case, rank)
        needs = {"n": Need(ExactSum(), ("loss",))}
        epoch = Epoch("val", needs, [Place([layout_of(loader)])], num_replicas=case.world)
        for k, _ in enumerate(loader):
            epoch.update(0, k, Step({"loss": torch.tensor(1.0)}, None))
        running.append(epoch)
    for ended in World(case.world).run(lambda rank: running[rank].ending(rank, case.world)):
        assert ended.values[0]["n"] == case.n
        # Of a mean loss a repeated sample cannot be taken out: that is said.
        repeats = [int(re.search(r": (\d+) samples", note)[1]) for note in ended.notes]
        assert sum(repeats) == -case.n % case.world
