"""What callbacks say of their own cost, and what `max_overhead` makes of it."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support.everyone import everyone, public_callbacks
from support.modules import Classifier, loader, trainer
from support.processes import run_processes
from support.scenarios import calls_of_a_fit

import lwcallbacks as lw
from lwcallbacks.callbacks import cost as cost_module
from lwcallbacks.callbacks.batch import Place
from lwcallbacks.callbacks.cost import Cost, Meter
from lwcallbacks.callbacks.epoch import Epoch
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import Step
from lwcallbacks.presets import classification
from lwcallbacks.readers import find_folders, read_folder
from lwcallbacks.reductions import ConfusionCounts, Derived, macro_f1
from lwcallbacks.state.link import Counted
from lwcallbacks.writers import Publisher


class Clock:
    """Time that goes on when a test says so."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cost_module, "time", clock)
    return clock


def fit(tmp_path: Path, callbacks: list[Any], **kwargs: Any) -> Any:
    t = trainer(callbacks=callbacks, default_root_dir=tmp_path, enable_checkpointing=True, **kwargs)
    t.fit(Classifier.seeded(), loader(), loader())
    return t


def test_a_block_inside_of_another_is_not_counted_twice(clock: Clock) -> None:
    """Time belongs to the innermost block, also where that is left by an exception or entered inside of itself."""
    meter, outer, inner = Meter(), object(), object()
    with meter.of(outer):
        clock.now += 1
        with contextlib.suppress(ZeroDivisionError), meter.of(inner), meter.of(inner):
            clock.now += 10
            clock.now /= 0
        clock.now += 2
    clock.now += 87
    assert (meter.cost(outer).training_seconds, meter.cost(inner).training_seconds) == (3, 10)
    assert meter.cost(outer).share == 0.03
    assert meter.total() == Cost(training_seconds=13, run_seconds=100)


def test_waiting_for_the_background_is_not_counted_twice(clock: Clock) -> None:
    """Of the wait at the end, what the other thread has worked in that time is booked on the callback alone."""
    meter, callback = Meter(), object()
    meter.in_background(callback, 5.0, 0)
    with meter.waiting():
        clock.now += 7
        meter.in_background(callback, 4.0, 100)
    assert meter.cost(callback) == Cost(background_seconds=9, disk_bytes=100, run_seconds=7)
    assert meter.cost(None).training_seconds == 3


def test_the_cost_of_a_fit_stays_after_other_runs(tmp_path: Path) -> None:
    """A test that follows has a cost of its own only while it runs."""
    matrix = lw.ConfusionMatrix(5)
    t = fit(tmp_path, [matrix])
    of_fit = matrix.cost
    t.test(Classifier.seeded(), loader(), verbose=False)
    assert matrix.cost == of_fit
    other = lw.ConfusionMatrix(5)
    trainer(callbacks=[other], default_root_dir=tmp_path).validate(Classifier.seeded(), loader(), verbose=False)
    assert other.cost.run_seconds > 0


def test_every_callback_knows_its_cost(tmp_path: Path) -> None:
    """After a run, and while it goes on, by callback; the page has all of them in a table."""
    fit(tmp_path, given := everyone())
    callbacks = [callback for callback in given if isinstance(callback, lw.LoggingCallback)]
    for callback in callbacks:
        assert 0 < callback.cost.training_seconds < callback.cost.run_seconds, type(callback).__name__
        assert callback.cost.host_bytes == 0, "all is on the CPU"
    drawn = [c for c in callbacks if not isinstance(c, lw.ScalarMetrics)]
    assert all(c.cost.background_seconds > 0 for c in drawn)
    assert all(c.cost.disk_bytes > 0 for c in drawn)
    [page] = tmp_path.rglob("media/index.html")
    table = read_folder(page.parent).cost
    assert table
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert {"shared by all", "total", "ConfusionMatrix('confusion_matrix')"} < rows.keys()
    assert len(rows) == len(callbacks) + 2
    assert all(len(row) == len(table["columns"]) - 1 for row in rows.values())


class Own(lw.ScalarMetrics):
    """A user's own, whose keys cannot be asked for at the end."""

    is_over = False

    def prefixes(self, stage: str) -> set[str]:
        if self.is_over:
            raise LookupError(stage)
        return super().prefixes(stage)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.is_over = True
        super().on_fit_end(trainer, pl_module)


def test_callbacks_of_one_name_keep_a_row_each(tmp_path: Path) -> None:
    """What they log tells them apart, else a number; the rows add up to the total, in every column."""
    counts = {name: Derived(ConfusionCounts(5), macro_f1) for name in "abcdefg"}
    fit(
        tmp_path,
        [
            lw.ScalarMetrics({"a": counts["a"]}),
            lw.ScalarMetrics({name: counts[name] for name in "cdefg"}),
            lw.ScalarMetrics({"b": counts["b"]}, stages=("val",)),
            lw.ScalarMetrics({"b": counts["b"]}, stages=("test",)),
            Own({"z": counts["a"]}),
            Own({"y": counts["a"]}),
        ],
    )
    [page] = tmp_path.rglob("media/index.html")
    table = read_folder(page.parent).cost
    assert table
    assert sorted(row[0] for row in table["rows"]) == [
        "Own('metrics') 1", "Own('metrics') 2", "ScalarMetrics(a)", "ScalarMetrics(b) 1", "ScalarMetrics(b) 2",
        "ScalarMetrics(c, d, e, f, ...)", "shared by all", "total",
    ]  # fmt: skip
    *rows, total = (row[1:] for row in table["rows"])
    for name, column, whole in zip(table["columns"][1:], zip(*rows, strict=True), total, strict=True):
        assert sum(column) == pytest.approx(whole, abs=0.005 * (len(rows) + 1)), name  # as they are rounded


def test_the_end_of_a_fit_says_what_it_has_cost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line, with the page, also of a run without pictures; none of a run for debugging."""
    caplog.set_level(logging.INFO, logger="pytorch_lightning")
    fit(tmp_path, everyone())
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lwcallbacks:")]
    found = re.fullmatch(
        r"lwcallbacks: [\d.e+]+ % of a short run \([\d.]+ of [\d.]+ s\), (\d+\.\d) MiB in (.*index\.html)", line
    )
    assert found
    assert Path(found[2]).exists()
    caplog.clear()
    fit(tmp_path / "scalars", [c for c in everyone() if isinstance(c, lw.ScalarMetrics)])
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lwcallbacks:")]
    assert re.fullmatch(
        r"lwcallbacks: [\d.e+]+ % of a short run \([\d.]+ of [\d.]+ s\), \d+\.\d MiB in .*index\.html", line
    )
    [folder] = find_folders(tmp_path / "scalars")
    assert not read_folder(folder).items
    caplog.clear()
    fit(tmp_path / "debug", everyone(), fast_dev_run=True)
    assert not [record for record in caplog.records if record.getMessage().startswith("lwcallbacks:")]


def test_collectives_are_counted() -> None:
    """As many as there are, on every process: two headers, what is added up and what is the largest."""
    for booked, performed, epochs in run_processes(2, calls_of_a_fit):
        assert booked == performed == 4 * epochs > 0


def test_what_an_accelerator_gives_to_the_host_is_counted_by_need() -> None:
    """The size of the states on a device at the end of an epoch; of those on the CPU nothing moves."""
    need = Need(ConfusionCounts(5), ("preds", "targets"))
    for device, size in (("meta", 6 * 7 * 8 + 8), ("cpu", 0)):
        epoch = Epoch("val", {"matrix": need}, [Place([None])])
        labels = torch.zeros(8, dtype=torch.int64, device=device)
        epoch.update(0, 0, Step({"preds": labels, "targets": labels}, None))
        assert epoch.device_bytes() == {"matrix": size}, device


def test_a_link_of_one_process_has_no_collectives() -> None:
    """Where nobody is met, nothing is counted."""
    from lwcallbacks.state.link import AllReduce, Alone

    link = Counted(Alone())
    link.perform(AllReduce(torch.zeros(1), "sum"))
    assert link.num_calls == 0


@pytest.mark.parametrize(("allowed", "published"), [(1e-9, 1), (0.999999, 4), (None, 4)])
def test_above_max_overhead_pictures_come_less_often(
    allowed: float | None, published: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """The first is always drawn; later ones wait, with one message, and results and metrics are there in each epoch."""
    mosaic = lw.ImageMosaic(4, max_overhead=allowed, stages=("val",), preds=lambda outputs, batch: batch[0])
    histogram = lw.GradientHistogram(5, max_overhead=allowed)
    matrix = lw.ConfusionMatrix(5, stages=("val",))
    fit(tmp_path, [mosaic, histogram, matrix], max_epochs=4)
    [page] = tmp_path.rglob("media/index.html")
    steps = {key: len(of) for key, of in read_folder(page.parent).steps().items()}
    assert (steps["val/mosaic"], steps["val/confusion_matrix_chart"]) == (published, 4)
    assert steps["gradients/net.1.weight"] == published
    assert len(mosaic.results["val"].ids) == 4
    said = [str(w.message) for w in recwarn if "max_overhead" in str(w.message)]
    assert len(said) == (1 if allowed == 1e-9 else 0), said
    if said:
        assert re.match(
            r"lwcallbacks: the callbacks cost \d+\.\d% of the run so far, and max_overhead=1e-09 is allowed: "
            r"pictures and histograms come less often from now on",
            said[0],
        )


@pytest.mark.parametrize("allowed", [0, 1, -0.5, "2 %", True])
@pytest.mark.parametrize("callback", [lw.GradientHistogram, lw.ImageMosaic, lw.MaskGrid, lw.PredictionGrid])
def test_a_share_is_between_0_and_1(callback: Any, allowed: Any) -> None:
    """Anything else is an error that says what to write."""
    with pytest.raises(ValueError, match=rf"{callback.__name__}: max_overhead=.*, expected a share .* as 0.02 for 2 %"):
        callback(max_overhead=allowed)


def test_presets_hand_the_share_on() -> None:
    """To what can be left out: pictures and histograms."""
    given = {type(c).__name__: c.max_overhead for c in classification(5, max_overhead=0.02)}
    assert given["PredictionGrid"] == given["GradientHistogram"] == 0.02
    assert given["ScalarMetrics"] is given["ConfusionMatrix"] is None


def test_what_waits_in_the_background_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every drawing says how much memory it holds until it is drawn; the queue has a bound in bytes."""
    sizes: dict[str, int] = {}
    publish = Publisher.publish

    def noting(self: Publisher, *args: Any, owner: str = "", size: int = 0, **kwargs: Any) -> None:
        name = owner.partition("(")[0]
        sizes[name] = min(size, sizes.get(name, size))
        publish(self, *args, owner=owner, size=size, **kwargs)

    monkeypatch.setattr(Publisher, "publish", noting)
    fit(tmp_path, everyone(stages=("train", "val")))
    holding = public_callbacks().keys() - {"ScalarMetrics", "CheckpointArtifact"}  # numbers, and a file of the user's
    assert {name for name, size in sizes.items() if size} >= holding


class Fails(lw.LoggingCallback):
    """Something of its own fails in each epoch, always for the same reason."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        def render() -> dict[str, Any]:
            raise OSError(28, "No space left on device")

        self.publish(trainer, render, trainer.global_step)


def test_failures_that_are_only_counted_are_told_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How many of whom, in the line about the cost and in run.js; nothing of a run without."""
    caplog.set_level(logging.INFO, logger="pytorch_lightning")
    with pytest.warns(UserWarning, match="further failures of this kind are only counted"):
        fit(tmp_path / "a", [Fails(), lw.ConfusionMatrix(5)], max_epochs=3)
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lwcallbacks:")]
    assert line.endswith("; 3 failures: Fails 3")
    [folder] = find_folders(tmp_path / "a")
    assert read_folder(folder).run["failed"] == {"Fails": 3}
    fit(tmp_path / "b", [lw.ConfusionMatrix(5)])
    [folder] = find_folders(tmp_path / "b")
    assert "failed" not in read_folder(folder).run


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said at the end of runs, since the last look."""
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("lwcallbacks:")]
    caplog.clear()
    return told


def test_a_run_that_is_no_fit_names_its_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once: not again of the same Trainer, whose page it is, nor behind a fit; never of a run for debugging."""
    caplog.set_level(logging.INFO, logger="pytorch_lightning")
    module = Classifier.seeded()
    t = trainer(callbacks=[lw.ConfusionMatrix(5)], default_root_dir=tmp_path / "a")
    t.validate(module, loader(), verbose=False)
    [line] = lines(caplog)
    assert Path(line.removeprefix("lwcallbacks: ")).resolve() == lw.page(t).path.resolve()
    t.test(module, loader(), verbose=False)
    assert lines(caplog) == []
    t = fit(tmp_path / "b", [lw.ConfusionMatrix(5)])
    assert len(lines(caplog)) == 1
    t.test(module, loader(), verbose=False)
    debugged = trainer(callbacks=[lw.ConfusionMatrix(5)], default_root_dir=tmp_path / "c", fast_dev_run=True)
    debugged.validate(module, loader(), verbose=False)
    assert lines(caplog) == []


class Refuses(lw.LoggingCallback):
    """Cannot be set up."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        raise ValueError("not here")


def test_a_run_that_never_began_has_no_line_about_its_cost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a setup fails there was no run to have a share of."""
    caplog.set_level(logging.INFO, logger="pytorch_lightning")
    with pytest.raises(ValueError, match="not here"):
        fit(tmp_path, [lw.ConfusionMatrix(5), Refuses()])
    assert lines(caplog) == []
