"""What a run has cost: who pays for what callbacks share, and what is said at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from lwcallbacks.callbacks.asked import Member
from lwcallbacks.callbacks.cost import Meter
from lwcallbacks.lightning import log_info
from lwcallbacks.writers import FolderWriter, Writer


def payers(callbacks: Sequence[Member], labels: Mapping[int, Mapping[str, str]]) -> dict[str, Member]:
    """By label, who pays for a need: of callbacks that share one, the first. `labels` are by the callback's id."""
    paying: dict[str, Member] = {}
    for callback in callbacks:
        for label in labels.get(id(callback), {}).values():
            paying.setdefault(label, callback)
    return paying


def tell_cost(meter: Meter, writers: Sequence[Writer], failed: Mapping[str, int]) -> None:
    """What a fit has cost, in one line and, where there is a page, as a table on it; and how often who failed."""
    behind = f"; {told_of(failed)}" if failed else ""
    folder = folder_of(writers)
    if folder is None:
        return log_info(meter.line(None) + behind)
    with suppress(OSError):  # a full disk was reported when something was to be written that matters
        folder.write_cost(meter.table())
    log_info(meter.line(folder.page) + behind)


def tell_page(writers: Sequence[Writer], failed: Mapping[str, int]) -> None:
    """Where the page of a run is that was no fit, if it has one; and how often who failed."""
    folder = folder_of(writers)
    told = [*([folder.page] if folder else []), *([told_of(failed)] if failed else [])]
    if told:
        log_info(f"lwcallbacks: {'; '.join(told)}")


def folder_of(writers: Sequence[Writer]) -> FolderWriter | None:
    """The writer of the run's folder, if it has put something there."""
    return next((writer for writer in writers if isinstance(writer, FolderWriter) and writer.bytes_written), None)


def told_of(failed: Mapping[str, int]) -> str:
    """How often something could not be drawn, written or logged, and whose it was.

    >>> told_of({"The folder runs/media": 13, "CSVLogger": 1})
    '14 failures: The folder runs/media 13, CSVLogger 1'
    """
    number = sum(failed.values())
    return f"{number} failure{'' if number == 1 else 's'}: {', '.join(f'{who} {n}' for who, n in failed.items())}"
