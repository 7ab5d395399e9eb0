"""What a checkpoint says of the versions before it, so that a run that goes on from it elsewhere knows them.

    state = remembered(ledger)              # plain values, for the state of a callback
    take_over(state, another_ledger)        # enters what that ledger does not have

A ledger lies beside one run. A run that goes on in another folder, or on another machine, has a ledger of its own, and
a `ModelCheckpoint` that removes what the first run has saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lwcallbacks.artifacts.ledger import Entry, Ledger
from lwcallbacks.artifacts.version import Version

MOST = 100
"""Versions that are remembered, the newest of those that the Trainer has not removed."""
_FACTS = ("epoch", "step", "monitor", "score")


def remembered(ledger: Ledger) -> dict[str, Any]:
    """The versions that a later run may have to drop, or to find: text, numbers, lists and dicts."""
    there = [entry for entry in ledger.entries if not entry.is_removed and not entry.why]
    return {"versions": [_to_json(entry) for entry in there[-MOST:]]} if there else {}


def take_over(state: Mapping[str, Any], ledger: Ledger) -> None:
    """Enter the versions of a state that the ledger does not have.

    Raises:
        ValueError: it is no such state.
    """
    known = {entry.version.id for entry in ledger.entries}
    try:
        found = [(Version.from_json(one["version"]), one["stores"]) for one in state.get("versions", ())[-MOST:]]
        addresses = [{str(name): str(address) for name, address in stores.items()} for _, stores in found]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"found {str(state)[:80]!r} in a checkpoint: {type(error).__name__}: {error}") from error
    for (version, _), stores in zip(found, addresses, strict=True):
        if version.id not in known:
            ledger.took_over(replace(version, content=None), stores)


def _to_json(entry: Entry) -> dict[str, Any]:
    version = entry.version
    facts = {key: version.metadata[key] for key in _FACTS if key in version.metadata}
    # The address is empty where the store does not have it yet: it may get it after this checkpoint was saved.
    stores = {name: entry.fates[name].address if name in entry.fates else "" for name in entry.stores}
    return {"version": replace(version, content=None, metadata=facts).to_json(), "stores": stores}
