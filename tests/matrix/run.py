"""Run the tests against other versions of what lwcallbacks requires: `make test-matrix`.

    python tests/matrix/run.py dist/lwcallbacks-*.whl               # every environment that this folder describes
    python tests/matrix/run.py dist/lwcallbacks-*.whl oldest newest

Each .txt file here is an environment: what pip installs in it, and why. It is made below .venv-matrix, and kept, so
that another run only installs the new wheel. A directive in a file, as in "#: without pytorch-lightning", is for this
script: `without` uninstalls a package that another one brings along, `tests` names the tests to run instead of all, and
`without-tests` those to leave out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / ".venv-matrix"
SHOWN = ("pytorch-lightning", "lightning", "torch", "torchmetrics", "wandb", "numpy")
EXTRAS = "mlflow,tensorboard,testing,wandb"

# It is about LightningCLI and Hydra, and needs what they need.
LEFT_OUT = ("tests/test_configuration.py",)

# Old releases warn about newer ones, of Python too; that is no fault of ours. What is said of our own lines is one.
WARNINGS = "default\nerror:::lwcallbacks"


def directives(name: str) -> dict[str, list[str]]:
    """What is said to this script in an environment's file."""
    lines = re.findall(r"^#: (\S+) (.+)$", (HERE / f"{name}.txt").read_text(), re.MULTILINE)
    return {word: rest.split() for word, rest in lines}


def make(name: str, wheel: Path) -> Path:
    """The Python of an environment: made again when its file has changed, else only this wheel is installed."""
    requirements, home = HERE / f"{name}.txt", PLACE / name
    python, stamp = home / "bin" / "python", home / "requirements.sha256"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        venv.create(home, clear=True, with_pip=True)
        # The wheel's own requirements are part of the question: pip must find them met by these versions.
        subprocess.run([*pip, "--requirement", str(requirements), f"{wheel}[{EXTRAS}]"], check=True)
        for package in directives(name).get("without", []):
            subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", package], check=True)
        stamp.write_text(digest)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    return python


def versions(python: Path) -> str:
    code = (
        "import sys; from importlib.metadata import distributions as d; v = {x.name: x.version for x in d()};"
        "print(*(f'{name} {v[name]}' for name in sys.argv[1:] if name in v), sep=', ')"
    )
    return subprocess.run([str(python), "-c", code, *SHOWN], capture_output=True, text=True, check=True).stdout.strip()


def test(name: str, python: Path) -> tuple[bool, str]:
    """Whether the tests passed, and the summary that pytest printed; all of it is in .venv-matrix/NAME.log."""
    log = PLACE / f"{name}.log"
    # The script and not `python -m pytest`, which would import lwcallbacks from the source tree.
    command = [str(python.with_name("pytest")), "-m", "not long", "-p", "no:cacheprovider", "--disable-warnings"]
    said = directives(name)
    command += [f"--ignore={path}" for path in (*LEFT_OUT, *said.get("without-tests", []))]
    command += ["-o", f"filterwarnings={WARNINGS}", *said.get("tests", [])]
    with log.open("w") as out:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=out, stderr=out, check=False
        )
    summaries = re.findall(r"^=+ (.+ in [\d.]+s.*?) =+$", log.read_text(), re.MULTILINE)
    return done.returncode == 0, summaries[-1] if summaries else "no summary"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    known = sorted(path.stem for path in HERE.glob("*.txt"))
    parser.add_argument("names", nargs="*", metavar="name", help=f"out of {', '.join(known)}; all if left out")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = False
    for name in arguments.names or known:
        start = time.monotonic()
        python = make(name, arguments.wheel.resolve())
        passed, last = test(name, python)
        failed |= not passed
        print(f"{'ok    ' if passed else 'FAILED'} {name:10} {versions(python)}: {last}", flush=True)
        print(f"       {time.monotonic() - start:.0f} s, all of the output in .venv-matrix/{name}.log", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
