"""From arguments to an exit code: 0 done, 1 done in part, 2 not done, 130 on Ctrl-C."""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from lwcallbacks.cli import commands
from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.text import plain

INTERRUPTED, NO_READER = 130, 141  # as a shell reports SIGINT and SIGPIPE


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"lwcallbacks {version('lwcallbacks')}")
        except PackageNotFoundError:
            print("lwcallbacks, not installed: run from its source tree")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; `sys.argv` where no arguments are given. Returns the exit code.

    Raises SystemExit for `--help`, `--version` and arguments that are wrong, as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only
    try:
        given = _parser().parse_args(arguments)
        code: int = given.run(given)
        sys.stdout.flush()  # here, so that a reader who has left is noticed here
    except CommandError as error:
        print(f"lwcallbacks {given.command}: {plain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, rather than into an error when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lwcallbacks", description="Look at what the callbacks of runs have written.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    each = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in _commands().items():
        doc = (command.__doc__ or "").strip()
        layout = argparse.RawDescriptionHelpFormatter
        added = each.add_parser(name, help=doc.splitlines()[0], description=doc, formatter_class=layout)
        command.arguments(added)
        added.set_defaults(run=command.run)
    return parser


def _commands() -> dict[str, ModuleType]:
    """The commands by name: the files in `commands/`."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    return {name: import_module(f"{commands.__name__}.{name}") for name in names}
