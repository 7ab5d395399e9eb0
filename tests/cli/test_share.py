"""`lwcallbacks export` and `lwcallbacks compare` write one file each, and `view --open` runs nobody's scripts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from support.runs import EVIL, append, written

from lwcallbacks.cli import main
from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.output import check_target, write
from lwcallbacks.cli.runs import best, read
from lwcallbacks.sharing import comparison, single_file
from lwcallbacks.writers import FolderWriter


def test_export_writes_one_file_and_says_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the run's folder or its folder media, or of one that a link leads to."""
    written(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for i, run in enumerate(("run", "run/media", "link")):
        assert main(["export", run, f"{i}.html"]) == 0
        size = Path(f"{i}.html").stat().st_size
        assert capsys.readouterr().out == f"{i}.html: {size / 1024:.1f} KiB\n"
        assert Path(f"{i}.html").read_text() == single_file(Path(run)).html


def test_compare_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of any number of runs, by default to compare.html."""
    for name in "abc":
        written(tmp_path / name)
    assert main(["compare", "a", "b", "c"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("compare.html: 3 runs compared, ")
    assert "\n\nA  " in told
    assert Path("compare.html").read_text() == comparison(map(Path, "abc"))
    assert main(["compare", "a", "b", "-o", "two.html"]) == 0
    assert Path("two.html").exists()


def test_compare_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut file of data and an image: the file and what it lacks, once; what can be read is compared."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="bbb")
    [image] = (b / "val/samples").glob("*.png")
    image.unlink()
    data = b / "data/00000.js"
    lines = data.read_text().splitlines()
    data.write_text("\n".join(lines[:2]) + "\n" + lines[2][:20])
    assert main(["compare", str(a), str(b), "-o", "x.html"]) == 1
    told = capsys.readouterr().err
    assert "lwcallbacks compare: 3 items left out: " in told
    for key in ("val/matrix", "val/samples"):
        assert f"{data}: has no whole line of {key} at step 20; compared is step 10" in told
    assert told.count(f"{image}: is missing") == 1
    assert "no whole line of val/matrix at step 20" in Path("x.html").read_text()
    data.unlink()
    assert main(["compare", str(a), str(b), "-o", "y.html"]) == 1


def test_a_damaged_line_is_named_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole line that is no JSON is no cut: nothing is guessed."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    data = b / "data/00000.js"
    data.write_text(data.read_text() + 'LW.data(0, 20, {"cells": [);\n')
    assert main(["compare", str(a), str(b), "-o", "x.html"]) == 2
    assert f"{data}: found the line" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export", "run"], ["compare", "run", "run", "-o"]])
def test_a_file_that_is_there_is_kept(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless --force says otherwise; then a link is replaced, and what it leads to is kept."""
    written(tmp_path / "run")
    Path("mine.html").write_text("mine")
    Path("link.html").symlink_to("mine.html")
    Path("hanging.html").symlink_to("elsewhere.html")
    for name in ("mine.html", "link.html", "hanging.html"):
        assert main([*command, name]) == 2
        assert f"{name} is there already. Write another name, or --force" in capsys.readouterr().err
    assert main([*command, "link.html", "--force"]) == 0
    assert Path("mine.html").read_text() == "mine"
    assert not Path("link.html").is_symlink()
    assert main([*command, "hanging.html", "--force"]) == 0
    assert not Path("elsewhere.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hanging.html", "link.html", "mine.html", "run"]


def test_a_file_that_came_to_be_there_meanwhile_is_kept(tmp_path: Path) -> None:
    """It was not there before the work, and is not written over."""
    target = tmp_path / "x.html"
    check_target(target, force=False)
    target.write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        write(target, "ours", force=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.html", "mine")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "nowhere", "x.html"], "nowhere: no such folder, expected that of a run"),
        (["export", "empty", "x.html"], "empty holds none of"),
        (
            ["export", ".", "x.html"],
            ". holds none of manifest.js, run.js, scalars.js, nor does its folder media; below it",
        ),
        (["export", "run", "empty"], "empty is a folder, expected the name of a file to write, as empty/run.html"),
        (["export", "run", "no/x.html"], "no is no folder, expected one to write x.html to"),
        (["compare", "run"], "found one run, run, expected two or more"),
        (["compare", "run", "empty"], "empty holds none of"),
    ],
)
def test_what_cannot_be_done_says_what_to_write(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 2, and nothing written."""
    written(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith(f"lwcallbacks {arguments[0]}: {told}")) == ("", True), printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run"]


@pytest.mark.parametrize("arguments", [["export"], ["export", "run"], ["compare"], ["compare", "a", "b", "-o"]])
def test_missing_arguments_end_with_the_usage(arguments: list[str]) -> None:
    """As of any program that argparse reads for."""
    done = subprocess.run([sys.executable, "-m", "lwcallbacks", *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr[:18]) == (2, "usage: lwcallbacks")


def test_images_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is written, and the exit code is 1."""
    folder = written(tmp_path / "run")
    (folder / "val/image/00000010.png").unlink()
    assert main(["export", "run", "x.html"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("x.html: ")
    assert printed.err == "lwcallbacks export: 1 image left out: val/image/00000010.png: is missing\n"


@pytest.mark.parametrize(
    "line", ["alert(1)", "LW.run(" + "[" * 100_000 + ");", 'LW.scalars("a",0,{});', "LW.scalars(1,0,{});" + "\xff"]
)
@pytest.mark.parametrize("command", [["export", "run", "x.html"], ["compare", "run", "run", "-o", "x.html"], ["view"]])
def test_a_folder_that_is_not_ours_costs_no_traceback(
    command: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and nothing is written."""
    folder = written(tmp_path / "run")
    with open(folder / "scalars.js", "ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    assert main(command) == (1 if command == ["view"] else 2)
    error = capsys.readouterr().err
    assert error.startswith(f"lwcallbacks {command[0]}: run")
    assert len(error) < 500
    assert not Path("x.html").exists()


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    """Nor the file that was written to meanwhile."""
    written(tmp_path / "run")
    code = (
        "import os, signal, sys\nfrom lwcallbacks.cli import main, output\n"
        "chmod = os.chmod\nos.chmod = lambda *given: os.kill(os.getpid(), signal.SIGINT) or chmod(*given)\n"
        "sys.exit(main(['export', 'run', 'x.html']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_view_opens_no_page_with_scripts_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page of ours is opened where it is; another one, or one whose data are code, as a copy of its data, or not."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    folder = written(tmp_path / "run")
    assert main(["view", "--open"]) == 0
    assert opened == [(folder / "index.html").as_uri()]
    (folder / "index.html").write_text(EVIL)
    capsys.readouterr()
    assert main(["view", "--open"]) == 0
    assert "A copy of its data is opened: " in capsys.readouterr().out
    copy = Path(opened[1].removeprefix("file://"))
    assert copy.read_text() == single_file(folder).html
    copy.unlink()
    copy.parent.rmdir()
    append(folder, "data/00000.js", ("alert", [1]))
    assert main(["view", "--open"]) == 2
    assert len(opened) == 2
    assert "is not opened, since it cannot be read" in capsys.readouterr().err


def test_view_does_not_follow_links_out_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that is a link to a file elsewhere makes the run one that cannot be read."""
    folder = written(tmp_path / "run")
    (tmp_path / "secret").write_text('LW.run({"name":"SECRET"});\n')
    (folder / "run.js").unlink()
    os.symlink(tmp_path / "secret", folder / "run.js")
    assert main(["view"]) == 1
    printed = capsys.readouterr()
    assert "SECRET" not in printed.out + printed.err
    assert "a link leads out of it" in printed.err


def test_view_tells_the_best_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is monitored, else of a loss of validation, else of its first number; the last where no way is better."""
    written(tmp_path / "a")
    assert main(["view"]) == 0
    assert "  digits version_0   finished   step 20   val/loss 0.5 at step 10 (best)   20" in capsys.readouterr().out
    monitored = written(tmp_path / "b", monitor="train/loss", mode="max")
    assert str(best(read(monitored))) == "train/loss 0.9 at step 5 (best)"
    unknown = written(tmp_path / "c", monitor="gone", mode="max")
    append(
        unknown,
        "scalars.js",
        ("scalars", [1, 0, {"val/a_temperature": 3.0}]),
        ("scalars", [2, 0, {"val/a_temperature": 2.0}]),
    )
    assert str(best(read(unknown))) == "val/loss 0.5 at step 10 (best)"
    without = FolderWriter(tmp_path / "d" / "media")
    for step, value in ((1, 3.0), (2, 2.0)):
        without.write_scalars({"val/b": 0.0, "val/a_temperature": value}, step)
    assert str(best(read(tmp_path / "d"))) == "val/a_temperature 2 at step 2 (last)"


def cut(path: Path) -> None:
    """As a full disk or half a copy leaves a file."""
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("name", ["data/00000.js", "run.js", "scalars.js", "manifest.js"])
def test_a_file_that_is_cut_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `export` and `view`, with 1; what is whole is exported and listed all the same."""
    folder = written(tmp_path / "run")
    cut(folder / name)
    assert main(["export", "run", "x.html"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("x.html: ")
    assert printed.err.startswith(f"lwcallbacks export: 1 damaged file not whole in the page: {name}: its last line is")
    assert main(["view"]) == 1
    printed = capsys.readouterr()
    assert "   damaged   " in printed.out
    assert printed.err == f"lwcallbacks view: run/media is damaged: {name}: its last line is cut off\n"


def test_values_that_are_gone_with_whole_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The index names them: lines at the end of the data, or all of a file."""
    data = written(tmp_path / "run") / "data" / "00000.js"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:-1]))
    assert main(["export", "run", "x.html"]) == 1
    assert capsys.readouterr().err.endswith(": data/00000.js: 1 of 4 values are missing\n")
    data.unlink()
    assert main(["export", "run", "y.html"]) == 1
    assert capsys.readouterr().err.endswith(": data/00000.js: is missing\n")
    assert main(["view"]) == 1
    assert "data/00000.js: is missing" in capsys.readouterr().err


def test_view_tells_of_writes_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the run has counted them, however its folder came to say so."""
    written(tmp_path / "run", failed={"The folder run": 12, "CSVLogger": 1})
    assert main(["view"]) == 0
    assert "  digits version_0   finished   13 failures   step 20   " in capsys.readouterr().out
    written(tmp_path / "run", failed="no")
    assert main(["view"]) == 0
    assert "failure" not in capsys.readouterr().out
