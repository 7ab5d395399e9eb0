"""From arguments to an exit code: help, version, mistakes, a reader that leaves, Ctrl-C."""

from __future__ import annotations

import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from lwcallbacks import __main__ as module
from lwcallbacks.cli import commands, main

PROGRAM = [sys.executable, "-m", "lwcallbacks"]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """As a user does."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def test_help_lists_every_command() -> None:
    """A file in `commands/` is a command, with the first line of its docstring as its help."""
    done = run("--help")
    assert done.returncode == 0
    names = {found.name for found in pkgutil.iter_modules(commands.__path__)}
    assert "view" in names
    assert all(re.search(rf"^    {name}\s", done.stdout, re.MULTILINE) for name in names)


def test_the_version_is_that_of_the_package() -> None:
    """By `--version`."""
    assert run("--version").stdout == f"lwcallbacks {version('lwcallbacks')}\n"


def test_the_script_is_the_same_program() -> None:
    """`lwcallbacks` where the package is installed."""
    [script] = [found for found in entry_points(group="console_scripts") if found.name == "lwcallbacks"]
    assert script.load() is main is module.main


@pytest.mark.parametrize("arguments", [[], ["look"], ["view", "--close"], ["view", "a", "b"]])
def test_wrong_arguments_end_with_the_usage_and_2(arguments: list[str]) -> None:
    """As of any program that argparse reads for."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: lwcallbacks")


@contextmanager
def viewing(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program once it has begun to list more than a pipe holds: it waits until somebody reads on."""
    with subprocess.Popen([*PROGRAM, "view", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"300 runs in")
        yield process


def test_a_reader_that_leaves_early_is_no_error(many_runs: Path) -> None:
    """`lwcallbacks view | head -1`: no traceback, and the program ends."""
    with viewing(many_runs) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(sys.platform == "win32", reason="a process is interrupted in another way there")
def test_ctrl_c_ends_it_without_a_traceback(many_runs: Path) -> None:
    """With the exit code of a program that a shell has interrupted."""
    with viewing(many_runs) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")


def test_a_terminal_that_knows_ascii_only_is_written_to(many_runs: Path) -> None:
    """What it has no letters for is spelt."""
    done = run("view", str(many_runs), env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in done.stdout
