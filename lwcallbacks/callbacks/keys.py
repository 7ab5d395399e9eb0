"""The keys that are logged through the Trainer: a key that somebody else logs is theirs.

    keys = LoggedKeys()
    keys.log(trainer, "val/acc", value, on_step=False, prog_bar=False, owner=("ScalarMetrics", "prefix='lw_'"))
    for told in keys.check(trainer, "val"): ...                # keys that somebody else has logged, after us

The Trainer keeps what is logged by hook and name, and where a name comes twice the later one is what is monitored. So
ours are kept under a hook of their own. Where somebody else's entry has the same name, ours is renamed for the rest of
the run: "val/acc" becomes "lwcallbacks/val/acc".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from lwcallbacks.lightning import Trainer

HOOK = "lwcallbacks"
LOADER = "/dataloader_idx_"
_OF_PRESET = ", or the same argument of the preset that it is of"


def checked_name(owner: str, name: Any) -> str:
    """A part of keys that a user gives.

    Raises:
        ValueError: it is no text, or has no letters before or after a "/".

    >>> checked_name("Curves", "roc/mine")
    'roc/mine'
    """
    if not isinstance(name, str) or not all(part.strip() for part in name.split("/")):
        raise ValueError(f"{owner}: name={name!r}, expected a text for the keys, as in name='mine'")
    return name


class Renamed(NamedTuple):
    """A key that was found to be somebody else's."""

    key: str
    new: str
    value: Tensor | None
    """What was logged under the key and lost to the other; None if it was not logged yet."""
    owner: tuple[str, str]
    """Whose it is, and the argument that gives it keys of its own."""

    def __str__(self) -> str:
        return (
            f"{self.owner[0]}: {self.key!r} is logged by somebody else, too: the module or another callback. It keeps "
            f"the key, and ours is logged as {self.new!r} from now on. Expected a key of its own: write "
            f"{self.owner[0]}(..., {self.owner[1]}){_OF_PRESET if self.owner[1].startswith('prefix=') else ''}"
        )


class LoggedKeys:
    """What the callbacks of one run log through its Trainer."""

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}
        self._last: dict[str, tuple[Tensor, tuple[str, str]]] = {}

    def log(
        self, trainer: Trainer, key: str, value: Tensor, *, on_step: bool, prog_bar: bool, owner: tuple[str, str]
    ) -> Renamed | None:
        """Log a value that is final: neither averaged over batches nor over processes. Returns a key that is taken.

        Args:
            owner: the class of the callback, and the argument that gives it keys of its own, for the message.
        """
        results = trainer._results
        if results is None:
            return None
        told = None
        if key not in self._renamed and key in set(_names_of_others(results)):
            told = self._rename(key, None, owner)
        self._last[key] = value, owner
        name = self._renamed.get(key, key)
        results.pop(f"{HOOK}.{name}", None)  # what it was in the last epoch would be averaged in
        how: dict[str, Any] = {"on_step": on_step, "on_epoch": not on_step, "prog_bar": prog_bar, "sync_dist": True}
        results.log(HOOK, name, value, batch_size=1, add_dataloader_idx=False, **how)
        return told

    def check(self, trainer: Trainer, stage: str) -> list[Renamed]:
        """Which keys of a stage somebody else has logged since; they keep them."""
        results = trainer._results
        last = {key: told for key, told in self._last.items() if key.startswith(f"{stage}/")}
        if results is None or not last:
            return []
        self._last = {key: told for key, told in self._last.items() if key not in last}
        theirs = set(_names_of_others(results)) - self._renamed.keys()
        return [self._rename(key, *told) for key, told in last.items() if key in theirs]

    def _rename(self, key: str, value: Tensor | None, owner: tuple[str, str]) -> Renamed:
        self._renamed[key] = f"{HOOK}/{key}"
        return Renamed(key, self._renamed[key], value, owner)


def _names_of_others(results: Any) -> Iterator[str]:
    """Every name under which others' entries are seen: with the endings for steps and epochs, and a loader's."""
    for hook_and_name, entry in results.items():
        if hook_and_name.startswith(f"{HOOK}."):
            continue
        meta = entry.meta
        suffix = f"{LOADER}{meta.dataloader_idx}" if meta.add_dataloader_idx and meta.dataloader_idx is not None else ""
        for name in {meta.name, meta.forked_name(True), meta.forked_name(False)}:
            yield name + suffix
