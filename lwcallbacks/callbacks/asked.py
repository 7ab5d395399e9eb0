"""What all callbacks together want remembered of a stage: equal needs once, under labels that all processes agree on.

asked = ask("val", callbacks, say=warn, strict=False)
asked.needs                                 # by label
asked.labels[id(callback)]["counts"]        # the label of one of the callback's needs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lwcallbacks.callbacks.need import Need


class Asks(Protocol):
    """What is asked of a callback."""

    def needs(self, stage: str) -> Mapping[str, Need]: ...
    def label(self, stage: str, name: str) -> str: ...
    def describe(self, stage: str) -> str: ...


@dataclass
class Asked:
    """See the module's synopsis.

    Attributes:
        needs: by label.
        owners: who is named in messages, by label.
        callbacks: the callback that a need is of, by label.
        labels: by the id of a callback, and its own name of a need.
        broken: callbacks that could not say, as in `callbacks` of another process.
    """

    needs: dict[str, Need] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    callbacks: dict[str, str] = field(default_factory=dict)
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


@dataclass
class _Shared:
    """A need, and who asks for it."""

    need: Need
    text: str | None
    owners: list[str] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return self.text or min(self.names)


def ask(stage: str, callbacks: Iterable[Asks], *, say: Callable[[str], object], strict: bool) -> Asked:
    """Ask each callback. Equal needs have one label, whatever the callbacks' order; one that raises is left out.

    Raises:
        Exception: with `strict`, what a callback raised.
    """
    asked = Asked()
    shared: dict[Any, _Shared] = {}
    keys: dict[int, dict[str, Any]] = {}
    for callback in callbacks:
        try:
            own = _needs_of(callback, stage)
        except Exception as error:
            if strict:
                raise
            asked.broken.add(callback.describe(stage))
            told = f"{callback.describe(stage)} could not say what it needs of {stage}"
            say(f"{told}: {type(error).__name__}: {error}")
            continue
        keys[id(callback)] = {name: key for name, (key, _) in own.items()}
        for name, (key, found) in own.items():
            common = shared.setdefault(key, found)
            common.owners.append(callback.label(stage, name))
            common.callbacks.append(callback.describe(stage))
            common.names.append(f"{callback.label(stage, name)} ({name})")
    labels = _labels(shared)
    for key, found in shared.items():
        asked.needs[labels[key]] = found.need
        asked.owners[labels[key]] = min(found.owners)
        asked.callbacks[labels[key]] = min(found.callbacks)
    asked.labels = {i: {name: labels[key] for name, key in own.items()} for i, own in keys.items()}
    return asked


def _needs_of(callback: Asks, stage: str) -> dict[str, tuple[Any, _Shared]]:
    return {name: (need.key, _Shared(need, need.text)) for name, need in callback.needs(stage).items()}


def _labels(shared: Mapping[Any, _Shared]) -> dict[Any, str]:
    times = Counter(found.shown for found in shared.values())
    return {
        key: found.shown if times[found.shown] == 1 else f"{found.shown} of {min(found.names)}"
        for key, found in shared.items()
    }
