"""Make one file of a run's page, to mail: scripts, data and images inside.

    lwcallbacks export lightning_logs/version_0 run.html

Prints the size of the file. The hyperparameters and all that was logged are in it. What the run's folder holds is taken
as data, checked and written again; scripts that are in it are not. The file asks no network for anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.output import add_force, check_target, in_size, write
from lwcallbacks.cli.runs import read
from lwcallbacks.cli.text import counted, plain
from lwcallbacks.readers import damage
from lwcallbacks.sharing import single_file

MOST_TOLD = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the file."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run, or the folder media in it")
    parser.add_argument("target", metavar="OUT.html", help="the file to write")
    add_force(parser)


def run(given: argparse.Namespace) -> int:
    """Write the file. Raises CommandError where the run cannot be read or the file not be written."""
    target = Path(given.target)
    check_target(target, force=given.force)
    folder = read(given.run_folder)
    try:
        made = single_file(folder.directory)
        damaged = damage(folder)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CommandError(f"{folder.directory} cannot be exported: {error}") from error
    size = write(target, made.html, force=given.force)
    print(f"{plain(target)}: {in_size(size)}")
    for found, told in ((made.left_out, "image"), (damaged, "damaged file")):
        if found:
            first = "; ".join(found[:MOST_TOLD]) + ("; ..." if len(found) > MOST_TOLD else "")
            how = "left out" if found is made.left_out else "not whole in the page"
            print(f"lwcallbacks export: {counted(len(found), told)} {how}: {plain(first)}", file=sys.stderr)
    return 1 if made.left_out or damaged else 0
