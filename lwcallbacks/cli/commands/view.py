"""List the runs below a folder, newest first, and open the page of one.

    lwcallbacks view lightning_logs
    lwcallbacks view --open                             # the newest
    lwcallbacks view lightning_logs/version_3 --open

Prints for each run the path of its page, its name and state, the last step, the best value of the monitored number or
of the first one of validation, when it was last written to, and its media. Of one run alone all numbers are
printed, too: the lowest or highest value of each, where one knows which is better, else the last. A run that cannot be
read is reported on the standard error stream; the others are listed, and the exit code is 1. A page that is not as this
version of lwcallbacks writes it is not opened: a copy is, of the data alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from lwcallbacks.cli.beside import numbers, rank
from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.runs import best, name_of, num_failed
from lwcallbacks.cli.text import counted, plain
from lwcallbacks.readers import MediaFolder, damage, find_folders, of_page, read_folder
from lwcallbacks.sharing import is_as_written, single_file

PAGE = "index.html"
MOST_TOLD = 3
MOST_NAMED = 6
"""Media of one of several runs that are named."""
MOST_KEYS = 16
"""Of one parent: a run without a model's parameters has fewer."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to look, and whether to open what is found."""
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="where to look, by default here")
    parser.add_argument("--open", action="store_true", help="open the page of the newest run in the browser")


def run(given: argparse.Namespace) -> int:
    """List, then open. Raises CommandError where there is nothing to list, or no page to open."""
    directory = of_page(given.directory)
    folders, closed = _newest_first(directory)
    print(f"{counted(len(folders), 'run')} in {plain(directory)}, newest first")
    read = [folder for folder in folders if _listed(folder, is_alone=len(folders) == 1)]
    if closed:
        told = "; ".join(closed[:MOST_TOLD]) + ("; ..." if len(closed) > MOST_TOLD else "")
        passed = counted(len(closed), "folder")
        print(f"lwcallbacks view: {passed} passed over, permission denied: {plain(told)}", file=sys.stderr)
    sys.stdout.flush()
    if given.open:
        _open(folders)
    return 0 if len(read) == len(folders) and not closed else 1


def _newest_first(directory: Path) -> tuple[list[Path], list[str]]:
    """The folders of media, and the paths of folders that may not be looked into."""
    closed: list[str] = []

    def missed(error: OSError) -> None:
        if isinstance(error, PermissionError):  # of one that is gone by now, nothing is missed
            closed.append(str(error.filename))

    try:
        with os.scandir(directory):  # says why it cannot be looked into; a search would find nothing
            found = find_folders(directory, missed)
    except OSError as error:
        where = error.filename or directory
        raise CommandError(f"{where}: {error.strerror}, expected a folder that runs are in") from error
    if not found and closed:
        raise CommandError(f"{closed[0]}: permission denied, and {directory} has no run that may be read")
    if not found:
        raise CommandError(
            f"{directory} has no run with media of lwcallbacks in it, at any depth. Expected a folder that a Trainer "
            "with such callbacks has logged to, as in: lwcallbacks view lightning_logs"
        )
    return sorted(found, key=_written, reverse=True), closed


def _written(folder: Path) -> float:
    """When something was last written, seconds since 1970; 0 where that cannot be known."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat().st_mtime for entry in entries), default=0.0)
    except OSError:
        return 0.0


def _listed(path: Path, *, is_alone: bool) -> bool:
    """Print what is in a run's folder; False where not all of it can be read, which is reported.

    Of a folder that is gone since it was found, nothing is printed.
    """
    try:
        os.stat(path)
    except FileNotFoundError:  # since it was found
        return True
    except OSError:
        pass  # reading it says what is wrong
    try:
        folder = read_folder(path)
        damaged = damage(folder, whole=False)
        lines = _lines(folder, is_damaged=bool(damaged), is_alone=is_alone)
    except Exception as error:  # whatever is wrong with one folder, the others are listed
        print(f"lwcallbacks view: {plain(path)} cannot be read: {plain(error)}", file=sys.stderr)
        return False
    for line in lines:
        print(line)
    if damaged:
        print(f"lwcallbacks view: {plain(path)} is damaged: {plain('; '.join(damaged))}", file=sys.stderr)
    return not damaged


def _lines(folder: MediaFolder, *, is_damaged: bool, is_alone: bool) -> list[str]:
    keys, step, found = folder.steps(), folder.last_step, best(folder)
    when = datetime.fromtimestamp(_written(folder.directory)).strftime("%Y-%m-%d %H:%M")
    failed = num_failed(folder)
    told = [
        name_of(folder),
        folder.run.get("state"),
        "damaged" if is_damaged else None,
        counted(failed, "failure") if failed else None,
        None if step is None else f"step {step:,}",
        found,
        when,
    ]
    heading = "  " + "   ".join(plain(part) for part in told if part is not None)
    names = _grouped(keys) if is_alone else sorted(_grouped(keys), key=rank)
    more = 0 if is_alone else max(0, len(names) - MOST_NAMED)
    media = ", ".join(plain(name) for name in names[: len(names) - more]) or "no pictures"
    lines = ["", plain(folder.directory / PAGE), heading, f"  {media}{f' and {more} more' if more else ''}"]
    found_numbers = list(numbers(folder)) if is_alone else []
    return [*lines, "", *(f"  {line}".rstrip() for line in found_numbers)] if found_numbers else lines


def _grouped(keys: Iterable[str]) -> list[str]:
    """The keys, sorted; those of one parent as their number where they are many, as a model's parameters.

    >>> _grouped(["val/a", *(f"gradients/net.{i}" for i in range(18))])
    ['gradients/* (18)', 'val/a']
    """
    by_parent: dict[str, list[str]] = {}
    for key in sorted(keys):
        by_parent.setdefault(key.rpartition("/")[0], []).append(key)
    grouped = [
        [f"{parent}/* ({len(of)})"] if parent and len(of) > MOST_KEYS else of for parent, of in by_parent.items()
    ]
    return sorted(name for names in grouped for name in names)


def _open(folders: list[Path]) -> None:
    page = folders[0] / PAGE
    if not page.is_file():
        raise CommandError(f"the newest run has no page, expected the file {page}")
    if not _is_safe(folders[0]):
        page = _copied(folders[0])
        print(f"Its page is not as this version of lwcallbacks writes it. A copy of its data is opened: {plain(page)}")
        sys.stdout.flush()
    if not webbrowser.open(page.resolve().as_uri()):
        raise CommandError(f"found no browser. Open {page} in one")


def _is_safe(folder: Path) -> bool:
    try:
        return is_as_written(folder)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _copied(folder: Path) -> Path:
    try:
        made = single_file(folder)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CommandError(f"{folder} is not opened, since it cannot be read: {error}") from error
    copy = Path(tempfile.mkdtemp(prefix="lwcallbacks-"), "run.html")
    copy.write_text(made.html, encoding="utf-8")
    return copy
