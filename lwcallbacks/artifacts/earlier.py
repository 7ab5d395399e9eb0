"""What earlier runs have left in their ledgers: a process may end between any two lines."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

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


def tidy(runs: Path, own: Path) -> list[tuple[Path, int]]:
    """Let go of what ended runs still hold and nobody waits for: they were killed before they could.

    Args:
        runs: the folder that has a folder for each run; of its ledgers, the newest 100 are looked at.
        own: the ledger's folder that is left alone.

    Returns:
        The folders of ledgers with versions that wait to be delivered, and how many.
    """
    found = [path for path in runs.glob(f"*/{own.name}/{FILE}") if path.parent.resolve() != own.resolve()]
    waiting = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[-_MOST:]:
        with contextlib.suppress(InUse, ValueError, OSError), Ledger(path.parent) as ledger:  # not ours to mend
            mend(ledger)
            count = sum(bool(entry.waiting) for entry in ledger.entries)
            waiting += [(path.parent, count)] if count else []
    return waiting
