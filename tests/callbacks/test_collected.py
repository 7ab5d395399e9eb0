"""Behind a run nothing keeps the Trainer, the module or the optimizer: a sweep has many."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from support.modules import Classifier, loader, trainer

import lwcallbacks as lw


def makes(root: Path, callbacks: list[Any]) -> list[weakref.ref[Any]]:
    t = trainer(callbacks=callbacks, default_root_dir=root, max_epochs=1)
    t.fit(module := Classifier(), loader(), loader())
    return [weakref.ref(one) for one in (t, module, t.optimizers[0])]


@pytest.mark.parametrize(
    "make", [lw.GradientHistogram, lw.ImageMosaic, lambda: lw.ConfusionMatrix(5), lw.PredictionGrid]
)
def test_what_a_run_was_made_of_is_collected(tmp_path: Path, make: Any) -> None:
    """Once nobody holds the callback either, to which Lightning ties the module."""
    left = [ref for i in range(2) for ref in makes(tmp_path / str(i), [make()])]
    gc.collect()
    assert [ref() for ref in left] == [None] * 6


def test_a_copy_of_a_trainer_shares_nothing(tmp_path: Path) -> None:
    """Each has its own callbacks, and goes on by itself."""
    t = trainer(callbacks=[lw.ConfusionMatrix(5)], default_root_dir=tmp_path)
    t.validate(Classifier(), loader(40), verbose=False)
    other: pl.Trainer = copy.deepcopy(t)
    other.validate(Classifier(), loader(30), verbose=False)
    sums = [int(one.callbacks[-1].results["val"].sum()) for one in (t, other)]  # type: ignore[attr-defined]
    assert sums == [40, 30]
