"""When Python looks for garbage: behind a block that makes many tensors for a moment, not in it.

with garbage_later():
    norms = read(rows, LogHistogram(), ["norms"])     # a few tensors for each of thousands of parameters
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage_later() -> Iterator[None]:
    """Keep the collector of cycles from running in the block; it stays off where it was off.

    For every 700 new objects it looks through the youngest, and at times through all of the process. Tensors that live
    for a moment are no cycles: of a logged step of 3,000 parameters that took a third.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
