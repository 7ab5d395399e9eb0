"""Programs that may be killed: each is a process of its own, and ends as any Python program does.

    program = Program("fit", root, fault="SIGINT")      # support.faults.fit(root, fault="SIGINT")
    ended = program.wait()                              # Ended(code, out, err, left)

They are forked from one process that has imported everything, which spares seconds for each. Unlike a child of
`multiprocessing`, such a program has the exit code, the handlers at exit and the signals of a script.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "LWCALLBACKS_TEST_PROGRAM"


@dataclass(frozen=True)
class Ended:
    """Exit code (negative: the signal), what was printed, and the processes that outlived the program."""

    code: int
    out: str
    err: str
    left: list[int]

    @property
    def facts(self) -> dict[str, Any]:
        """What the program printed as lines of JSON, merged."""
        merged: dict[str, Any] = {}
        for line in self.out.splitlines():
            if line.startswith("{"):
                merged |= json.loads(line)
        return merged

    @property
    def warnings(self) -> list[str]:
        """Messages of the UserWarnings that came from lwcallbacks."""
        # Lightning before 2.5 leaves out what kind of warning it is.
        return re.findall(r"^\S+:\d+: (?:UserWarning: )?lwcallbacks: (.+)", self.err, re.MULTILINE)

    @property
    def exception(self) -> str:
        """The last line of the last traceback, where the program ended with one."""
        lines = [line for line in self.err.splitlines() if line]
        return lines[-1] if "Traceback (most recent call last):" in lines else ""


class Program:
    """`support.faults.<function>(*args, **kwargs)`, started at once."""

    def __init__(self, function: str, *args: Any, env: dict[str, str] | None = None, **kwargs: Any) -> None:
        self.token = uuid.uuid4().hex
        self.folder = Path.cwd() / f"program-{self.token}"
        self.folder.mkdir()
        # Its process of W&B must be its own, not the one that an earlier test has started here.
        variables = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
        variables.pop("WANDB_SERVICE", None)
        self.pid: int = _ask(
            function=function, args=args, kwargs=kwargs, folder=str(self.folder), cwd=os.getcwd(),
            env={**variables, TOKEN: self.token, **(env or {})},
        )  # fmt: skip

    def wait(self, timeout: float = 120) -> Ended:
        """Its end; killed after `timeout` seconds, and then -9."""
        deadline = time.monotonic() + timeout
        while (code := _ask(poll=self.pid)) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.05)
        left = self._processes()
        while left and time.monotonic() < deadline and not self._outlive(left):
            left = self._processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        return Ended(code, out, err, left)

    def _outlive(self, pids: list[int]) -> bool:
        """Whether they are still there after a while: W&B's process leaves a moment after ours."""
        for _ in range(60):
            time.sleep(0.05)
            if not set(pids) & set(self._processes()):
                return False
        return True

    def _processes(self) -> list[int]:
        """Processes of its session, and those that have inherited its token."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                inherits = f"{TOKEN}={self.token}".encode() in (path / "environ").read_bytes()
                if fields[0] != "Z" and (int(fields[3]) == self.pid or inherits):
                    found.append(int(path.name))
        return found


@functools.cache
def _server() -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    env.pop("WANDB_SERVICE", None)
    server = subprocess.Popen(
        [sys.executable, "-m", "support.programs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    atexit.register(server.communicate)  # closes its input, which ends it
    return server


def _ask(**request: Any) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps(request), file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())


def _serve() -> dict[str, Any] | None:
    """Answer requests until there are no more (None); in a child, return the request that it was forked for."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                return dict(request)
        print(json.dumps(answer), flush=True)
    return None


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(request["folder"], name), os.O_WRONLY | os.O_CREAT), number)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    from support import faults

    request = _serve()
    if request is not None:
        _become(request)
        getattr(faults, request["function"])(*request["args"], **request["kwargs"])
