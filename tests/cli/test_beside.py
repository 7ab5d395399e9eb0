"""The numbers of runs as a table of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lwcallbacks.cli.beside import MOST_KEYS, beside
from lwcallbacks.readers import MediaFolder, read_folder
from lwcallbacks.writers import FolderWriter


def a_run(directory: Path, curves: dict[str, list[float]], **facts: Any) -> MediaFolder:
    writer = FolderWriter(directory)
    writer.write_run(facts)
    for key, values in curves.items():
        writer.write_logged([(step, None, {key: value}) for step, value in enumerate(values)])
    return read_folder(directory)


def cells(lines: list[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in lines if line}


def test_the_best_value_of_each_number_stands_beside_the_other_run_s(tmp_path: Path) -> None:
    """By what is monitored or by its name, else the last; with the difference, and which is better."""
    nan = float("nan")
    first = a_run(
        tmp_path / "a",
        {"val/loss": [0.5, 0.25, 0.75], "val/own": [1.0, 3.0], "lr": [1.0, 2.0], "train/acc": [0.5], "val/f1": [0.5]},
        name="digits", version="v0", state="finished", monitor="val/own", mode="min",
    )  # fmt: skip
    other = a_run(
        tmp_path / "b",
        {"val/loss": [0.75, nan], "val/own": [0.5], "lr": [0.5], "val/f1": [0.5], "val/map": [nan]},
        state="failed",
    )
    lines = list(beside([first, other]))
    assert lines[0] == f"A  digits v0   finished   {tmp_path / 'a'}"
    assert lines[1] == f"B  {tmp_path.name}   failed   {tmp_path / 'b'}"
    assert lines[3].split() == ["A", "B", "B", "-", "A", "better"]
    assert list(cells(lines[4:])) == ["val/f1", "val/loss", "val/map", "val/own", "train/acc", "lr"]
    assert cells(lines[4:]) == {
        "val/f1": ["highest", "0.5", "0.5", "+0"],
        "val/loss": ["lowest", "0.25", "0.75", "+0.5", "A"],
        "val/map": ["highest", "-", "-", "-"],
        "val/own": ["lowest", "1", "0.5", "-0.5", "B"],
        "train/acc": ["highest", "0.5", "-", "-"],
        "lr": ["last", "2", "0.5", "-1.5"],
    }
    at = lines[3].index("better")
    assert {line[at:] for line in lines[4:]} == {"A", "B", ""}


def test_numbers_of_layers_are_left_to_the_page_and_counted(tmp_path: Path) -> None:
    """More of one parent than are read in a terminal; names from elsewhere are not obeyed by it."""
    layers = {f"\x1bnorm/{i}": [1.0] for i in range(MOST_KEYS + 1)}
    runs = [a_run(tmp_path / name, {**layers, "own/\x1b[2J": [2.0]}) for name in "abc"]
    lines = list(beside(runs))
    assert lines[-1] == f"On the page: ?norm/* ({MOST_KEYS + 1})"
    assert cells(lines[5:6]) == {"own/?[2J": ["last", "2", "2", "+0", "2", "+0"]}
    assert len(lines) == 8


def test_runs_without_numbers_are_lines_alone(tmp_path: Path) -> None:
    """No table of nothing."""
    assert len(list(beside([a_run(tmp_path / name, {}) for name in "ab"]))) == 2
