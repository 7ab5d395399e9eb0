"""Make one file of a run's page, to mail: scripts, data and images inside.

    lwcallbacks export lightning_logs/version_0 run.html

Prints the size of the file. The hyperparameters and all that was logged are in it. What the run's folder holds is taken
as data, checked and written again; scripts that are in it are not. The file asks no network for anything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.output import add_force, check_target, in_size, tell_left_out, write
from lwcallbacks.cli.runs import read
from lwcallbacks.cli.text import plain
from lwcallbacks.readers import damage
from lwcallbacks.sharing import single_file


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
    images = tell_left_out("export", made.left_out, "image")
    return images | tell_left_out("export", damaged, "damaged file", "not whole in the page")
