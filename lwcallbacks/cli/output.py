"""Writing the file that a user has named: whole or not at all, and not over another one unless that is wanted."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.text import counted, plain

MIB = 2**20
MOST_TOLD = 3


def add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def check_target(target: Path, *, force: bool) -> None:
    """Before there is work to lose.

    Raises CommandError for a folder, a file that is there, and a folder that is not.
    """
    if target.is_dir():
        raise CommandError(f"{target} is a folder, expected the name of a file to write, as {target / 'run.html'}")
    if os.path.lexists(target) and not force:
        raise CommandError(f"{target} is there already. Write another name, or --force to write over it")
    if not target.parent.is_dir():
        raise CommandError(f"{target.parent} is no folder, expected one to write {target.name} to")


def write(target: Path, text: str, *, force: bool) -> int:
    """Write, and return how many bytes that is. A link is replaced and not followed.

    Raises CommandError where it cannot be written, or came to be there meanwhile.
    """
    content = text.encode()
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
        os.chmod(temporary, 0o644)
        if not force:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL))  # takes the name, or fails where there is a file by now
        os.replace(temporary, target)
    except FileExistsError as error:
        raise CommandError(f"{target} is there already. Write another name, or --force to write over it") from error
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        if temporary is not None and os.path.lexists(temporary):
            os.unlink(temporary)
    return len(content)


def in_size(num_bytes: int) -> str:
    """A size in words.

    >>> in_size(1234), in_size(12 * 2**20)
    ('1.2 KiB', '12.0 MiB')
    """
    return f"{num_bytes / 1024:.1f} KiB" if num_bytes < MIB else f"{num_bytes / MIB:,.1f} MiB"


def tell_left_out(command: str, left_out: Sequence[str], noun: str, how: str = "left out") -> int:
    """Say what is not in the file, the first of it; returns the exit code."""
    if not left_out:
        return 0
    told = "; ".join(left_out[:MOST_TOLD]) + ("; ..." if len(left_out) > MOST_TOLD else "")
    print(f"lwcallbacks {command}: {counted(len(left_out), noun)} {how}: {plain(told)}", file=sys.stderr)
    return 1
