"""The ledgers below a folder, and a version in them. No torch: the command line uses it.

find_ledgers(Path("lightning_logs"))               # the folders that have one
find(Path("lightning_logs/version_0"), "best")     # the version, its content, and where else it is
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lwcallbacks.artifacts.ledger import FILE, Entry, content_of, read
from lwcallbacks.artifacts.version import Version


def find_ledgers(directory: Path) -> list[Path]:
    """The folders with a ledger, at any depth, in the order of their names. Links are not followed."""
    found = []
    for folder, inner, files in os.walk(directory):
        inner.sort()
        if FILE in files:
            found.append(Path(folder))
    return found


def find(directory: Path, alias: str) -> tuple[Version, Path | None, str]:
    """The version that has an alias.

    Args:
        directory: the folder of a run, or of its ledger.
        alias: "best", or "name:best" where there are several artifacts.

    Returns:
        The version, its content on this machine, and its address at W&B; None and "" where there is none.

    Raises:
        LookupError: there is no ledger, or no such version in it.
        ValueError: several artifacts have the alias; or the ledger is none, or names files outside of its folder.
    """
    ledgers = find_ledgers(directory)
    if not ledgers:
        raise LookupError(
            f"{directory} has no ledger of checkpoints, expected the folder of a run with CheckpointArtifact"
        )
    entries = [(ledger, entry) for ledger in ledgers for entry in read(ledger)]
    name, _, last = alias.rpartition(":")
    having = [(ledger, e) for ledger, e in entries if last in e.version.aliases and name in ("", e.version.name)]
    if not having:
        there = sorted({f"{e.version.name}:{one}" for _, e in entries for one in e.version.aliases})
        raise LookupError(f"{directory} has no checkpoint {alias!r}, expected one of {', '.join(there) or 'none'}")
    having = [(ledger, e) for ledger, e in having if e.is_written] or having
    having = [(ledger, e) for ledger, e in having if not e.is_earlier] or having  # a run's own ledger has it, too
    among = sorted({(str(ledger), e.version.name) for ledger, e in having})
    if len(among) > 1:
        found = ", ".join(f"{name}:{last} in {ledger}" for ledger, name in among)
        raise ValueError(
            f"{directory} has several checkpoints {alias!r}: {found}. Write one of these folders and names"
        )
    ledger, entry = having[-1]
    return entry.version, _content(ledger, entry), _address(entry)


def current_aliases(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """The aliases that each version of a ledger has now, by its id: a later version of the same name takes them, once
    it is written."""
    owners = {(e.version.name, alias): e.version.id for e in entries if e.is_written for alias in e.version.aliases}
    return {
        e.version.id: [a for a in e.version.aliases if owners.get((e.version.name, a)) == e.version.id] for e in entries
    }


def _content(ledger: Path, entry: Entry) -> Path | None:
    """As it is held; else the checkpoint itself, if it was not removed. Its digest tells whether it is the same."""
    held = content_of(ledger, entry)
    if held is not None or entry.version.digest is None or entry.version.is_remote or entry.is_removed:
        return held
    return place_of(ledger, entry.version.path)


def place_of(ledger: Path, path: str) -> Path | None:
    """Where something is that a ledger names as the run saw it; None if it is not there.

    A relative path is of the folder that the run was started in: this one, or one that the ledger is in. Where the
    folder of the runs was moved, or is that of another machine, it has the same place beside the ledger.
    """
    parts = Path(path).parts
    starts = range(1, len(parts) - 1) if Path(path).is_absolute() and ".." not in parts else ()
    tails = [Path(path), *(Path(*parts[start:]) for start in starts)]
    places = (base / tail for base in (Path(), *ledger.absolute().parents) for tail in tails)
    return next((place for place in places if place.exists()), None)


def sent_from(ledger: Path, address: str) -> Path:
    """The folder of an offline run of W&B that a ledger names, as `wandb sync` takes it."""
    return place_of(ledger, address) or Path(address)


def is_synced(run_dir: str | os.PathLike[str]) -> bool:
    """Whether `wandb sync` has been over an offline run.

    That does not say that its artifacts have arrived: where the server refused one, or the content was no longer there,
    `wandb sync` ends the same way, with the same mark.
    """
    return any(Path(run_dir).glob("*.wandb.synced"))


def _address(entry: Entry) -> str:
    fate = entry.fates.get("wandb")
    return fate.address if fate is not None and fate.state == "delivered" else ""
