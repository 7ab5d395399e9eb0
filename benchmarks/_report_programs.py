"""Run the programs of a report: hundreds of them, so each is a fork of a process that has torch and torchmetrics.

ran = forked("print(1)")             # Ran(status=0, out="1\n", err="")
unlike(finding, ran)                 # "" where the program shows what was found, else what it did
"""

import os
import re
import runpy
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

from lwcallbacks.testing import Finding
from lwcallbacks.testing.confirm import Ran
from lwcallbacks.testing.program import FILL_IN

SECONDS = 60
WAIT = 8
"""How long processes wait for each other here; as it is shown, a program waits for 20 seconds."""


def forked(source: str, seconds: float = SECONDS) -> Ran:
    """Run a program in a process and a folder of its own; all that it started is ended with it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(source.replace("datetime.timedelta(seconds=20)", f"datetime.timedelta(seconds={WAIT})"))
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be(file)
        end = time.monotonic() + seconds
        status: int | None = None
        while time.monotonic() < end:
            pid, code = os.waitpid(child, os.WNOHANG)
            if pid:
                status = os.waitstatus_to_exitcode(code)
                break
            time.sleep(0.01)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
        out, err = (Path(folder, name).read_text(errors="replace") for name in ("out", "err"))
    return Ran(status, out, err)


def _be(file: Path) -> None:
    """Become the program. Never returns."""
    status = 1
    try:
        os.setsid()
        for descriptor, name in ((1, "out"), (2, "err")):
            opened = os.open(file.with_name(name), os.O_WRONLY | os.O_CREAT)
            os.dup2(opened, descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(file.parent)
        tempfile.tempdir = str(file.parent)
        warnings.simplefilter("ignore")
        runpy.run_path(str(file), run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def unlike(finding: Finding, ran: Ran) -> str:
    """What a program did in place of what was found; empty where it shows that."""
    if ran.status is None:
        return "" if finding.how in ("hang", "abort") else f"it did not end within {SECONDS} seconds"
    raised = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt)\b.*)$", ran.err, re.MULTILINE)
    if finding.how in ("hang", "abort"):
        if ran.status == 0:
            return "real processes ended without an error"
        sign = re.search(r"[Gg]loo|Connection (closed|reset)|Timed out|terminated with|data size", ran.err)
        return "" if sign else f"it raised {raised[-1][:200] if raised else 'something else'}"
    if finding.how == "exception":
        if ran.status == 0:
            return "it raised nothing"
        name = re.search(r"raised (\w+)", finding.message)
        return "" if name and name[1] in ran.err else f"it raised {raised[-1][:200] if raised else 'something else'}"
    if ran.status != 0 and raised and raised[-1].partition(":")[0] in finding.message:
        return ""
    if ran.status != 0:
        return f"it raised {raised[-1][:200] if raised else f'something, status {ran.status}'}"
    if finding.values is None:
        return "" if len(set(ran.out.strip().splitlines())) > 1 else "it printed one value"
    out = _plain(ran.out)
    if all(_plain(value) in out for value in finding.values):
        return ""
    lines = [line.partition(": ")[2] or line for line in ran.out.strip().splitlines()]
    return "" if len(set(lines)) > 1 and _count(finding) else "it printed other values"


def _count(finding: Finding) -> bool:
    """Whether the two values are long, so that lines that differ are enough."""
    return bool(finding.values) and max(len(value) for value in finding.values or ()) > 400


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text)


def cannot_run(finding: Finding) -> str:
    """Why there is nothing to run; empty where there is."""
    if not finding.source:
        return "there is no program"
    if FILL_IN in finding.source:
        return "it has a line to be filled in"
    if '"cuda"' in finding.source:
        return "it needs a GPU"
    return ""
