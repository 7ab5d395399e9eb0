"""What a run leaves of itself: `scalars.js` has every number that was logged, `run.js` what it was and how it ended."""

from __future__ import annotations

import copy
import csv
import json
import pickle
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, LearningRateFinder, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from support.logs import Logs, fit, fit_in_processes
from support.modules import CLASSES, Classifier, images, loader, trainer
from support.processes import run_processes
from support.recorded import offline_run
from support.versions import needs_a_first_epoch_after_a_search, needs_simulated_device
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.callbacks import record
from lwcallbacks.callbacks.hearing import heard
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.record import config_of, monitored
from lwcallbacks.readers import MediaFolder, find_folders, read_folder
from lwcallbacks.writers import FolderWriter

Point = tuple[str, int, float]


def the_folder(root: Path) -> MediaFolder:
    [directory] = find_folders(root)
    return read_folder(directory)


def points(folder: MediaFolder) -> set[Point]:
    """Key, step and value of everything, NaN as text so that it equals itself."""
    return {(key, logged.step, repr(value)) for logged in folder.scalars for key, value in logged.values.items()}  # type: ignore[misc]


def in_csv(root: Path) -> set[Point]:
    [file] = root.rglob("metrics.csv")
    with open(file) as rows:
        return {
            (key, int(row["step"]), repr(float(value)))  # type: ignore[misc]
            for row in csv.DictReader(rows)
            for key, value in row.items()
            if value and key not in ("step", "epoch")
        }


def in_wandb_file(root: Path) -> set[Point]:
    return {
        (key, row["trainer/global_step"], repr(float(value)))  # type: ignore[misc]
        for row in offline_run(root).history
        for key, value in row.items()
        if isinstance(value, int | float | str)
        and not key.startswith("_")
        and key not in ("trainer/global_step", "epoch")
    }


def test_what_a_csv_logger_gets_is_in_the_folder(tmp_path: Path) -> None:
    """Every number at its step, to the bit, and its epoch; no number twice."""
    fit(tmp_path, CSVLogger(tmp_path), LearningRateMonitor())
    folder = the_folder(tmp_path)
    assert points(folder) == in_csv(tmp_path)
    keys = {key for key, *_ in points(folder)}
    assert keys > {"train/loss_step", "train/loss_epoch", "val/loss_step", "val/loss_epoch", "val/nan", "by/hand",
                   "lr-SGD", "epoch_seen", "gradients/norm/total"}  # fmt: skip
    assert "not/for/loggers" not in keys
    each = [(key, logged.step, repr(value)) for logged in folder.scalars for key, value in logged.values.items()]
    assert len(each) == len(set(each))
    [file] = tmp_path.rglob("metrics.csv")
    with open(file) as rows:
        epochs = {(int(row["step"]), int(row["epoch"])) for row in csv.DictReader(rows) if row["train/loss_epoch"]}
    assert epochs == {(s.step, s.epoch) for s in folder.scalars if "train/loss_epoch" in s.values}


@pytest.mark.parametrize("loggers", ["none", "wandb", "several"])
def test_it_is_the_same_whatever_loggers_there_are(loggers: str, tmp_path: Path) -> None:
    """But for what goes to a logger of the user's alone, which needs one."""
    fit(tmp_path / "csv", CSVLogger(tmp_path / "csv"))
    expected = points(the_folder(tmp_path / "csv"))
    root = tmp_path / loggers
    root.mkdir()
    made: dict[str, Any] = {
        "none": lambda: False,
        "wandb": lambda: WandbLogger(mode="offline", save_dir=root),
        "several": lambda: [CSVLogger(root), CSVLogger(root / "b"), WandbLogger(mode="offline", save_dir=root)],
    }
    fit(root, made[loggers]())
    if loggers != "none":
        pytest.importorskip("wandb").finish()
        theirs = {(key, step, value) for key, step, value in in_wandb_file(root) if value != repr(float("nan"))}
        assert theirs <= points(the_folder(root))
    else:
        expected = {point for point in expected if point[0] != "by/hand"}
    assert points(the_folder(root)) == expected
    each = [(key, s.step, repr(value)) for s in the_folder(root).scalars for key, value in s.values.items()]
    assert len(each) == len(set(each))


@pytest.mark.filterwarnings("ignore:.*an earlier run is there")
def test_everything_is_as_before_after_a_fit(tmp_path: Path) -> None:
    """Nothing stands on the loggers or the Trainer, also where the fit raises; and between no two fits."""

    class Raises(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            raise ZeroDivisionError

        def on_exception(self, *args: Any) -> None:
            raise OSError

    logger = CSVLogger(tmp_path)
    before = set(vars(logger))
    t = fit(tmp_path, logger)
    assert "log_metrics" not in vars(logger) | vars(t._logger_connector)
    t = trainer(default_root_dir=tmp_path, logger=logger, callbacks=[Raises(), lw.ConfusionMatrix(CLASSES)])
    with pytest.raises((ZeroDivisionError, OSError)):
        t.fit(Logs(), loader(), loader())
    assert "log_metrics" not in vars(logger) | vars(t._logger_connector)
    assert set(vars(logger)) - before <= {"_experiment"}
    Hub.of(t).close()


def test_a_copy_of_a_logger_in_a_run_is_a_logger_of_its_own(tmp_path: Path) -> None:
    """What is logged to a copy reaches the copy, and neither the original nor the folder."""

    class Copies(pl.Callback):
        def on_train_end(self, t: Any, module: Any) -> None:
            for copied in (copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))):
                copied.log_metrics({"copied": 1.0}, step=0)
                assert copied.seen[-1] == {"copied": 1.0}

    logger = Own()
    fit(tmp_path, logger, Copies())
    assert not any("copied" in row for row in logger.seen)
    assert "copied" not in {key for key, *_ in points(the_folder(tmp_path))}


class Own(CSVLogger):
    """Keeps what it gets, too."""

    def __init__(self) -> None:
        super().__init__("logs")
        self.seen: list[Any] = []

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.seen.append(metrics)


@needs_a_first_epoch_after_a_search
def test_a_learning_rate_finder_is_not_in_the_curves(tmp_path: Path) -> None:
    """The Trainer trains in it by itself, without callbacks, and its loggers get nothing of it."""
    fit(tmp_path / "plain", False)
    torch.manual_seed(0)
    finder = LearningRateFinder(num_training_steps=10, update_attr=False)
    fit(tmp_path / "finder", False, finder)
    steps = [sorted(s.step for s in the_folder(tmp_path / name).scalars) for name in ("plain", "finder")]
    assert steps[0] == steps[1]


def test_a_test_adds_to_the_folder_of_its_fit(tmp_path: Path) -> None:
    """Its numbers are there, and the run is still what the fit was."""
    t = fit(tmp_path, CSVLogger(tmp_path))
    run = the_folder(tmp_path).run
    t.test(t.lightning_module, loader(), verbose=False)
    folder = the_folder(tmp_path)
    assert folder.run == run
    assert list(folder.curves()["test/loss"]) == [6]
    alone = trainer(default_root_dir=tmp_path / "alone", callbacks=[lw.ConfusionMatrix(CLASSES)])
    alone.test(Logs(), loader(), verbose=False)
    told = the_folder(tmp_path / "alone").run
    assert (told["state"], told["max_epochs"], told["name"], told["version"]) == ("finished", None, None, "version_0")


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_run_says_what_is_monitored(checkpoint: bool) -> None:
    """By a checkpoint callback, else by early stopping, wherever they stand; nothing without either."""
    callbacks: list[Any] = [EarlyStopping("val/acc", mode="max")]
    if checkpoint:
        callbacks.append(ModelCheckpoint(monitor="val/loss"))
    expected = {"monitor": "val/loss", "mode": "min"} if checkpoint else {"monitor": "val/acc", "mode": "max"}
    assert monitored(trainer(callbacks=callbacks, enable_checkpointing=checkpoint)) == expected
    assert monitored(trainer()) == {}


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    """While it trains, and at its end: name, version, hyperparameters of module and data, times, state."""
    seen: list[Any] = []

    class Looks(pl.Callback):
        def on_train_epoch_end(self, t: Any, module: Any) -> None:
            Hub.of(t).outlet.publisher.flush()  # type: ignore[union-attr]
            seen.append(the_folder(tmp_path).run)

    fit(tmp_path, CSVLogger(tmp_path, name="digits", version=3), Looks())
    run = the_folder(tmp_path).run
    begun = {"name": "digits", "version": "version_3", "config": {"lr": 0.1}, "max_epochs": 2}
    assert begun.items() <= seen[0].items()
    assert (seen[0]["state"], seen[0]["ended"]) == ("running", None)
    assert (run["state"], run["started"]) == ("finished", seen[0]["started"])
    assert run["ended"] >= run["started"]


@pytest.mark.parametrize(
    ("error", "state", "line"),
    [
        (ZeroDivisionError, "failed", "ZeroDivisionError: no <b>number"),
        (KeyboardInterrupt, "interrupted", "KeyboardInterrupt"),
        (SystemExit, "interrupted", "SystemExit: no <b>number"),
    ],
)
def test_a_run_says_how_it_ended(error: type[BaseException], state: str, line: str, tmp_path: Path) -> None:
    """And why, in one line; one that is taken up in the same folder began when it first began, and is finished."""

    class Stops(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            signal.raise_signal(signal.SIGINT) if error is KeyboardInterrupt else self.stop()

        def stop(self) -> None:
            raise error("\nno <b>number\nat all")

    logger = CSVLogger(tmp_path, version=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(error, SystemExit):  # Lightning before 2.4 does not raise Ctrl-C again
            fit(tmp_path, logger, Stops())
        first = the_folder(tmp_path).run
        assert (first["state"], first["error"]) == (state, line)
        fit(tmp_path, CSVLogger(tmp_path, version=0))
    again = the_folder(tmp_path).run
    assert (again["started"], again["state"]) == (first["started"], "finished")
    assert "error" not in again


@pytest.mark.parametrize("resumed", [False, True])
def test_a_fit_that_begins_anew_in_the_folder_of_another_is_told(resumed: bool, tmp_path: Path) -> None:
    """What it draws takes the place of what has the same step; not one that is resumed, and no test or validation."""
    logger = CSVLogger(tmp_path, version=0)
    data = DataLoader(images(16), 8)

    def run(path: str | None, validates: bool = False) -> list[str]:
        t = trainer(logger=logger, callbacks=[lw.ConfusionMatrix(CLASSES)], max_epochs=2 if path else 1)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if validates:
                t.validate(Classifier(), data, verbose=False)
            t.fit(Classifier(), data, data, ckpt_path=path)
        t.save_checkpoint(tmp_path / "c.ckpt")
        return [str(w.message) for w in said if "an earlier run is there" in str(w.message)]

    assert run(None, validates=True) == []
    told = run(str(tmp_path / "c.ckpt") if resumed else None)
    assert len(told) == (not resumed)
    assert all("up to step 1, and this one begins at step 0" in text for text in told)


def test_an_error_is_one_line_of_so_many_letters() -> None:
    """Also one that is long, or fails to say itself."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert record.error_line(Mute()) == "Mute"
    assert record.error_line(ValueError("x" * 1000)) == f"ValueError: {'x' * (record.MOST_LETTERS - 12)}…"


def test_a_run_that_goes_on_says_when_it_was_last_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one which was killed can be told; `run.js` stays one line, and one that has ended says when instead."""
    told: list[dict[str, Any]] = []
    write = FolderWriter.write_run
    monkeypatch.setattr(FolderWriter, "write_run", lambda self, facts: (told.append(dict(facts)), write(self, facts)))
    monkeypatch.setattr(record, "TOLD_EVERY_SECONDS", 0.0)
    fit(tmp_path, CSVLogger(tmp_path))
    folder = the_folder(tmp_path)
    written = [facts["written"] for facts in told if "written" in facts]
    assert written
    assert all(facts["started"] <= facts["written"] for facts in told if "written" in facts)
    assert "written" not in folder.run
    assert folder.run["ended"] >= written[-1]
    assert (folder.directory / "run.js").read_text().count("\n") == 1


@pytest.mark.parametrize("logs_first", [False, True])
def test_a_run_that_never_trained_leaves_no_folder(logs_first: bool, tmp_path: Path) -> None:
    """A wrong configuration, found in the sanity check; also with a logger that logs a number of its own before."""
    logger = TensorBoardLogger(tmp_path) if logs_first else False
    wrong = lw.ConfusionMatrix(CLASSES, preds="nowhere")
    t = trainer(default_root_dir=tmp_path, logger=logger, callbacks=[wrong], num_sanity_val_steps=1)
    with pytest.raises(ValueError, match="nowhere"):
        t.fit(Logs(), loader(), loader())
    assert not find_folders(tmp_path)


def test_hyperparameters_are_plain_json() -> None:
    """Of module and data; where both have a name, each is kept; what JSON cannot hold is text."""

    class Part:
        def __init__(self, **hparams: Any) -> None:
            self.hparams = hparams

    config = config_of(Part(lr=0.1, size=3, f=len, _instantiator="x"), Part(size=4, lr=0.1, inf=float("inf")))
    assert config == {"lr": 0.1, "size": 3, "f": "<built-in function len>", "datamodule/size": 4, "inf": "inf"}
    assert json.loads(json.dumps(config)) == config
    assert config_of(object()) == {}


def test_the_step_may_be_a_value() -> None:
    """As Lightning allows: `self.log("step", ...)`. What is no number is left out; the rest is copied at once."""
    x = torch.tensor(0.5)
    found = heard({"step": torch.tensor(7.0), "x": x, "text": "a", "vector": torch.ones(2), "n": 3, "b": True}, None, 1)
    x.add_(1)
    assert found.settled() == (7, 1, {"x": 0.5, "n": 3.0, "b": 1.0})
    assert found.host_bytes == 0


@needs_simulated_device
def test_values_of_a_device_are_not_waited_for() -> None:
    """They are copied there; the wait is where they are written, and what moves is counted."""
    code = """
import torch
from lwcallbacks.callbacks import record
from lwcallbacks.callbacks.hearing import heard
from lwcallbacks.testing import simulated_device
sim = simulated_device()
values = {"a": torch.tensor(0.5).to("sim:0"), "b": torch.tensor(2).to("sim:1"), "c": torch.tensor(3.0)}
sim.waits.clear()
found = heard(values, 3, 0)
assert sim.waits == [], sim.waits
assert found.host_bytes == 4 + 8
assert found.settled() == (3, 0, {"a": 0.5, "b": 2.0, "c": 3.0})
assert sim.waits
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_two_processes_leave_one_record(tmp_path: Path) -> None:
    """That of process 0, equal to what its logger got."""
    run_processes(2, fit_in_processes, str(tmp_path))
    assert points(the_folder(tmp_path)) == in_csv(tmp_path)
    assert the_folder(tmp_path).run["state"] == "finished"
