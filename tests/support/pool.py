"""Folds in processes that are not started by a Trainer."""

from __future__ import annotations

import logging
from typing import Any

from .modules import Classifier, loader, trainer


def fold(n: int, callback: Any, root: str) -> Any:
    """Validate on n samples; the callback is given back."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    t = trainer(callbacks=[callback], default_root_dir=f"{root}/{n}")
    t.validate(Classifier.seeded(), loader(n), verbose=False)
    return callback
