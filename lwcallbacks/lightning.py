"""The Lightning that is here: `pytorch_lightning` or `lightning.pytorch`, whichever the program uses.

    from lwcallbacks.lightning import Callback                    # a base class; either Trainer takes it
    isinstance(callback, either("callbacks", "Checkpoint"))       # of whichever package
    package_of(trainer)                                           # "lightning.pytorch"

The two packages hold the same code twice: a class of one is no class of the other. Nothing else here imports one.
"""

from __future__ import annotations

import logging
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

PACKAGES = ("pytorch_lightning", "lightning.pytorch")


def _choose() -> str:
    """The only one that the program has imported; of both or neither the first that is installed."""
    imported = [package for package in PACKAGES if sys.modules.get(package) is not None]
    if len(imported) == 1:
        return imported[0]
    # The part before the dot: to look for `lightning.pytorch` would import `lightning`.
    return next((package for package in PACKAGES if find_spec(package.partition(".")[0])), PACKAGES[0])


PACKAGE = _choose()
"""The package that the base classes below are of."""

if TYPE_CHECKING:
    from pytorch_lightning import Callback as Callback
    from pytorch_lightning import LightningModule as LightningModule
    from pytorch_lightning import Trainer as Trainer
    from pytorch_lightning.accelerators import Accelerator as Accelerator
    from pytorch_lightning.callbacks import ModelCheckpoint as ModelCheckpoint
    from pytorch_lightning.plugins import CheckpointIO as CheckpointIO
    from pytorch_lightning.plugins import Precision as Precision
    from pytorch_lightning.strategies import SingleDeviceStrategy as SingleDeviceStrategy
    from pytorch_lightning.trainer.states import TrainerFn as TrainerFn
else:
    _chosen = import_module(PACKAGE)
    Callback, LightningModule, Trainer = _chosen.Callback, _chosen.LightningModule, _chosen.Trainer
    Accelerator = import_module(f"{PACKAGE}.accelerators").Accelerator
    ModelCheckpoint = import_module(f"{PACKAGE}.callbacks").ModelCheckpoint
    _plugins = import_module(f"{PACKAGE}.plugins")
    CheckpointIO = _plugins.CheckpointIO
    Precision = getattr(_plugins, "Precision", None) or _plugins.PrecisionPlugin  # as Lightning before 2.1 calls it
    SingleDeviceStrategy = import_module(f"{PACKAGE}.strategies").SingleDeviceStrategy
    TrainerFn = import_module(f"{PACKAGE}.trainer.states").TrainerFn


def either(module: str, name: str) -> tuple[type[Any], ...]:
    """The class of that name in every Lightning that is loaded, for `isinstance`."""
    modules = (sys.modules.get(f"{package}.{module}") for package in PACKAGES)
    return tuple(getattr(found, name) for found in modules if hasattr(found, name))


def lightning_version() -> tuple[int, ...]:
    """The numbers of the version of the package in use, as (2, 6, 1)."""
    text = sys.modules[PACKAGE.partition(".")[0]].__version__
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def log_info(message: str) -> None:
    """Say something as Lightning says it that GPUs are found: in its own log, which is shown by default."""
    logging.getLogger(PACKAGE).info(message)


def package_of(value: object) -> str | None:
    """Which package the class of `value`, or else the first of its bases that can say, comes from."""
    modules = [cls.__module__ for cls in type(value).__mro__]
    return next((p for module in modules for p in PACKAGES if f"{module}.".startswith(f"{p}.")), None)


def is_of_lightning(function: object) -> bool:
    """Whether a function is Lightning's own, as a hook that a module does not override."""
    module = getattr(function, "__module__", None) or ""
    return any(f"{module}.".startswith(f"{package}.") for package in PACKAGES)
