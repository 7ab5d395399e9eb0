"""Python's collector of cycles is off in a block that makes many tensors, and as it was behind it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import pytorch_lightning as pl
from support.modules import Classifier, loader, trainer

import lwcallbacks as lw
from lwcallbacks.gradients import read as reading
from lwcallbacks.gradients.garbage import garbage_later


@pytest.fixture(autouse=True)
def _on() -> Any:
    assert gc.isenabled()
    yield
    gc.enable()


def test_it_is_off_within_and_on_behind() -> None:
    """Also where the block raises."""
    seen: list[bool] = []

    def fails() -> None:
        with garbage_later():
            seen.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [False]
    assert gc.isenabled()


def test_it_stays_off_for_whoever_has_turned_it_off() -> None:
    """Nested blocks leave it to the outer one."""
    with garbage_later(), garbage_later():
        pass
    assert gc.isenabled()
    gc.disable()
    with garbage_later():
        pass
    assert not gc.isenabled()


def test_gradients_are_read_in_such_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """And training goes on with it turned on."""
    seen: list[bool] = []
    numbers = reading._numbers
    monkeypatch.setattr(reading, "_numbers", lambda *args: (seen.append(gc.isenabled()), numbers(*args))[1])

    class Sees(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            assert gc.isenabled()

    trainer(callbacks=[lw.GradientHistogram(1), Sees()]).fit(Classifier(), loader(8))
    assert seen == [False]
