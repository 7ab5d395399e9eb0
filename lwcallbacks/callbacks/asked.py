"""What all callbacks of a Trainer want remembered of a stage, put together: equal needs are one.

asked = ask(callbacks, "val", lambda who, error: ...)
asked.needs                                         # by label, the same on every process
asked.labels[id(callback)]["counts"]                # which of them a callback's own need is
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lwcallbacks.callbacks.cost import Cost
from lwcallbacks.callbacks.need import Need
from lwcallbacks.lightning import Trainer


class Member(Protocol):
    """What a hub asks of a callback."""

    @property
    def on_error(self) -> str: ...
    def needs(self, stage: str) -> Mapping[str, Need]: ...
    def label(self, stage: str, name: str) -> str: ...
    def describe(self, stage: str) -> str: ...
    def prefixes(self, stage: str) -> set[str]: ...
    def take_resumed(self, stage: str) -> list[tuple[str, Any]]: ...
    def booked(self, trainer: Trainer, cost: Cost) -> None: ...


@dataclass
class Asked:
    """What all callbacks want remembered of a stage."""

    needs: dict[str, Need] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    callbacks: dict[str, str] = field(default_factory=dict)
    """What a need's callback is called, and would be if it could not say its needs."""
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Callbacks that could not say."""


@dataclass
class _Wanted:
    """One need, and who wants it."""

    need: Need
    owners: list[str] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.need.text or min(self.names)


def ask(callbacks: Sequence[Member], stage: str, failed: Callable[[str, Exception], object]) -> Asked:
    """Ask every callback. Equal needs have one label, whatever the callbacks' order.

    `failed` is called with what a callback is called that cannot say what it needs, and its error.
    """
    asked = Asked()
    wanted: dict[Any, _Wanted] = {}
    named: dict[int, dict[str, Any]] = {}
    for callback in callbacks:
        who = callback.describe(stage)
        try:
            own = [(name, need.key, need, need.text) for name, need in callback.needs(stage).items()]
        except Exception as error:
            asked.broken.add(who)
            failed(who, error)
            continue
        named[id(callback)] = {name: key for name, key, _, _ in own}
        for name, key, need, _ in own:
            one = wanted.setdefault(key, _Wanted(need))
            one.owners.append(callback.label(stage, name))
            one.callbacks.append(who)
            one.names.append(f"{callback.label(stage, name)} ({name})")
    common = Counter(one.text for one in wanted.values())
    # Two functions of one name read alike: the label then says whose it is.
    labels = {k: one.text if common[one.text] == 1 else f"{one.text} of {min(one.names)}" for k, one in wanted.items()}
    asked.needs = {labels[key]: one.need for key, one in wanted.items()}
    asked.owners = {labels[key]: min(one.owners) for key, one in wanted.items()}
    asked.callbacks = {labels[key]: min(one.callbacks) for key, one in wanted.items()}
    asked.labels = {i: {name: labels[key] for name, key in own.items()} for i, own in named.items()}
    return asked
