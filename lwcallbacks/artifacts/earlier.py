"""What earlier runs have left in their ledgers."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lwcallbacks.artifacts.holding import release
from lwcallbacks.artifacts.ledger import FILE, InUse, Ledger

_MOST = 100


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
            for entry in ledger.entries:
                content = ledger.content_of(entry.version.id)
                if content is not None and not entry.waiting:
                    release(content)
                    ledger.released(entry.version.id)
            count = sum(bool(entry.waiting) for entry in ledger.entries)
            waiting += [(path.parent, count)] if count else []
    return waiting
