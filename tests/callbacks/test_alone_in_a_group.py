"""A Trainer of one process counts what it has seen itself, though other processes are in reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.strategies import SingleDeviceStrategy
from support import alone
from support.modules import Classifier, loader, trainer
from support.processes import run_processes

import lwcallbacks as lw
from lwcallbacks.testing.same import difference


@pytest.mark.parametrize("everyone", [True, False], ids=["each by itself", "process 0 alone"])
def test_behind_ddp_a_trainer_of_one_process_waits_for_no_other(tmp_path: Path, everyone: bool) -> None:
    """Numbers are those without a process group; and a fit with all processes comes before and behind."""
    expected = alone.by_itself(str(tmp_path / "expected"))
    assert (expected["train"], expected["val"], expected["test"], expected["held"]) == (40, 30, 21, 21.0)
    answers = run_processes(2, alone.behind_ddp, str(tmp_path), everyone)
    for counted, found in answers:
        assert counted == [30, 30]
        if found is not None:
            assert found.pop("took") < 25  # in place of a time-out
            assert difference(found, {key: value for key, value in expected.items() if key != "took"}) is None
    assert [found is not None for _, found in answers] == [True, everyone]


class OfAnotherLibrary(SingleDeviceStrategy):
    """Several processes, of which torch.distributed does not know."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.world_size = 8


@pytest.mark.parametrize("callback", [lw.ConfusionMatrix(5), lw.GradientHistogram(), lw.ImageMosaic()])
def test_processes_that_cannot_reach_each_other_are_refused(tmp_path: Path, callback: Any) -> None:
    """Each would log its own numbers as those of all."""
    t = trainer(callbacks=[callback], strategy=OfAnotherLibrary(), devices="auto", default_root_dir=tmp_path)
    told = r"found 8 processes \(OfAnotherLibrary\) and no process group of torch.distributed, .* as \"ddp\""
    with pytest.raises(ValueError, match=told):
        t.fit(Classifier(), loader(), loader())
