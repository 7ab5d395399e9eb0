"""What real processes do in tests; each function runs in every process and returns something picklable."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

from .modules import CLASSES, Classifier, loader, trainer


def validate(n: int, batch_size: int, root: str) -> dict[str, Any]:
    """Validate fixed weights over n samples under DDP; what the callbacks hold on this process."""
    torch.manual_seed(0)
    callbacks = [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}),
        matrix := lw.ConfusionMatrix(CLASSES),
        mosaic := lw.ImageMosaic(num_samples=4),
        grid := lw.PredictionGrid(num_samples=4),
    ]
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=callbacks, devices=world_size, strategy=strategy, default_root_dir=root)
    [logged] = t.validate(Classifier(), loader(n, batch_size), verbose=False)
    chosen = mosaic.results["val"]
    return {
        "matrix": matrix.results["val"],
        "acc": logged["val/acc"],
        "ids": chosen.ids,
        "pixels": chosen.payload[0] if chosen.payload else None,
        "grid": grid.results["val"].ids,
    }


def collectives_of_sync(states: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Sync that many states, and list the collectives that this process took part in."""
    from lwcallbacks.reductions import ConfusionCounts, ExactMean, Extrema, RandomSample

    dist.init_process_group("gloo")
    calls: list[tuple[str, str, tuple[int, ...]]] = []
    originals = {name: getattr(dist, name) for name in ("all_reduce", "all_gather", "send", "recv", "barrier")}

    def recorded(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            tensor = args[0][0] if isinstance(args[0], list) else args[0]
            calls.append((name, str(tensor.dtype), tuple(tensor.shape)))
            return originals[name](*args, **kwargs)

        return call

    for name in originals:
        setattr(dist, name, recorded(name))
    rank = dist.get_rank()
    core = lw.StateCore({"sample": RandomSample(3)})
    for i in range(states):
        core.register(f"c{i}", ConfusionCounts(3))
        core.register(f"m{i}", ExactMean())
        core.register(f"e{i}", Extrema())
    if rank:  # process 0 sees no data at all
        core.update({"sample": (torch.arange(rank, 9, 3), torch.rand(3)[: len(torch.arange(rank, 9, 3))])})
    core.epoch_end()
    dist.destroy_process_group()
    return calls


def one_fails() -> str:
    """The update of process 1 fails; what every process is told at the next sync."""
    from lwcallbacks.reductions import ExactMean
    from lwcallbacks.state.core import UpdateError

    dist.init_process_group("gloo")
    core = lw.StateCore({"mean": ExactMean()})
    core.step_end(mean=(torch.ones(3),))
    if dist.get_rank() == 1:
        core.fail(ValueError("labels of another shape"))
    try:
        core.epoch_end()
    except UpdateError as error:
        return str(error)
    finally:
        dist.destroy_process_group()
    return "no error"
