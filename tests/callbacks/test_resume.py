"""A run that was stopped in the middle of an epoch ends with the bits of the uninterrupted one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import scenarios
from support.modules import CLASSES, Classifier, loader, trainer
from support.processes import run_processes
from support.versions import needs_loader_states

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts

N = 50


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    [result] = run_processes(1, scenarios.train, N, str(tmp_path_factory.mktemp("whole")))
    assert int(result["matrix"].sum()) == N
    return result


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that two processes saved after three batches each, 24 of 50 samples."""
    root = tmp_path_factory.mktemp("stopped")
    run_processes(2, scenarios.train, N, str(root), None, 3)
    return root / "stopped.ckpt"


@needs_loader_states
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_resuming_on_any_number_of_processes(
    world_size: int, stopped: Path, uninterrupted: Any, tmp_path: Path
) -> None:
    """Matrix, accuracy, a metric that keeps lists, the choice of samples and their pixels: equal to the bit."""
    results = run_processes(world_size, scenarios.train, N, str(tmp_path), str(stopped))
    for there in results:
        for name in ("matrix", "acc", "auroc", "f1", "ids"):
            assert torch.equal(there[name], uninterrupted[name]), name
    assert torch.equal(results[0]["pixels"], uninterrupted["pixels"])


def test_the_checkpoint_holds_plain_values_only(stopped: Path) -> None:
    """It loads under weights_only, and holds the merged states of 24 samples."""
    callbacks = torch.load(stopped, weights_only=True)["callbacks"]
    [matrix] = [state for key, state in callbacks.items() if key.startswith("ConfusionMatrix")]
    assert int(ConfusionCounts(CLASSES).value(matrix["counts"]["state"]).sum()) == 24


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_loader_without_a_state_loses_nothing_that_was_counted(tmp_path: Path) -> None:
    """It starts again with its first sample, the matrix is of the batches before and after the stop, and it is said."""

    class Sees(pl.Callback):
        samples = 0

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.samples += len(batch[0])

    def fit(last: pl.Callback, checkpoint: str | None = None) -> Any:
        matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
        trainer(callbacks=[matrix, last]).fit(Classifier(), loader(N, 4), ckpt_path=checkpoint)
        return matrix.results["train"]

    saved = str(tmp_path / "stopped.ckpt")
    with suppress(KeyboardInterrupt, SystemExit, KeyError):  # Lightning before 2.3 lets `fit` return
        fit(scenarios.Stop(3, saved))
    sees = Sees()
    with pytest.warns(UserWarning, match="after 3 batches, and its loader starts again at the first sample"):
        assert int(fit(sees, saved).sum()) == 3 * 4 + sees.samples
    assert sees.samples > 4


@needs_loader_states
@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_an_epoch_that_lightning_takes_for_over_is_not_counted_with_the_next(tmp_path: Path) -> None:
    """Saved behind the last batch, an epoch is not gone on with: the next one has its own samples, and it is said."""
    sums: list[int] = []

    class Sees(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            sums.append(int(matrix.results["train"].sum()))

    batches = -(-N // 4)
    every = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=batches, filename="last")
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
    trainer(callbacks=[matrix, every], enable_checkpointing=True).fit(Classifier(), loader(N, 4))
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
    with pytest.warns(UserWarning, match="behind the last batch of epoch 0, and Lightning goes on with the next one"):
        trainer(callbacks=[matrix, Sees(), every], enable_checkpointing=True, max_epochs=3).fit(
            Classifier(), loader(N, 4), ckpt_path=str(tmp_path / "last.ckpt")
        )
    assert sums == [N, N]


def test_a_process_that_saves_alone_does_not_hang() -> None:
    """It waits for a limited time and goes on without; whoever comes later gets the same answer."""
    (took, first), (_, second) = run_processes(2, scenarios.saves_alone)
    assert first == {"alone": False, "together": True, "late": False}
    assert second == {"together": True, "late": False}
    assert took < 15
