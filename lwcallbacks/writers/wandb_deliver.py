"""Delivers what ended runs have left in a ledger: a program, which `lwcallbacks artifacts --deliver` starts.

    python -m lwcallbacks.writers.wandb_deliver lightning_logs/version_0/artifacts [entity/project/run_id]

What an offline run of W&B has staged is sent by W&B's own `wandb sync`, and counts as delivered when W&B is asked and
has it. What an online run could not deliver is delivered by that run, which is resumed for it. Ends with 0 where
nothing waits any more, 1 where something does, 3 where the run is still going on: then nothing is touched.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from lwcallbacks.artifacts.delivery import Delivery
from lwcallbacks.artifacts.ledger import Entry, InUse, Ledger
from lwcallbacks.artifacts.ledgers import is_synced, place_of
from lwcallbacks.artifacts.store import Receipt
from lwcallbacks.artifacts.version import Version
from lwcallbacks.writers.wandb_artifacts import ID, artifact_name, resumed

PATIENCE = 120.0  # seconds without progress
_OFFLINE = re.compile(r"offline-run-\d{8}_\d{6}-\w+")
_RUN = re.compile(r"https?://[^/\s]+/([^/\s]+)/([^/\s]+)/runs/([^/\s]+)")


def deliver(directory: Path, run: str | None = None) -> int:
    """Deliver what waits in the ledger of a folder. How many versions wait then, and why, is printed.

    Args:
        directory: the ledger's folder.
        run: "entity/project/run id" of the W&B run; if left out it is found out where that is possible.

    Raises:
        InUse: the run is still going on.
    """
    with Ledger(directory) as ledger:
        others = sorted({store for entry in ledger.entries for store in entry.waiting} - {"wandb"})
        if others:
            print(f"to {', '.join(others)} only the run itself delivers: start it again with the same logger")
        if any("wandb" in (*entry.waiting, *entry.to_drop) for entry in ledger.entries):
            _deliver_to_wandb(ledger, run)
        return sum(bool(entry.waiting) for entry in ledger.entries)


def _deliver_to_wandb(ledger: Ledger, run: str | None) -> None:
    import wandb

    try:
        entity = wandb.Api(timeout=10).default_entity  # for a server that is away, `wandb sync` would wait for hours
    except Exception as error:  # of the client, of many kinds
        print(f"W&B is not there: {_told(error)}")
        return
    run = run or _noted(ledger, entity)
    for address in sorted({e.fates["wandb"].address for e in _staged(ledger)}):
        run = _sync(ledger, address, run)
    if any("wandb" in entry.to_drop or _is_open(entry) for entry in ledger.entries):
        _resume(ledger, run)
    else:
        Delivery(ledger, [], say=print).finish()  # lets go of what is delivered


def _staged(ledger: Ledger) -> list[Entry]:
    return [e for e in ledger.entries if "wandb" in e.fates and e.fates["wandb"].state == "staged"]


def _is_open(entry: Entry) -> bool:
    return "wandb" in entry.waiting and "wandb" not in entry.fates


def _sync(ledger: Ledger, address: str, run: str | None) -> str | None:
    """Send an offline run, and enter what W&B has of it then. Returns the run's path."""
    folder = place_of(ledger.directory, address)
    if folder is None or not _OFFLINE.fullmatch(folder.name):
        print(f"{address} is not there, expected the folder of an offline run of W&B")
        return run
    if not is_synced(folder):
        command = [sys.executable, "-m", "wandb", "sync", str(folder.resolve())]
        spoken = os.environ | {"WANDB_SILENT": "false"}  # it says the run's address
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=spoken) as sync:
            assert sync.stdout is not None
            for line in sync.stdout:
                print(f"  {line.rstrip()}", flush=True)
                if (told := _RUN.search(line)) is not None:
                    run = "/".join(told.groups())
    if run is not None:
        for entry in _staged(ledger):
            if entry.fates["wandb"].address == address and (found := _at_wandb(entry.version, run)) is not None:
                ledger.delivered(entry.version.id, "wandb", Receipt("delivered", found))
    return run


def _at_wandb(version: Version, run: str) -> str | None:
    """The address of a version, if W&B has all of it. Of two with the same content W&B may keep one."""
    import wandb

    entity, project, _ = run.split("/")
    try:
        api = wandb.Api()
        # What was sent a moment ago is the newest. Older clients, as 0.20, take no order.
        order: dict[str, Any] = {"order": "-createdAt"} if "order" in signature(api.artifacts).parameters else {}
        for artifact in api.artifacts("model", f"{entity}/{project}/{artifact_name(version.name)}", **order):
            found = artifact.metadata
            if version.id == found.get(ID) or (version.digest is not None and version.digest == found.get("digest")):
                return str(artifact.qualified_name)
    except (wandb.Error, ValueError, TypeError, AttributeError) as error:
        print(f"W&B does not say whether it has {version.name}: {_told(error)}")
    return None


def _resume(ledger: Ledger, run: str | None) -> None:
    if run is None:
        print("which run of W&B that was is not known: write --run entity/project/run_id")
        return
    try:
        entity, project, run_id = run.split("/")
        with resumed(run_id, project, entity) as store:
            Delivery(ledger, [store], say=print).finish(PATIENCE)
    except Exception as error:  # of the client, of many kinds
        print(f"the run {run} cannot be resumed: {_told(error)}. Another one is --run entity/project/run_id")


def _noted(ledger: Ledger, entity: str | None) -> str | None:
    """The run as the ledger has it. An offline run does not know its entity: it is that of who is logged in."""
    own, project, run_id = ledger.runs.get("wandb", "//").split("/")
    return f"{own or entity}/{project}/{run_id}" if (own or entity) and project and run_id else None


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def main(arguments: Sequence[str]) -> int:
    directory, *run = arguments
    try:
        return 1 if deliver(Path(directory), *run) else 0
    except InUse:
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
