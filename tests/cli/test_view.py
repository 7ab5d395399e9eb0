"""`lwcallbacks view` lists what runs have written, newest first, and opens the newest page."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwcallbacks.cli import main
from lwcallbacks.media import Image, Table
from lwcallbacks.writers import FolderWriter


def write(directory: Path, keys: dict[str, list[int]], seconds: int) -> Path:
    """A run's folder that was last written to at a time; the path of its page."""
    writer = FolderWriter(directory / "media")
    for key, steps in keys.items():
        for step in steps:
            writer.write({key: Image(np.zeros((4, 4), np.uint8))}, step)
    for path in (directory / "media").iterdir():
        os.utime(path, (seconds, seconds))
    return directory / "media" / "index.html"


def spoil(page: Path) -> None:
    """Put bytes that are no text in place of what says what is there."""
    for path in page.parent.iterdir():
        if path.is_file() and path != page:
            path.write_bytes(b"\xff\xfe broken \x1b[2J\n")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the browser is asked to open."""
    addresses: list[str] = []
    browser = webbrowser.GenericBrowser("none")
    monkeypatch.setattr(browser, "open", lambda url, *_: bool(addresses.append(url)) or True)
    monkeypatch.setattr(webbrowser, "_tryorder", ["ours"])
    monkeypatch.setattr(webbrowser, "_browsers", {"ours": [None, browser]})
    return addresses


def test_runs_are_listed_newest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the path of the page, when, steps and keys, at any depth."""
    write(tmp_path / "old", {"val/b": [4, 1200], "val/a": [9]}, 1_000_000_000)
    write(tmp_path / "deep" / "new", {"val/a": [7]}, 1_700_000_000)
    assert main(["view", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN", printed.out) == (
        f"2 runs in {tmp_path}, newest first\n\n"
        f"{tmp_path}/deep/new/media/index.html\n  new   step 7   WHEN\n  val/a\n\n"
        f"{tmp_path}/old/media/index.html\n  old   step 1,200   WHEN\n  val/a, val/b\n"
    )
    assert re.findall(r" (\d{4})-", printed.out) == ["2023", "2001"]


def test_the_present_folder_is_looked_into_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the folder itself may be a run's."""
    write(tmp_path, {"val/a": [7]}, 1_000_000_000)
    assert main(["view"]) == 0
    assert "1 run in ., newest first\n\nmedia/index.html\n" in capsys.readouterr().out
    assert main(["view", "media"]) == 0


def test_open_opens_the_newest_page(tmp_path: Path, opened: list[str]) -> None:
    """Its whole path as an address."""
    write(tmp_path / "old", {"val/a": [4]}, 1_000_000_000)
    page = write(tmp_path / "new & more", {"val/a": [7]}, 1_700_000_000)
    assert main(["view", "--open"]) == 0
    assert opened == [page.as_uri()]
    assert opened[0].endswith("/new%20%26%20more/media/index.html")


def test_where_nothing_can_be_opened_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a browser, and a run without a page: listed, and 2."""
    page = write(tmp_path, {"val/a": [4]}, 1_000_000_000)
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    assert main(["view", "--open"]) == 2
    assert capsys.readouterr().err == "lwcallbacks view: found no browser. Open media/index.html in one\n"
    page.unlink()
    assert main(["view", "--open"]) == 2
    assert capsys.readouterr().err == (
        "lwcallbacks view: the newest run has no page, expected the file media/index.html\n"
    )


@pytest.mark.parametrize("wrong", ["missing", "file", "empty"])
def test_a_wrong_folder_is_an_error_that_helps(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was found, what was expected, and 2."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(["view", wrong]) == 2
    printed = capsys.readouterr()
    found = {
        "missing": "missing: No such file or directory, expected a folder",
        "file": "file: Not a directory, expected a folder",
        "empty": "empty has no run with media of lwcallbacks in it",
    }
    assert printed.out == ""
    assert printed.err.startswith(f"lwcallbacks view: {found[wrong]}")


def test_a_broken_run_is_reported_and_the_others_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With 1, so that a script sees it."""
    broken = write(tmp_path / "a", {"val/a": [4]}, 1_000_000_000)
    write(tmp_path / "b", {"val/b": [7]}, 1_700_000_000)
    spoil(broken)
    assert main(["view"]) == 1
    printed = capsys.readouterr()
    assert "b/media/index.html" in printed.out
    assert "a/media/index.html" not in printed.out
    assert printed.err.startswith("lwcallbacks view: a/media cannot be read: ")
    assert "\x1b" not in printed.err


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are of another kind there")
def test_a_folder_without_permission_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that was asked for ends it; one of several costs itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = write(folder / "a", {"val/a": [4]}, 1_000_000_000)
        write(folder / "b", {"val/b": [7]}, 1_700_000_000)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        for path in page.parent.iterdir():
            if path.is_file():
                path.chmod(0)
        with as_nobody():
            assert main(["view", name]) == 1
        printed = capsys.readouterr()
        assert f"{name}/b/media/index.html" in printed.out
        assert "Permission denied" in printed.err
        folder.chmod(0)
        with as_nobody():
            assert main(["view", name]) == 2
        assert capsys.readouterr().err.startswith(f"lwcallbacks view: {name}: Permission denied, expected a folder")
        folder.chmod(0o755)


def test_names_are_text_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters, a name that turns the direction of writing, and bytes that are no text."""
    run = os.fsdecode(os.fsencode(tmp_path) + b"/a\x1b[2J\xff")
    writer = FolderWriter(Path(run, "media"))
    writer.write({"val/a\nb\x1b]0;owned\x07\u202e": Table(("a",), [[1]])}, 1)
    assert main(["view", run]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path}/a?[2J?/media/index.html\n" in printed
    assert "  val/a?b?]0;owned??\n" in printed
    assert all(char.isprintable() or char == "\n" for char in printed)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are of another kind there")
def test_runs_that_may_not_be_read_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Where others are listed, with 1; where there is no other, the folder is not said to have no run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        closed = write(folder / "a", {"val/a": [4]}, 1_000_000_000).parent
        write(folder / "b", {"val/b": [7]}, 1_700_000_000)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        closed.chmod(0)
        with as_nobody():
            assert main(["view", name]) == 1
        printed = capsys.readouterr()
        assert f"1 run in {name}" in printed.out
        assert printed.err == f"lwcallbacks view: 1 folder passed over, permission denied: {closed}\n"
        with as_nobody():
            assert main(["view", f"{name}/a"]) == 2
        assert capsys.readouterr().err.startswith(f"lwcallbacks view: {closed}: permission denied, and {name}/a has no")
        closed.chmod(0o755)


def test_a_folder_that_vanishes_meanwhile_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the search, or behind it; the others are listed, and the exit code is 0."""
    for name in "abc":
        write(tmp_path / name, {f"val/{name}": [4]}, 1_000_000_000)
    scandir = os.scandir
    gone = {tmp_path / "a": tmp_path / "a", tmp_path / "c" / "media": tmp_path / "b" / "media"}

    def looking(path: Any) -> Any:
        lost = None if isinstance(path, int) else gone.pop(Path(path), None)
        if lost is not None:
            shutil.rmtree(lost)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", looking)
    assert main(["view", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "c/media/index.html" in printed.out
    assert "val/b" not in printed.out
    assert printed.err == ""


def test_the_path_of_a_page_stands_for_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what a fit prints; for all commands."""
    page = str(write(tmp_path / "a", {"val/a": [7]}, 1_000_000_000))
    assert main(["view", page]) == 0
    assert f"{page}\n  a   step 7" in capsys.readouterr().out
    assert main(["export", page, "x.html"]) == 0
    assert main(["compare", page, page]) == 0
    assert main(["export", "no/index.html", "y.html"]) == 2
    assert capsys.readouterr().err.startswith("lwcallbacks export: no: no such folder, expected that of a run")


def test_the_numbers_of_one_run_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the rule of a comparison, with their steps; of several runs they are not, and few media are named."""
    folder = write(tmp_path / "a", {f"val/{letter}": [1] for letter in "abcdefgh"}, 1_000_000_000).parent
    FolderWriter(folder).write_logged([(1, 0, {"val/own": 0.5, "lr": 1.0}), (2, 1, {"val/own": 0.25, "lr": 0.5})])
    FolderWriter(folder).write_run({"monitor": "val/own", "mode": "max"})
    assert main(["view", str(tmp_path)]) == 0
    alone = capsys.readouterr().out
    assert [line.split() for line in alone.splitlines()[-2:]] == [
        ["val/own", "highest", "0.5", "at", "step", "1"],
        ["lr", "last", "0.5", "at", "step", "2"],
    ]
    assert "val/h\n" in alone
    write(tmp_path / "b", {"val/a": [1]}, 1_000_000_000)
    assert main(["view", str(tmp_path)]) == 0
    several = capsys.readouterr().out
    assert "highest" not in several
    assert "val/f and 2 more\n" in several


def test_many_keys_of_one_parent_are_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As those of a model's parameters; a few are named, and so are keys without a parent."""
    keys = [*(f"gradients/net.{i}" for i in range(18)), *(f"model-{i:02}" for i in range(13))]
    write(tmp_path / "a", {key: [7] for key in [*keys, "val/a", "val/b"]}, 1_000_000_000)
    assert main(["view"]) == 0
    models = ", ".join(f"model-{i:02}" for i in range(13))
    assert capsys.readouterr().out.endswith(f"\n  gradients/* (18), {models}, val/a, val/b\n")
