"""A bar of progress while the end of a fit waits for deliveries; by tqdm, as Lightning's own."""

from __future__ import annotations

import sys
import time
from typing import Any

_SOON = 1.0
"""Seconds of waiting before it is worth a bar."""


class DeliveryBar:
    """Shows how many checkpoints still wait: in a terminal, and only when that takes a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._bar: Any = None

    def show(self, num_waiting: int) -> None:
        if self._bar is None and sys.stderr.isatty() and time.monotonic() - self._since > _SOON:
            from tqdm import tqdm

            self._bar = tqdm(total=num_waiting, desc="Delivering checkpoints", unit="checkpoint", leave=False)
        if self._bar is not None:
            self._bar.n = self._bar.total - num_waiting
            self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
