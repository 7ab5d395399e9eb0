"""List the checkpoints that runs have saved, where each was delivered to, and deliver what waits.

    lwcallbacks artifacts lightning_logs
    lwcallbacks artifacts lightning_logs --deliver
    lwcallbacks artifacts lightning_logs --json

Prints for each version its epoch and step, the monitored value, its size and its aliases, and what has become of it:
delivered and where, staged for `wandb sync`, waiting, failed and why, dropped. A run that is still going on is listed,
and not delivered. A ledger that cannot be read is reported on the standard error stream.

--deliver sends your files to your account: it is for folders of your own. The exit code is 1 where something still
waits afterwards, or a ledger could not be read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from lwcallbacks.artifacts.ledger import Entry, Fate, InUse, Ledger, content_of, read
from lwcallbacks.artifacts.ledgers import current_aliases, find_ledgers, is_synced, place_of, sent_from
from lwcallbacks.cli.errors import CommandError
from lwcallbacks.cli.output import in_size
from lwcallbacks.cli.text import counted, plain

WIDTH = 80
WAITS = Fate("waits")
DELIVER = "lwcallbacks.writers.wandb_deliver"  # a program of its own, since it needs the loggers, and they need torch


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to look, and what to do."""
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="where to look, by default here")
    parser.add_argument("--deliver", action="store_true", help="deliver what waits, then list")
    told = "with --deliver, where it cannot be found out: the run at W&B, as entity/project/run_id"
    parser.add_argument("--run", dest="run_path", metavar="RUN", help=told)
    parser.add_argument("--json", action="store_true", help="print all that is known, as JSON")


def run(given: argparse.Namespace) -> int:
    """Deliver, then list. Raises CommandError where there is nothing to list."""
    directory = Path(given.directory)
    if not directory.is_dir():
        raise CommandError(f"{directory} is no folder, expected one that runs are in")
    ledgers = find_ledgers(directory)
    if not ledgers:
        raise CommandError(
            f"{directory} has no ledger of checkpoints in it, at any depth. Expected a folder that a Trainer with "
            "CheckpointArtifact has logged to, as in: lwcallbacks artifacts lightning_logs"
        )
    if given.run_path is not None and (len(ledgers) > 1 or not given.deliver or given.run_path.count("/") != 2):
        raise CommandError(
            f"found --run {given.run_path} and {counted(len(ledgers), 'ledger')}, expected entity/project/run_id, one "
            "ledger, and --deliver"
        )
    delivered = [_deliver(ledger, given.run_path, quiet=given.json) for ledger in ledgers if given.deliver]
    found = {ledger: entries for ledger in ledgers if (entries := _read(ledger)) is not None}
    if given.json:
        print(json.dumps([_facts(ledger, entries) for ledger, entries in found.items()], indent=1, ensure_ascii=False))
    else:
        for line in _listing(directory, found):
            print(line)
    return 0 if all(delivered) and len(found) == len(ledgers) else 1


def _read(ledger: Path) -> list[Entry] | None:
    """The entries; None where they cannot be read, which is reported."""
    try:
        return read(ledger)
    except (OSError, ValueError, RecursionError) as error:
        print(f"lwcallbacks artifacts: {plain(ledger)} cannot be read: {plain(error)}", file=sys.stderr)
        return None


def _deliver(ledger: Path, run: str | None, *, quiet: bool) -> bool:
    """Deliver what waits; whether nothing does any more."""
    entries = _read(ledger)
    if not entries or not any(entry.waiting or entry.to_drop for entry in entries):
        return True
    say = sys.stderr if quiet else sys.stdout
    print(
        f"{plain(ledger)}: {counted(sum(bool(entry.waiting) for entry in entries), 'version')} to deliver",
        file=say,
        flush=True,
    )
    try:
        Ledger(ledger).close()
    except InUse:
        print("  the run is still going on: left alone", file=say)
        return False
    program = [sys.executable, "-m", DELIVER, str(ledger), *([run] if run else [])]
    out, nobody = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(program, stdin=nobody, stdout=out, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {plain(line.rstrip())}", file=say, flush=True)
    return process.returncode == 0


def _listing(directory: Path, found: dict[Path, list[Entry]]) -> Iterator[str]:
    entries = [entry for each in found.values() for entry in each if not entry.is_earlier]
    waiting = sum(bool(entry.undelivered) for entry in entries)
    staged = {sent_from(ledger, entry.staged_at) for ledger, each in found.items() for entry in each if entry.staged_at}
    runs = f"{counted(len(entries), 'version')} of {counted(len(found), 'run')} in {plain(directory)}"
    in_staging = sum(bool(entry.staged_at) for entry in entries)
    yield f"{runs}, {waiting or 'none'} to deliver" + (f", {in_staging} staged for wandb sync" if staged else "")
    for ledger, each in found.items():
        yield ""
        yield plain(ledger)
        aliases = current_aliases(each)
        for name, versions in groupby(sorted(each, key=lambda entry: entry.version.name), lambda e: e.version.name):
            yield f"  {plain(name)}"
            for entry in versions:
                yield from _lines(ledger, entry, aliases[entry.version.id], _is_replaced(entry, each))
    if waiting or staged:
        yield ""
    if waiting:
        yield f"Deliver them with: lwcallbacks artifacts {plain(directory)} --deliver"
    for folder in sorted(staged):
        asks = f"See whether W&B has what was sent: lwcallbacks artifacts {plain(directory)} --deliver"
        yield asks if is_synced(folder) else f"Send what is staged with: wandb sync {plain(folder)}"


def _is_replaced(entry: Entry, entries: list[Entry]) -> bool:
    """Whether a later save of the run has the same path."""
    return any(later.version.path == entry.version.path for later in entries[entries.index(entry) + 1 :])


def _lines(ledger: Path, entry: Entry, aliases: list[str], is_replaced: bool) -> Iterator[str]:
    facts, size = entry.version.metadata, entry.version.size
    told = [f"{key} {facts[key]}" for key in ("epoch", "step") if facts.get(key) is not None]
    if facts.get("monitor") is not None and facts.get("score") is not None:
        told.append(f"{facts['monitor']} {_number(facts['score'])}")
    told += [in_size(size)] if size is not None else []
    told += [", ".join(aliases)] if aliases else []
    told += ["of the run that this one goes on from"] if entry.is_earlier else []
    yield from _wrapped(plain("   ".join(told)), "    ")
    for store, fate in (_fates(entry) or {"": _on_disk(ledger, entry, is_replaced)}).items():
        yield from _wrapped(plain(f"{store}: {_in_words(fate)}" if store else _in_words(fate)), "      ")


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of the terminal's usual width. What is longer without a space in it is left whole, to be copied."""
    later = f"{indent}  "
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _fates(entry: Entry) -> dict[str, Fate]:
    """What has become of it, by the stores' names; "" where there is no store, or no content."""
    if entry.why:
        return {"": Fate("failed", why=entry.why)}
    fates = {store: entry.fates.get(store, WAITS) for store in dict.fromkeys((*entry.stores, *entry.fates))}
    return fates


def _on_disk(ledger: Path, entry: Entry, is_replaced: bool) -> Fate:
    """Of one that goes to no store."""
    path = entry.version.path
    if entry.is_removed:
        return Fate("removed by the Trainer")
    if is_replaced:
        return Fate(f"replaced by a later save to {path}")
    found = path if entry.version.is_remote else place_of(ledger, path)
    if entry.is_written:
        return Fate(f"kept at {found}" if found else f"was at {path}, where nothing is any more")
    return Fate("not written yet, as far as is known")


def _in_words(fate: Fate) -> str:
    match fate.state:
        case "delivered" if not fate.address:
            return "was on its way when the checkpoint was saved"
        case "delivered":
            return f"delivered, {fate.address}"
        case "staged":
            return f"staged for wandb sync {fate.address}"
        case "failed":
            return f"failed: {fate.why}"
        case "dropped" if fate.why == "deleted":
            return f"dropped, {fate.address} is deleted"
        case "dropped" if fate.address:
            return f"file removed, {fate.address} is kept: {fate.why}"
        case "dropped":
            return f"dropped: {fate.why}"
        case "waits":
            return "waits to be delivered"
    return fate.state


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _facts(ledger: Path, entries: list[Entry]) -> dict[str, Any]:
    aliases = current_aliases(entries)
    return {"ledger": str(ledger), "versions": [_facts_of(ledger, e, aliases[e.version.id]) for e in entries]}


def _facts_of(ledger: Path, entry: Entry, aliases: list[str]) -> dict[str, Any]:
    content = content_of(ledger, entry)
    return entry.version.to_json() | {
        "aliases": aliases,
        "content": None if content is None else str(content),
        "earlier": entry.is_earlier,
        "removed": entry.is_removed,
        "why": entry.why,
        "waiting": list(entry.waiting),
        "stores": {
            store: {"state": fate.state, "address": fate.address, "why": fate.why}
            for store, fate in _fates(entry).items()
            if store
        },
    }
