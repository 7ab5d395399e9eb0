"""Samples whose scores are given with them, every choice of them by a plain loop, and a run that makes all choices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from support.modules import Classifier, trainer

N, CLASSES, LABELS, K = 50, 4, 3, 6
SELECTS = ("first", "random", "hardest", "easiest", "wrong", "least_confident", "per_class")
TASKS = ("multiclass", "binary", "multilabel")
SEED = 3


def samples() -> dict[str, Tensor]:
    """Images, ids that are no positions, and scores and targets of each task; some samples have equal scores."""
    generator = torch.Generator().manual_seed(0)
    made = {
        "inputs": torch.rand(N, 1, 6, 6, generator=generator),
        "id": torch.randperm(1000, generator=generator)[:N],
        "multiclass": torch.randn(N, CLASSES, generator=generator) * 3,
        "multiclass_targets": torch.randint(0, CLASSES, (N,), generator=generator),
        "binary": torch.randn(N, generator=generator) * 3,
        "binary_targets": torch.randint(0, 2, (N,), generator=generator),
        "multilabel": torch.randn(N, LABELS, generator=generator) * 3,
        "multilabel_targets": torch.randint(0, 2, (N, LABELS), generator=generator),
    }
    for name, tensor in made.items():
        if name not in ("inputs", "id"):
            tensor[20:26] = tensor[:6]
            tensor[40:43] = tensor[:3]
    return made


def own_score(outputs: Any, batch: Any) -> Tensor:
    """What a user may choose by."""
    return batch["inputs"].mean(dim=(1, 2, 3))


class Given(Classifier):
    """A step that has nothing to say: all fields are in the batch."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return None


class Named(TensorDataset):
    """The samples, each as a dict."""

    def __init__(self) -> None:
        self.fields = samples()
        super().__init__(*self.fields.values())

    def __getitem__(self, index: int) -> Any:
        return {name: tensor[index] for name, tensor in self.fields.items()}


def grids(shuffled: bool, logits: bool | None) -> dict[tuple[str, str], lw.PredictionGrid]:
    """A grid for each task and choice; ids are given where a loader shuffles."""
    return {
        (task, select): lw.PredictionGrid(
            K,
            select=own_score if select == "score" else select,
            seed=SEED,
            task=task,
            logits=logits,
            preds=task,
            targets=f"{task}_targets",
            inputs="inputs",
            ids="id" if shuffled else None,
            name=f"{task}_{select}",
        )
        for task in TASKS
        for select in (*SELECTS, "score")
        if (task, select) != ("multilabel", "per_class")
    }


def matrix(shuffled: bool, logits: bool | None) -> lw.ConfusionMatrix:
    return lw.ConfusionMatrix(
        CLASSES, examples_per_cell=2, logits=logits, preds="multiclass", targets="multiclass_targets", inputs="inputs",
        ids="id" if shuffled else None,
    )  # fmt: skip


def chosen_in_a_run(batch_sizes: tuple[int, ...], root: str) -> list[Any]:
    """What is chosen for each batch size, shuffled or not: ids of all grids, images, and the examples of the matrix."""
    torch.manual_seed(0)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    found = []
    for batch_size in batch_sizes:
        for shuffled in (False, True):
            logits = None if batch_size == 7 else True
            made, confused = grids(shuffled, logits), matrix(shuffled, logits)
            examples: list[Any] = []
            confused.entries = lambda key, values, seen=examples: seen.append(values) or {}  # type: ignore[method-assign]
            strategy = "ddp" if world_size > 1 else "auto"
            t = trainer(
                callbacks=[*made.values(), confused], devices=world_size, strategy=strategy, default_root_dir=root
            )
            t.validate(Given(), DataLoader(Named(), batch_size, shuffle=shuffled), verbose=False)
            ids = {name: grid.results["val"].ids.tolist() for name, grid in made.items()}
            images = {name: grid.results["val"].payload[:1] for name, grid in made.items()}
            pairs = [_pairs(values, logits) for values in examples]
            found.append(((batch_size, shuffled), ids, images, pairs))
    return found


def _pairs(values: Any, logits: bool | None) -> list[tuple[int, int, int, float]]:
    from lwcallbacks.callbacks.examples import examples_of

    examples, _ = examples_of(values, CLASSES, logits)
    return [(e.true, e.predicted, e.id, e.loss) for e in examples]  # type: ignore[misc]


# -- the plain loop ----------------------------------------------------------------------------------------------------


def losses(task: str) -> list[float]:
    """By torch, in float64."""
    fields = samples()
    scores, targets = fields[task].double(), fields[f"{task}_targets"]
    if task == "multiclass":
        return torch.nn.functional.cross_entropy(scores, targets, reduction="none").tolist()
    of_each = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets.double(), reduction="none")
    return (of_each if task == "binary" else of_each.mean(1)).tolist()


def confidences(task: str) -> list[float]:
    scores = samples()[task].double()
    if task == "multiclass":
        return scores.softmax(1).amax(1).tolist()
    sure = torch.maximum(scores.sigmoid(), 1 - scores.sigmoid())
    return (sure if task == "binary" else sure.amin(1)).tolist()


def wrong(task: str) -> list[bool]:
    fields = samples()
    scores, targets = fields[task], fields[f"{task}_targets"]
    if task == "multiclass":
        return (scores.argmax(1) != targets).tolist()
    unlike = (scores > 0) != (targets == 1)
    return (unlike if task == "binary" else unlike.any(1)).tolist()


def lot(number: int) -> int:
    """The place of an id in a draw: SplitMix64 of it, without its lowest bit."""
    z = (number + (SEED + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) >> 1


def expected(task: str, select: str, ids: list[int]) -> list[int]:
    """The ids of the samples, in the order in which they are shown."""
    every = range(N)
    targets = samples()[f"{task}_targets"].tolist()

    def best(key: Callable[[int], float], among: Any = every) -> list[int]:
        return sorted(among, key=lambda i: (-key(i), ids[i]))[:K]

    match select:
        case "first":
            return sorted(ids)[:K]
        case "random":
            return sorted(ids[i] for i in best(lambda i: lot(ids[i])))
        case "hardest":
            chosen = best(lambda i: losses(task)[i])
        case "easiest":
            chosen = best(lambda i: -losses(task)[i])
        case "least_confident":
            chosen = best(lambda i: -confidences(task)[i])
        case "score":
            scores = own_score(None, samples()).tolist()
            chosen = best(lambda i: scores[i])
        case "wrong":
            chosen = best(lambda i: lot(ids[i]), [i for i in every if wrong(task)[i]])
        case "per_class":
            of_class = {c: best(lambda i: lot(ids[i]), [i for i in every if targets[i] == c]) for c in set(targets)}
            turns = [(rank, -lot(ids[i]), i) for found in of_class.values() for rank, i in enumerate(found)]
            taken = {i for _, _, i in sorted(turns)[:K]}
            chosen = [i for c in sorted(of_class) for i in of_class[c] if i in taken]
    return [ids[i] for i in chosen]


def expected_examples(ids: list[int]) -> list[tuple[int, int, int]]:
    """True and predicted class and id: the two of the largest loss of each confused pair."""
    fields, loss = samples(), losses("multiclass")
    preds, targets = fields["multiclass"].argmax(1).tolist(), fields["multiclass_targets"].tolist()
    found = []
    for pair in [(t, p) for t in range(CLASSES) for p in range(CLASSES) if t != p]:
        of_pair = [i for i in range(N) if (targets[i], preds[i]) == pair]
        of_pair.sort(key=lambda i: (-loss[i], ids[i]))
        found += [(*pair, ids[i]) for i in of_pair[:2]]
    assert not any(math.isnan(loss[i]) for i in range(N))
    return found
