"""Which forward calls are listened to while a batch is under way; outside of that nothing is on the module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import ForwardCalls
from lwcallbacks.lightning import LightningModule


class Listening:
    """Listens, from the start of a batch to its end, to the modules that callbacks take their predictions from."""

    def __init__(self) -> None:
        self.is_open = False
        self._calls: dict[str | None, ForwardCalls] = {}
        self._names: dict[str, set[str | None]] = {}
        self.unknown: dict[str, list[str]] = {}
        """Names that are those of no submodule, with the names that there are."""

    def choose(self, stage: str, needs: Iterable[Need]) -> None:
        """In this stage, listen to what these needs ask for."""
        self._names[stage] = {need.source.forward for need in needs if need.source.asks_forward(need.names)}

    def start(self, stage: str, module: LightningModule) -> None:
        if self.is_open:
            return
        self.is_open = True
        for name in self._names.get(stage, ()):
            try:
                listened = module if name is None else module.get_submodule(name)
            except AttributeError:  # reported at the end of the batch, with what was there
                self.unknown[str(name)] = [there for there, _ in module.named_modules() if there]
                continue
            self._calls.setdefault(name, ForwardCalls()).start(listened, direct=name is None)

    def stop(self) -> Mapping[str | None, list[Any]]:
        """Stop, and return the calls since `start` by the submodule's name."""
        self.is_open = False
        heard = {}
        for name, recorder in self._calls.items():
            recorder.stop()
            heard[name] = list(recorder.calls)
            recorder.calls.clear()
        return {name: calls for name, calls in heard.items() if calls}
