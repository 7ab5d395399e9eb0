"""Run the program of a counterexample on real processes, once: gloo, limited in time, nothing left behind.

confirmed(finding)      # the finding, with what happened there; "kept" where real processes agree with one
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lwcallbacks.testing.law import Finding
from lwcallbacks.testing.program import FILL_IN

SECONDS = 120
"""How long a program may take; its processes wait for each other for 20 seconds at most."""


class Ran(NamedTuple):
    """How a program ended: its exit status (None: the time was over), and what it wrote."""

    status: int | None
    out: str
    err: str


def run_program(source: str, seconds: float = SECONDS) -> Ran:
    """Run a program in a folder of its own; all that it started is ended with it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(source, encoding="utf-8")
        environment = {**os.environ, "TMPDIR": folder, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONUNBUFFERED", None)  # else lines of two processes mix
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            status, out, err = None, "", ""
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # the ones that it forked, too
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
    return Ran(status, out, err)


def confirmed(finding: Finding, run: Callable[[str], Ran] = run_program) -> Finding:
    """The finding with what real processes did; one that is not about processes is as it was.

    Args:
        run: runs a program.
    """
    if "torch.distributed" not in finding.source:
        return finding
    if not hasattr(os, "fork"):
        return _with(finding, "not tried, since this system cannot fork")
    if FILL_IN in finding.source:
        return _with(finding, "not tried, since the program has a line to be filled in")
    ran = run(finding.source)
    lines = ran.out.strip().splitlines()
    values = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
    # Beside what one process does; a program of steps has no such line, and its processes may agree on a wrong value.
    if ran.status == 0 and values.keys() > {"one process"} and len(set(values.values())) == 1:
        told = "simulated processes differ, but real ones on gloo all report what one process does"
        return replace(finding, outcome="kept", how="", message=f"{told}\n{finding.message}", confirmed=_outcome(ran))
    return _with(finding, _outcome(ran))


def _outcome(ran: Ran) -> str:
    if ran.status is None:
        return f"they did not end within {SECONDS} seconds"
    if ran.status == 0:
        return "; ".join(sorted(ran.out.strip().splitlines()))
    if died := re.search(r"process (\d+) terminated with signal (\w+)", ran.err):
        return f"process {died[1]} was aborted ({died[2]})"
    if "Timed out waiting" in ran.err:
        return "a process waited for the others until its time was over"
    if "Connection closed" in ran.err or "Connection reset" in ran.err:
        return "a process waited for another one that was gone (connection closed)"
    raised = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", ran.err, re.MULTILINE)
    return raised[-1][:300] if raised else f"the program ended with status {ran.status}"


def _with(finding: Finding, told: str) -> Finding:
    return replace(finding, message=f"{finding.message}\n  on real processes (gloo): {told}", confirmed=told)
