"""What importing lwcallbacks costs beyond torch and Lightning, and how soon the command line answers.

    python benchmarks/imports.py            # a table; about a minute
    python benchmarks/imports.py --json     # one JSON object: name, ours, peer, ratio, units, versions

Each turn has a fresh interpreter. Milliseconds of processor time; `help_wall` by the clock.

    package   `import lwcallbacks`, and
    names     every public name of it, each beside torch, torchmetrics and pytorch_lightning, which were imported just
              before in the same interpreter
    help      `python -m lwcallbacks --help`, from start to end, beside an interpreter that imports argparse

Modules are compiled beforehand, as pip does when it installs them.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise

from _common import measure, medians, options, report, versions

VARIANTS = ("packages", "help", "python")
UNITS = {"package": "ms", "names": "ms", "help": "ms", "help_wall": "ms"}
COMMANDS = {"help": ["-m", "lwcallbacks", "--help"], "python": ["-c", "import argparse"]}


def packages() -> dict[str, float]:
    """Milliseconds of processor time of three imports in a row."""
    clock = [time.process_time()]
    import pytorch_lightning
    import torch  # noqa: F401
    import torchmetrics  # noqa: F401

    clock.append(time.process_time())
    import lwcallbacks

    clock.append(time.process_time())
    for name in lwcallbacks.__all__:
        getattr(lwcallbacks, name)
    clock.append(time.process_time())
    assert pytorch_lightning.Trainer
    beside, package, names = (1000 * (stop - start) for start, stop in pairwise(clock))
    return {"beside": beside, "package": package, "names": package + names}


def program(arguments: list[str]) -> dict[str, float]:
    """Milliseconds of a program from start to end, by processor time and by the clock."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    took = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"help": 1000 * (used.ru_utime + used.ru_stime), "help_wall": 1000 * took}


def main() -> None:
    parser = options(__doc__, repeats=15)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = packages() if args.variant == "packages" else program(COMMANDS[args.variant])
        print(json.dumps(measured))
        return
    if args.quick:
        args.repeats = 1
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    measure(__file__, VARIANTS, 1)  # compiles what is not compiled yet
    runs = {variant: medians(turns) for variant, turns in measure(__file__, VARIANTS, args.repeats).items()}
    beside = runs["packages"].pop("beside")
    ours = {**runs["packages"], **runs["help"]}
    peer = {"package": beside, "names": beside, **runs["python"]}
    ratio = {quantity: round(ours[quantity] / peer[quantity], 4) for quantity in UNITS}
    about = {"repeats": args.repeats, "versions": versions()}
    report({"name": "imports", "ours": ours, "peer": peer, "ratio": ratio, "units": UNITS, **about}, args.json)


if __name__ == "__main__":
    main()
