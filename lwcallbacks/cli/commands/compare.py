"""Compare runs on one page: curves over each other, the difference of matrices, samples that flipped.

    lwcallbacks compare lightning_logs/version_0 lightning_logs/version_1 -o compare.html

The numbers of the runs are printed as a table, too: the lowest or highest value of each, where its name or the run's
monitor says which is better, else the last. The first run is what the others are compared with. Matrices are those of
the last step; samples are those that tables of both runs have, by their id. What cannot be read is left out and said;
the exit code is then 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lwcallbacks.cli.beside import beside
from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.output import add_force, check_target, in_size, tell_left_out, write
from lwcallbacks.cli.runs import read
from lwcallbacks.cli.text import counted, plain
from lwcallbacks.sharing import compared


def arguments(parser: argparse.ArgumentParser) -> None:
    """The runs and the file."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run; the first is compared with")
    parser.add_argument(
        "-o", "--output", default="compare.html", metavar="FILE", help="the file, by default %(default)s"
    )
    add_force(parser)


def run(given: argparse.Namespace) -> int:
    """Write the page. Raises CommandError where a run cannot be read or the file not be written."""
    if len(given.runs) < 2:
        raise CommandError(
            f"found one run, {given.runs[0]}, expected two or more, as in: "
            "lwcallbacks compare lightning_logs/version_0 lightning_logs/version_1 -o compare.html"
        )
    target = Path(given.output)
    check_target(target, force=given.force)
    folders = [read(path) for path in given.runs]
    directories = [folder.directory for folder in folders]
    try:
        made = compared(directories)
        table = list(beside(folders))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CommandError(f"the runs cannot be compared: {error}") from error
    size = write(target, made.html, force=given.force)
    print(f"{plain(target)}: {counted(len(directories), 'run')} compared, {in_size(size)}")
    print("", *table, sep="\n")
    return tell_left_out("compare", made.left_out, "item")
