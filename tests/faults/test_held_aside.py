"""What is added at an epoch's end only, once every process knows whether rows are samples, fails as any batch does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.callbacks.epoch import Ended, Epoch
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import Source, Step
from lwcallbacks.reductions import ExactSum
from lwcallbacks.state.padding import layout_of
from lwcallbacks.testing import World

GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class Late(ExactSum):
    """Refuses the rows of padding, which are fewer than those of a batch, or are marked as not valid."""

    def _refuse(self, values: torch.Tensor, valid: torch.Tensor | None) -> None:
        if len(values) == 1 or valid is not None:
            raise RuntimeError("chaos")

    def lift(self, *fields: Any, valid: torch.Tensor | None = None) -> Any:
        self._refuse(fields[0], valid)
        return super().lift(*fields, valid=valid)

    def accumulate(self, state: Any, *fields: Any, valid: torch.Tensor | None = None) -> Any:
        self._refuse(fields[0], valid)
        return super().accumulate(state, *fields, valid=valid)


def run(ids: str | None, of_process_0: int) -> list[Ended]:
    """Five samples on two processes, in batches of 3; process 0 has so many rows for its three samples."""
    data = TensorDataset(torch.arange(5.0))
    needs = {
        name: Need(entry, ("loss",), Source(ids=ids), owner=name) for name, entry in ((GOOD, ExactSum()), (BAD, Late()))
    }
    running = []
    for rank, rows in enumerate((of_process_0, 3)):
        loader = DataLoader(data, 3, sampler=DistributedSampler(data, 2, rank, shuffle=False))
        epoch = Epoch("val", needs, [Place([layout_of(loader)])], num_replicas=2)
        epoch.update(0, 0, Step({"loss": torch.ones(rows), "ids": torch.arange(rows)}, None))
        running.append(epoch)
    ended: list[Ended] = World(2).run(lambda rank: running[rank].ending(rank, 2))
    return ended


@pytest.mark.parametrize(("ids", "of_process_0", "total"), [(None, 4, 7.0), ("ids", 3, 5.0)])
def test_what_was_held_aside_costs_itself(ids: str | None, of_process_0: int, total: float) -> None:
    """Padding that turns out to count, and padding that is told by ids: no process waits, and it is reported."""
    for ended in run(ids, of_process_0):
        assert ended.values[0][GOOD] == total
        assert any(message.startswith(f"{BAD}: batches that could not be read") for message in ended.faults)
