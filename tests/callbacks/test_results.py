"""`results` are of the last run, wherever it ran."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import pytorch_lightning as pl
from support.modules import CLASSES, Classifier, loader, trainer
from support.versions import LIGHTNING_1, needs_loaders_in_any_mode
from torch.utils.data import DataLoader

import lwcallbacks as lw


def fit(*callbacks: Any, **how: Any) -> Any:
    t = trainer(callbacks=list(callbacks), **how)
    t.fit(Classifier(), loader(), loader())
    return t


def test_results_stay_readable_after_a_run_and_through_a_test() -> None:
    """Testing with the same Trainer adds to what the fit has left."""
    matrix = lw.ConfusionMatrix(CLASSES)
    t = fit(matrix)
    t.test(Classifier(), loader(), verbose=False)
    assert set(matrix.results) == {"val", "test"}


@pytest.mark.parametrize("same", [True, False])
def test_the_next_fit_begins_anew(same: bool) -> None:
    """With the same Trainer or another one, for another fold: no validation, no result of it."""
    matrix = lw.ConfusionMatrix(CLASSES)
    t = fit(matrix)
    assert "val" in matrix.results
    if same:
        t.limit_val_batches = 0
        t.fit_loop.max_epochs = 2
        t.fit(Classifier(), loader())
    else:
        fit(matrix, limit_val_batches=0)
    assert matrix.results == {}


def test_the_next_trainer_begins_anew_whatever_it_runs() -> None:
    """Validation alone."""
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val"))
    fit(matrix)
    trainer(callbacks=[matrix]).validate(Classifier(), loader(), verbose=False)
    assert set(matrix.results) == {"val"}


def test_a_copy_has_results_of_its_own() -> None:
    """Of a deep copy; a pickled one has those that it was pickled with."""
    matrix = lw.ConfusionMatrix(CLASSES)
    fit(matrix)
    copied = copy.deepcopy(matrix)
    copied.results.clear()
    assert "val" in matrix.results
    assert "val" in pickle.loads(pickle.dumps(matrix)).results


PROGRAM = """
    import sys, warnings
    warnings.simplefilter("ignore")
    sys.path[:0] = {paths!r}
    import lwcallbacks as lw
    from support.modules import CLASSES, Classifier, loader, trainer

    class Breaks(Classifier):
        def training_step(self, batch, batch_idx):
            raise ValueError("no training today")

    if __name__ == "__main__":
        matrix = lw.ConfusionMatrix(CLASSES)
        def fit(module):
            how = dict(strategy="{strategy}", devices=2, callbacks=[matrix], default_root_dir={root!r})
            trainer(**how).fit(module, loader(11, 2), loader(11, 2))
        fit(Classifier())
        print("first", {{stage: int(value.sum()) for stage, value in matrix.results.items()}})
        try:
            fit(Breaks())
        except Exception:
            pass
        print("second", dict(matrix.results))
        fit(Classifier())
        print("third", {{stage: int(value.sum()) for stage, value in matrix.results.items()}})
"""


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_results_of_processes_that_the_trainer_starts_reach_the_caller(strategy: str, tmp_path: Path) -> None:
    """Those of process 0; never those of an earlier run; and no file is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = tmp_path / "program.py"
    paths = [str(Path(__file__).parents[1])]
    program.write_text(dedent(PROGRAM).format(paths=paths, strategy=strategy, root=str(tmp_path)))
    environ = {**os.environ, "TMPDIR": str(temporary)}
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=240, env=environ)
    said = ran.stdout.splitlines()
    assert "first {'val': 11}" in said, ran.stderr[-2000:]
    assert "second {}" in said, ran.stdout
    assert "third {'val': 11}" in said
    assert not list(temporary.glob("lwcallbacks-*"))


def test_state_keys_are_short() -> None:
    """Whatever is asked for: some places that keep checkpoints want them below 100 characters."""
    names = {f"a metric with a long name, number {i}": lw.reductions.ExactMean() for i in range(9)}
    metrics, others = lw.ScalarMetrics(names), lw.ScalarMetrics({**names, "one more": lw.reductions.ExactMean()})
    assert len(metrics.state_key) < 100
    assert metrics.state_key != others.state_key
    assert lw.ConfusionMatrix(3, name="x" * 200).state_key != lw.ConfusionMatrix(3, name="x" * 201).state_key


def test_every_n_epochs_counts_as_lightning_counts(tmp_path: Path) -> None:
    """The n-th epoch is the first; where validation runs at those too, each has its picture."""
    matrix = lw.ConfusionMatrix(CLASSES, every_n_epochs=2)
    fit(matrix, max_epochs=5, check_val_every_n_epoch=2, default_root_dir=tmp_path)
    assert len(list(tmp_path.rglob("confusion_matrix/*.png"))) == 2


def test_cadences_that_rarely_meet_are_reported_at_the_start() -> None:
    """With the number of epochs from one picture to the next, and what to write."""
    with pytest.warns(UserWarning, match=r"every_n_epochs=3 .* meet at every 6th epoch only.*every_n_epochs=2"):
        fit(lw.ConfusionMatrix(CLASSES, every_n_epochs=3), check_val_every_n_epoch=2)


def test_loaders_in_any_collection_have_a_state_each() -> None:
    """A list, a tuple, a dict and nested ones; CombinedLoader in the mode that reads one after another."""
    a, b, c = loader(10), loader(6), loader(3)
    several: list[Any] = [[a, b]]
    if not LIGHTNING_1:  # which takes lists only
        from pytorch_lightning.utilities import CombinedLoader

        several += [(a, b), {"x": a, "y": b}, [{"x": a}, b], CombinedLoader({"x": a, "y": b}, "sequential")]
    for loaders in several:
        matrix = lw.ConfusionMatrix(CLASSES)
        trainer(callbacks=[matrix]).validate(Classifier(), loaders, verbose=False)
        assert {key: int(value.sum()) for key, value in matrix.results.items()} == {
            "val/dataloader_idx_0": 10,
            "val/dataloader_idx_1": 6,
        }
    if LIGHTNING_1:
        return
    matrix = lw.ConfusionMatrix(CLASSES)
    trainer(callbacks=[matrix]).validate(Classifier(), {"x": [a, b], "y": {"z": c}}, verbose=False)
    assert [int(value.sum()) for value in matrix.results.values()] == [10, 6, 3]
    matrix = lw.ConfusionMatrix(CLASSES)
    trainer(callbacks=[matrix]).validate(Classifier(), {"only": a}, verbose=False)
    assert {key: int(value.sum()) for key, value in matrix.results.items()} == {"val": 10}


class Pairs(Classifier):
    """A batch of two parts, of which one may be missing."""

    def _step(self, batch: Any) -> Any:
        part = batch["x"] if batch["x"] is not None else batch["y"]
        logits = self(part[0])
        return {"loss": logits.sum() * 0, "preds": logits, "targets": part[1]}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self._step(batch)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self._step(batch)


@needs_loaders_in_any_mode
@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
def test_loaders_that_give_one_batch_together_share_a_state(mode: str) -> None:
    """Every row of every batch counts: 6 samples of x and 14 of y in batches of 2."""
    from pytorch_lightning.utilities import CombinedLoader

    for stage in ("train", "val"):
        loaders = CombinedLoader({"x": loader(6, 2), "y": loader(14, 2)}, mode)
        matrix = lw.ConfusionMatrix(CLASSES, stages=(stage,))
        t = trainer(callbacks=[matrix])
        if stage == "train":
            t.fit(Pairs(), loaders)
        else:
            t.validate(Pairs(), loaders, verbose=False)
        expected = {"min_size": 6, "max_size": 6 + 8, "max_size_cycle": 6 + 6 + 2}[mode]
        assert int(matrix.results[stage].sum()) == expected


def test_ready_made_batches_have_one_index_each() -> None:
    """batch_size=None."""
    data = [tuple(batch) for batch in DataLoader(loader(10).dataset, 4)]
    matrix = lw.ConfusionMatrix(CLASSES)
    ready = DataLoader(data, batch_size=None)
    trainer(callbacks=[matrix]).validate(Classifier(), ready, verbose=False)
    assert int(matrix.results["val"].sum()) == 10


def test_a_callback_in_two_trainers_at_once_is_told(tmp_path: Path) -> None:
    """As where a hook evaluates with the same list; one after the other is well."""
    callback = lw.ConfusionMatrix(CLASSES)

    class Evaluates(pl.Callback):
        def on_train_epoch_end(self, *args: Any) -> None:
            inner = trainer(callbacks=[callback], default_root_dir=tmp_path / "inner")
            with pytest.warns(UserWarning, match=r"found in two Trainers at once, .*write copy.deepcopy\(callback\)"):
                inner.validate(Classifier(), loader(20), verbose=False)

    t = trainer(callbacks=[callback, Evaluates()], default_root_dir=tmp_path / "outer")
    t.fit(Classifier(), loader())
    trainer(callbacks=[callback], default_root_dir=tmp_path / "next").validate(Classifier(), loader(20), verbose=False)
    assert int(callback.results["val"].sum()) == 20
