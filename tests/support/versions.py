"""What differs between the versions that the tests run with; each skip has its reason here."""

from __future__ import annotations

from inspect import signature

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from packaging.version import Version
from pytorch_lightning import callbacks, strategies
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.overrides import distributed
from pytorch_lightning.plugins import precision
from torchmetrics import Metric

LIGHTNING_1 = Version(pl.__version__) < Version("2")
LIGHTNING = Version(Version(pl.__version__).base_version)
PRECISIONS = {"32-true": "32", "bf16-mixed": "bf16", "16-true": "32"} if LIGHTNING_1 else {}
"""As Lightning 1 calls them; on the CPU it has no half precision of 16, and there leaves data as they are."""
if Version("2") <= LIGHTNING < Version("2.1"):
    PRECISIONS = {"16-true": "32-true"}  # which comes with 2.1
MixedPrecision = getattr(precision, "MixedPrecision", None) or precision.MixedPrecisionPlugin
"""As Lightning before 2.1 calls it."""
OWN_SAMPLER = {"replace_sampler_ddp" if LIGHTNING_1 else "use_distributed_sampler": False}
"""What tells the Trainer to leave a loader's sampler alone."""
TORCH = Version(Version(torch.__version__).base_version)

needs_lasting_graphs = pytest.mark.skipif(
    Version("2.6") > TORCH, reason="torch 2.4 compiles a module again when its forward is listened to"
)
needs_loader_states = pytest.mark.skipif(
    Version(pl.__version__) < Version("2.2"), reason="Lightning before 2.2 saves no loader's state"
)
needs_fsdp2 = pytest.mark.skipif(
    not hasattr(strategies, "ModelParallelStrategy") or Version("2.5") > TORCH,
    reason="this Lightning has no FSDP2, or it is torch 2.4, whose FSDP2 asks for a GPU",
)
needs_loaders_in_any_mode = pytest.mark.skipif(
    Version("2.1") > LIGHTNING, reason="before Lightning 2.1 validation reads loaders one after another only"
)
needs_refusals_of_ours = pytest.mark.skipif(
    Version("2.5") > LIGHTNING, reason="this Lightning refuses what is no callback before ours, in words of its own"
)
needs_a_first_epoch_after_a_search = pytest.mark.skipif(
    LIGHTNING_1 or LIGHTNING.release[:2] == (2, 4),
    reason="Lightning 1 goes on counting where its search has ended, and 2.4 leaves the epoch after it without batches",
)
needs_fit_with_weights_only = pytest.mark.skipif(
    "weights_only" not in signature(pl.Trainer.fit).parameters, reason="this Trainer.fit has no weights_only="
)
needs_steps_that_go_on = pytest.mark.skipif(
    Version("2.5") > LIGHTNING,
    reason="resumed from a checkpoint of a batch, this Lightning logs with a step that is one too low",
)
needs_sigterm_under_slurm = pytest.mark.skipif(
    LIGHTNING_1, reason="under SLURM Lightning 1 passes over SIGTERM: its job goes on until it is killed"
)
IndexBatchSampler = getattr(distributed, "_IndexBatchSamplerWrapper", None) or distributed.IndexBatchSamplerWrapper
needs_own_sync_of_pearson = pytest.mark.skipif(
    Version(torchmetrics.__version__) < Version("1.9"),
    reason="PearsonCorrCoef of an older torchmetrics cannot sync itself after unlike numbers of updates",
)
needs_merge_state = pytest.mark.skipif(not hasattr(Metric, "merge_state"), reason="torchmetrics lacks merge_state")
needs_save_on_exception = pytest.mark.skipif(
    "save_on_exception" not in signature(ModelCheckpoint).parameters,
    reason="this ModelCheckpoint saves on no exception",
)
needs_files_written_anew = pytest.mark.skipif(
    Version(pl.__version__) < Version("2.4"), reason="Lightning before 2.4 writes into files, so what waits is a copy"
)
needs_simulated_device = pytest.mark.skipif(Version("2.9") > TORCH, reason="simulated_device is for torch 2.9 or newer")

OnExceptionCheckpoint = getattr(callbacks, "OnExceptionCheckpoint", None)
"""Lightning 1 has none."""
MAY_TRAIN_A_BATCH_MORE = Version("2.5") > LIGHTNING
"""Whether a fit that goes on from where a signal has ended one may train a batch more than its epochs have."""
KEEPS_WHAT_IT_GOES_ON_FROM = hasattr(ModelCheckpoint, "_should_remove_checkpoint")
"""Whether a ModelCheckpoint leaves the file that its run goes on from where it is."""
HAS_VERSION_COUNTER = "enable_version_counter" in signature(ModelCheckpoint).parameters
"""Whether a ModelCheckpoint can write to one path again and again."""
