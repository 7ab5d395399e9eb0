"""What differs between the versions that the tests run with; each skip has its reason here."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from packaging.version import Version
from torchmetrics import Metric

LIGHTNING_1 = Version(pl.__version__) < Version("2")
TORCH = Version(Version(torch.__version__).base_version)

needs_loader_states = pytest.mark.skipif(
    Version(pl.__version__) < Version("2.2"), reason="Lightning before 2.2 saves no loader's state"
)
needs_merge_state = pytest.mark.skipif(not hasattr(Metric, "merge_state"), reason="torchmetrics lacks merge_state")
needs_simulated_device = pytest.mark.skipif(Version("2.9") > TORCH, reason="simulated_device is for torch 2.9 or newer")
