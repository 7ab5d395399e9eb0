"""What earlier runs have left in their ledgers: a process may end between any two lines."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lwcallbacks.artifacts.ledger import FILE, HELD, InUse, Ledger

_MOST = 100


def mend(ledger: Ledger) -> None:
    """Give up what was never held, and let go of what is held and nobody waits for.

    Raises:
        ValueError: the ledger names files outside of its folder.
    """
    held = set()
    for entry in ledger.entries:
        id, version, content = entry.version.id, entry.version, ledger.content_of(entry.version.id)
        is_wanted = any(store not in entry.fates for store in entry.waiting)
        was_never_held = not version.content and not (entry.why or entry.is_earlier or entry.is_removed)
        if (is_wanted or was_never_held) and content is None and not version.is_remote:
            told = "its content is gone" if version.content else "the process ended before its content was held"
            ledger.failed(id, told)
        if content is not None and entry.waiting:
            held.add(content.parent.name)
        elif version.content and not entry.is_released:
            ledger.released(id)
    with contextlib.suppress(FileNotFoundError):
        for folder in (ledger.directory / HELD).iterdir():
            if folder.name not in held:
                shutil.rmtree(folder, ignore_errors=True)


class Left(NamedTuple):
    """What an earlier run has left, and nobody has said yet."""

    directory: Path
    """The folder of its ledger."""
    undelivered: int
    """How many versions wait to be delivered."""
    staged: dict[str, int]
    """How many wait in an offline run of W&B, by the folder of that run."""


def tidy(runs: Path, own: Path) -> list[Left]:
    """Let go of what ended runs still hold and nobody waits for: they were killed before they could.

    Args:
        runs: the folder that has a folder for each run; of its ledgers, the newest 100 are looked at.
        own: the ledger's folder that is left alone.

    Returns:
        What waits, and was not returned before: that is noted in the ledgers.
    """
    found = [path for path in runs.glob(f"*/{own.name}/{FILE}") if path.parent.resolve() != own.resolve()]
    left = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[-_MOST:]:
        with contextlib.suppress(InUse, ValueError, OSError), Ledger(path.parent) as ledger:  # not ours to mend
            mend(ledger)
            waiting = [entry for entry in ledger.entries if entry.waiting and not entry.is_told]
            staged = Counter(entry.staged_at for entry in waiting if not entry.undelivered)
            for entry in waiting:
                ledger.told(entry.version.id)
            left += [Left(path.parent, len(waiting) - staged.total(), dict(staged))] if waiting else []
    return left
