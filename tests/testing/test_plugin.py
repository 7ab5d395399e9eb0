"""The pytest plugin: a test for each law, what is known, what is forgotten, the table, JSON, several workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HEAD = """
import pytest, torch
from torchmetrics import Metric, SumMetric
from lwcallbacks.testing import labelled_batches

BATCHES = labelled_batches(num_classes=3)


class Rate(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, targets):
        self.wrong += (preds.argmax(1) != targets).sum()
        self.seen += len(targets)

    def compute(self):
        return self.wrong / self.seen


class MeanOfRates(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("rate", torch.tensor(0.0), dist_reduce_fx="mean")
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, targets):
        self.batches += 1
        self.rate = self.rate + ((preds.argmax(1) != targets).float().mean() - self.rate) / self.batches

    def compute(self):
        return self.rate

"""


TESTS = """
@pytest.mark.metric_laws(laws=["batch_size", "order", "no_host_wait"])
@pytest.mark.parametrize("scale", ["one", "two"])
def test_rate(metric_law, scale):
    metric_law(Rate, BATCHES)


@pytest.mark.metric_laws(MeanOfRates, BATCHES, laws=["batch_size", "shards"], known={"shards": "issue 7"})
def test_mean(metric_law):
    metric_law()


@pytest.mark.metric_laws(laws=["order"], known={"order": "ties"})
def test_mended(metric_law):
    metric_law(Rate, BATCHES)


@pytest.mark.metric_laws(laws=["order"], known={"order": "ties"})
def test_typing_error(metric_law):
    metric_law(lambda: Rate(num_classes=3), BATCHES)


@pytest.mark.metric_laws(laws=["order"])
class TestForgotten:
    def test_call(self, metric_law):
        pass

    def test_batches(self, metric_law):
        metric_law(Rate)
"""


class Ran:
    """Pytest in a process and a folder of its own, as a user has it."""

    def __init__(self, folder: Path, tests: str, *arguments: str, columns: int = 200) -> None:
        (folder / "test_metrics.py").write_text(HEAD + tests)
        path = folder / "laws.json"
        command = [sys.executable, "-m", "pytest", "-q", "-ra", "-c", "/dev/null", "-p", "no:cacheprovider"]
        command += ["--rootdir", str(folder), "--metric-laws-json", str(path), *arguments, str(folder)]
        env = {**os.environ, "LWCALLBACKS_EXAMPLES": "10", "COLUMNS": str(columns)}
        env.pop("CI", None)  # pytest would not cut its lines then
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=240)
        self.code = done.returncode
        self.out = done.stdout + done.stderr
        self.rows = json.loads(path.read_text())["laws"] if path.exists() else []

    @property
    def table(self) -> list[list[str]]:
        """Lines of the summary, in columns."""
        lines = self.out.splitlines()
        (start,) = (i for i, line in enumerate(lines) if "metric laws" in line and line.startswith("==="))
        rows = [line.split() for line in lines[start + 2 :]]
        return rows[: next(i for i, row in enumerate(rows) if not row or row[0].startswith("="))]

    def ended(self, test: str) -> str:
        """The line of a test in pytest's own summary."""
        (line,) = (line for line in self.out.splitlines() if f"test_metrics.py::{test}" in line.split(" - ")[0].split())
        return line


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("one"), TESTS)


def test_the_plugin_is_registered_and_imports_nothing_until_it_is_used() -> None:
    """pytest finds it by its entry point; a suite without metrics does not pay for torch and hypothesis."""
    (found,) = entry_points(group="pytest11", name="lwcallbacks")
    assert found.value == "lwcallbacks.pytest_plugin"
    code = "import sys, lwcallbacks.pytest_plugin; print({'torch', 'hypothesis', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_each_law_is_a_test_and_each_metric_a_line(ran: Ran) -> None:
    """Parameters of the user's own go with it; known violations are expected, others fail under their law's name."""
    assert ran.code == 1
    assert ran.ended("test_mean[batch_size]").startswith("FAILED")
    assert ran.ended("test_mean[shards]") == "XFAIL test_metrics.py::test_mean[shards] - issue 7"
    assert "5 failed, 6 passed, 1 xfailed" in ran.out
    assert ran.table == [
        ["test_metrics.py::test_mean", "MeanOfRates", "0", "-", "batch_size", "shards", "-", "-", "-"],
        ["test_metrics.py::test_mended", "Rate", "1", "-", "-", "-", "-", "-", "-"],
        ["test_metrics.py::test_rate[one]", "Rate", "3", "-", "-", "-", "-", "-", "-"],
        ["test_metrics.py::test_rate[two]", "Rate", "3", "-", "-", "-", "-", "-", "-"],
        ["test_metrics.py::test_typing_error", "<lambda>", "0", "-", "-", "-", "-", "-", "order"],
    ]
    found = {(row["test"], row["law"]): row["outcome"] for row in ran.rows}
    assert len(ran.rows) == len(found) == 10
    assert found["test_metrics.py::test_mean", "batch_size"] == "broken"
    assert found["test_metrics.py::test_mean", "shards"] == "known"
    assert found["test_metrics.py::test_rate[two]", "no_host_wait"] == "kept"
    program = next(row["program"] for row in ran.rows if row["law"] == "batch_size" and row["metric"] == "MeanOfRates")
    assert "class MeanOfRates(Metric):" in program


def test_a_failure_shows_the_message_and_none_of_our_frames(ran: Ran) -> None:
    """What a user reads is the test, and what is wrong with the metric."""
    _, _, shown = ran.out.partition("_ test_mean[batch_size] _")
    shown, _, _ = shown.partition("\n____")
    assert "MeanOfRates" in shown
    assert "metric_law()" in shown
    assert "lwcallbacks/" not in shown


def test_the_first_words_of_a_failure_are_telling(tmp_path: Path) -> None:
    """Pytest cuts the lines of its summary at 80 columns: the law and the metric fit, without the error's module."""
    tests = """
from lwcallbacks.testing import check_metric, metric_machine

def test_mean():
    check_metric(MeanOfRates, BATCHES)

def test_data():
    check_metric(SumMetric, BATCHES)

def test_known():
    check_metric(Rate, BATCHES, laws=["order"], known={"order": "ties"})
"""
    ran = Ran(tmp_path, tests, columns=80)
    assert " - batch_size: MeanOfRates: in batches of" in ran.ended("test_mean")
    assert " - SumMetric not examined: TypeError:" in ran.ended("test_data")
    assert " - AssertionError: law order is kept by" in ran.ended("test_known")
    assert max(len(line) for line in ran.out.splitlines() if line.startswith("FAILED")) <= 80


def test_a_known_violation_that_is_mended_fails(ran: Ran) -> None:
    """So that the reason goes, once the metric is right."""
    assert ran.ended("test_mended[order]").startswith("FAILED")
    assert "law order is kept by Rate, and known= says that it is broken (ties): delete its entry" in ran.out


def test_an_error_of_the_test_is_no_known_violation(ran: Ran) -> None:
    """A known law excuses a broken law, and no factory that raises."""
    assert ran.ended("test_typing_error[order]").startswith("FAILED")


def test_what_examines_nothing_fails(ran: Ran) -> None:
    """A test that forgets the call, or gives no batches, does not pass; a mark of a class is that of its tests."""
    assert "the test has not called metric_law, so nothing was examined" in ran.out
    assert ran.ended("TestForgotten::test_call[order]").startswith("FAILED")
    assert "found no batches, expected metric_law(factory, batches)" in ran.out
    assert ran.ended("TestForgotten::test_batches[order]").startswith("FAILED")


def test_what_is_not_simulated_is_a_skipped_test_and_a_column(tmp_path: Path) -> None:
    """Of a metric that calls torch.distributed itself, with what to do; with `confirm=True` real ones judge it."""
    ran = Ran(
        tmp_path,
        """
class Own(Rate):
    def compute(self):
        return super().compute() + torch.distributed.is_initialized()


@pytest.mark.metric_laws(Own, BATCHES, laws=["order", "shards"])
def test_own(metric_law):
    metric_law()


@pytest.mark.metric_laws(Own, BATCHES, laws=["shards"], confirm=True)
def test_real(metric_law):
    metric_law()
""",
    )
    reason = r"SKIPPED .* law shards was not tried: it asks for its process by itself, .*--metric-laws-processes 2"
    assert re.search(reason, ran.out)
    assert "FAILED" in ran.ended("test_real[shards]")
    outcomes = {(row["test"].rpartition("::")[2], row["law"]): row["outcome"] for row in ran.rows}
    expected = {
        ("test_own", "order"): "kept",
        ("test_own", "shards"): "not simulated",
        ("test_real", "shards"): "broken",
    }
    assert outcomes == expected


def test_real_processes_are_one_more_test(tmp_path: Path) -> None:
    """With --metric-laws-processes a metric is held against gloo, known violations too."""
    tests = """
@pytest.mark.metric_laws(laws=["reset"])
@pytest.mark.parametrize("make", [Rate, lambda: MeanOfRates()], ids=["right", "wrong"])
def test_it(metric_law, make):
    metric_law(make, BATCHES)


@pytest.mark.metric_laws(MeanOfRates, BATCHES, laws=["reset"], known={"real_processes": "a mean of means"})
def test_known(metric_law):
    metric_law()
"""
    ran = Ran(tmp_path, tests, "--metric-laws-processes", "2")
    assert "1 failed, 4 passed, 1 xfailed" in ran.out
    assert ran.ended("test_it[real_processes-wrong]").startswith("FAILED")
    assert "MeanOfRates: on 2 real processes (gloo) you report" in ran.out
    assert {row["law"]: row["outcome"] for row in ran.rows if row["test"].endswith("[right]")} == {
        "reset": "kept",
        "real_processes": "kept",
    }
    assert ran.ended("test_known[real_processes]").endswith("a mean of means")


UNKNOWN = {
    "known={'ordr': 'x'}": "known: 'ordr' is no law, did you mean 'order'?",
    "known={'order': ''}": "known={'order': ''}, expected the reason in words, as 'ties, issue 7'",
    "laws=['reset'], known={'order': 'x'}": "known has ['order'], expected laws that are tried: ['reset']",
    "laws=['ordr']": "laws: 'ordr' is no law, did you mean 'order'?",
}


def test_an_unknown_law_is_told_before_any_test(tmp_path: Path) -> None:
    """A wrong name says which there are; each in a file of its own, as pytest ends a file with its first error."""
    first, *others = (
        f"@pytest.mark.metric_laws(Rate, BATCHES, {options})\ndef test_it(metric_law):\n    metric_law()"
        for options in UNKNOWN
    )
    for i, tests in enumerate(others):
        (tmp_path / f"test_other_{i}.py").write_text(HEAD + tests)
    ran = Ran(tmp_path, first)
    assert ran.code == pytest.ExitCode.INTERRUPTED
    assert f"{len(UNKNOWN)} errors" in ran.out
    for words in UNKNOWN.values():
        assert words in ran.out


def test_workers_of_xdist_send_what_they_found(ran: Ran, tmp_path: Path) -> None:
    """With -n 2 there is the same table and the same JSON as with one process."""
    spread = Ran(tmp_path, TESTS, "-n", "2")
    assert spread.code == 1
    assert "5 failed, 6 passed, 1 xfailed" in spread.out
    assert spread.table == ran.table
    assert [{**row, "message": "", "program": ""} for row in spread.rows] == [
        {**row, "message": "", "program": ""} for row in ran.rows
    ]
