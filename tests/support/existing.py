"""The small programs of docs/existing-projects.md, run as they stand, and the same numbers from a plain loop.

found = ran("graphs", root, devices=1)
found["val"], found["truth"]                # the confusion matrix, and that of a loop over all rows
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.readers import read_folder

from .documented import code

PAGE = "existing-projects.md"
DEVICES = 'accelerator="cpu", devices=1'
QUIET = "logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False"
Space = dict[str, Any]


def executed(name: str, root: Path, devices: int, leave_out: str = "") -> tuple[Space, list[str]]:
    """The names that a program has at its end, and what lwcallbacks warned of; without the words `leave_out`."""
    written = code(PAGE, f"{name}.py")
    assert DEVICES in written
    assert leave_out in written
    strategy = f'accelerator="cpu", devices={devices}, strategy="{"ddp" if devices > 1 else "auto"}"'
    written = written.replace(DEVICES, f"{strategy}, {QUIET}, default_root_dir={str(root)!r}").replace(leave_out, "")
    space: Space = {"__name__": name}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(written, f"{PAGE}: {name}", "exec"), space)
    told = [str(w.message) for w in caught if "lwcallbacks" in str(w.message)]
    return space, told


def table(pairs: Iterable[tuple[Tensor, Tensor]], classes: int) -> Tensor:
    """Count one by one: int64 [C, C], rows are the truth."""
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for pred, target in pairs:
        for p, t in zip(pred.flatten().tolist(), target.flatten().tolist(), strict=True):
            counts[int(t), int(p)] += 1
    return counts


def _binary_segmentation(space: Space) -> dict[str, Any]:
    module, data = space["module"], space["val_data"]
    truth = table(((module(s["image"][None]) > 0, s["mask"]) for s in data_of(data)), 2)
    return {"truth": truth, "iou": truth[1, 1] / (truth.sum() - truth[0, 0])}


def _token_classification(space: Space) -> dict[str, Any]:
    module = space["module"]
    labelled = [(module.model(s["input_ids"][None], s["labels"][None]), s["labels"]) for s in space["val_data"]]
    train = [space["sentence"](i)["labels"] for i in range(40)]
    return {
        "truth": table(((output.logits.argmax(-1), labels) for output, labels in labelled), 3),
        "labels": torch.cat(train).bincount(minlength=3),
    }


def _graphs(space: Space) -> dict[str, Any]:
    module = space["module"]
    truth = table(((module.model(g.x, g.edge_index).argmax(1), g.y) for g in space["val_data"]), 2)
    return {"truth": truth, "labels": torch.cat([space["ring"](i).y for i in range(40)]).bincount(minlength=2)}


def _several_crops(space: Space) -> dict[str, Any]:
    module, data = space["module"], space["val_data"]
    samples = [data[i] for i in range(len(data))]
    truth = table(((module(crops).argmax(1), labels) for crops, labels, _ in samples), 3)
    return {"truth": truth, "acc": truth.trace() / truth.sum()}


def _gan(space: Space) -> dict[str, Any]:
    module, (images, z) = space["module"], space["val_data"].tensors
    # In the program's batches: a float of one sample may have other bits in another batch.
    real = torch.cat([module.discriminator(part)[:, 0] for part in images.split(4)])
    fake = torch.cat([module.discriminator(module.generator(part))[:, 0] for part in z.split(4)])
    exact = sum(map(Fraction, fake.tolist())) / len(fake)
    return {"real_found": (real > 0).sum() / len(real), "fake_score": torch.tensor(float(exact))}


def _returns_nothing(space: Space) -> dict[str, Any]:
    module, data = space["module"], space["val_data"]
    pairs = ((module.shared_step({"features": s["features"][None]}).argmax(1), s["species"]) for s in data_of(data))
    truth = table(pairs, 3)
    labels = torch.stack([s["species"] for s in data_of(space["Readings"](40))]).bincount(minlength=3)
    return {"truth": truth, "acc": truth.trace() / truth.sum(), "labels": labels}


def data_of(data: Any) -> list[Any]:
    return [data[i] for i in range(len(data))]


LOOPS: dict[str, Callable[[Space], dict[str, Any]]] = {
    "binary_segmentation": _binary_segmentation,
    "token_classification": _token_classification,
    "graphs": _graphs,
    "several_crops": _several_crops,
    "gan": _gan,
    "returns_nothing": _returns_nothing,
}


def ran(name: str, root: Path, devices: int = 1, leave_out: str = "") -> dict[str, Any]:
    """What a program's callbacks have, what a plain loop has, the keys in the run's folder, and the warnings.

    Returns:
        "results": of each callback; "logged": what can be monitored; "said": warnings; "keys": of media, on process 0;
        and what the program's loop gives.
    """
    space, said = executed(name, root, devices, leave_out)
    space["module"].eval()
    with torch.no_grad():
        expected = LOOPS[name](space)
    folders = [path.parent.parent for path in root.glob("**/media/manifest.js")]
    return {
        # Lightning 1 appends a callback of its own to the list.
        "results": [plain(c.results) for c in space["callbacks"] if hasattr(c, "results")],
        "logged": {key: float(value) for key, value in space["trainer"].callback_metrics.items()},
        "said": said,
        "keys": set(read_folder(folders[0]).steps()) if folders and space["trainer"].is_global_zero else set(),
        **expected,
    }


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """Of a choice, what can be sent to another process: ids and the shapes of what is shown."""
    return {
        stage: {"ids": value.ids.tolist(), "shapes": [tuple(t.shape) for t in value.payload]}
        if hasattr(value, "payload")
        else value
        for stage, value in results.items()
    }
