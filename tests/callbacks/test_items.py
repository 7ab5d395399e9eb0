"""Metrics that take a list with an entry for each sample, as that of boxes, in ScalarMetrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.boxes import Detector, Scenes, as_lists, loader
from support.items import HAS_AP, Found, average_precision, in_a_trainer, numbers, plain
from support.modules import Classifier, trainer
from support.modules import loader as labelled
from support.processes import run_processes
from torchmetrics import Metric
from torchmetrics.regression import MeanSquaredError

import lwcallbacks as lw


@pytest.mark.parametrize("batch_size", [4, 7])
@pytest.mark.parametrize("lists", [True, False], ids=["lists", "padded tensors"])
def test_a_metric_of_boxes_gives_what_it_gives_of_all_images(lists: bool, batch_size: int, tmp_path: Path) -> None:
    """Of a list of mappings, and of padded tensors without what is no box."""
    assert in_a_trainer(21, batch_size, str(tmp_path), lists) == plain(Found(), 21, alike=not lists)


def test_two_processes_leave_out_what_the_sampler_repeats(tmp_path: Path) -> None:
    """21 images: the second process is given the first one again, and each image counts once, in its place."""
    assert run_processes(2, in_a_trainer, 21, 4, str(tmp_path)) == [plain(Found(), 21)] * 2


def test_entries_that_do_not_count_are_left_out() -> None:
    """Of lists as of tensors."""
    core, found, four = lw.StateCore({"found": Found()}), Found(), as_lists([Scenes()[i] for i in range(4)])
    core.step_end(found=(list(four[2]), list(four[1])), valid=torch.tensor([True, False, True, True]))
    found.update([four[2][i] for i in (0, 2, 3)], [four[1][i] for i in (0, 2, 3)])
    assert numbers(core.epoch_end()["found"]) == numbers(found.compute())


@pytest.mark.skipif(not HAS_AP, reason="needs torchvision and pycocotools")
def test_the_average_precision_of_torchmetrics_is_that_of_all_images(tmp_path: Path) -> None:
    """On one process and on two with unequal numbers of images, for which its own sync fails."""
    expected = {k: v for k, v in plain(average_precision(), 21).items() if not isinstance(v, list)}
    alone = in_a_trainer(21, 4, str(tmp_path), mean_ap=True)
    for found in (alone, *run_processes(2, in_a_trainer, 21, 4, str(tmp_path), True, True)):
        assert {key: found[key] for key in expected} == expected


class Returning(Detector):
    """Its step returns boxes, or a dict with them, and calls nothing."""

    def __init__(self, as_dict: bool) -> None:
        super().__init__()
        self.as_dict = as_dict

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"preds": list(batch[2]), "target": list(batch[1])} if self.as_dict else list(batch[2])


@pytest.mark.parametrize(
    ("as_dict", "how"),
    [
        (False, {}),
        (True, {}),
        (True, {"fields": ("preds", "target")}),
        (False, {"preds": lambda outputs, batch: outputs, "targets": 1}),
        (True, {"preds": "preds", "targets": "target"}),
    ],
    ids=["the list", "a dict", "further fields", "a function and an index", "keys"],
)
def test_lists_are_found_where_tensors_are(as_dict: bool, how: dict[str, Any]) -> None:
    """In what the step returns, by name or by itself, and where the user says."""
    metrics = lw.ScalarMetrics({"box": Found()}, stages=("val",), **how)
    trainer(callbacks=[metrics]).validate(Returning(as_dict), loader(8), verbose=False)
    assert {key: float(value) for key, value in metrics.results["val"].items()} == {
        f"box_{key}": value for key, value in plain(Found(), 8).items()
    }


def test_boxes_go_before_what_the_module_returned() -> None:
    """As for BoxGrid: of raw scores and of boxes that were made of them, a metric of boxes is given the boxes."""

    class Raw(Returning):
        def forward(self, images: Any, answers: Any = None) -> Any:
            return torch.zeros(len(images), 6)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self(batch[0])
            return super().validation_step(batch, batch_idx)

    metrics = lw.ScalarMetrics({"box": Found()}, stages=("val",))
    trainer(callbacks=[metrics]).validate(Raw(as_dict=False), loader(8), verbose=False)
    assert int(metrics.results["val"]["box_images"]) == 8


class Words(Metric):
    """How many words are right."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: list[str], target: list[str]) -> None:
        self.right += sum(a == b for a, b in zip(preds, target, strict=True))

    def compute(self) -> torch.Tensor:
        return self.right


class Speaking(Classifier):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        names = [str(int(y)) for y in batch[1]]
        return {"preds": names, "targets": ["0" for _ in names]}


def test_a_metric_of_texts_is_given_texts() -> None:
    """A list of strings for the batch."""
    metrics = lw.ScalarMetrics({"right": Words()}, stages=("val",))
    trainer(callbacks=[metrics]).validate(Speaking(), labelled(40, 9), verbose=False)
    assert int(metrics.results["val"]["right"]) == sum(int((y == 0).sum()) for _, y in labelled(40, 9))


def test_a_metric_of_tensors_that_finds_texts_says_what_to_write() -> None:
    """With where they are."""
    metrics = lw.ScalarMetrics({"mse": MeanSquaredError()}, stages=("val",))
    told = r"ScalarMetrics\('val/mse'\): .*preds.*\[classes\.index\(name\) for name in outputs\['preds'\]\]"
    with pytest.raises(ValueError, match=told):
        trainer(callbacks=[metrics]).validate(Speaking(), labelled(40, 9), verbose=False)
