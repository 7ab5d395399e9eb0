"""Nothing is remembered in a replica: an update there is an error that says where to put it."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
import torch
from support.devices import DataParallelOnCpu, run_torch_parts_on_cpu
from support.modules import CLASSES, Classifier, images, loader, trainer
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean
from lwcallbacks.state.replica import ReplicaError, inside_replica, is_inside_replica
from lwcallbacks.testing.same import difference

ADVICE = r"in a DataParallel replica.*training_step_end.*on_train_batch_end.*callback"


class Remembers(Classifier):
    """Updates what it has in a place that the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = lw.ReductionMetric(ConfusionCounts(CLASSES))
        self.accuracy = MetricCollection({"acc": MulticlassAccuracy(CLASSES)})
        self.core = lw.StateCore({"counts": ConfusionCounts(CLASSES)})
        self.hidden = [lw.ReductionMetric(ConfusionCounts(CLASSES))]
        self.use: Any = None

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        scores = self(x)
        if self.use is not None:
            self.use(self, scores, y)
        return {"preds": scores, "targets": y}

    def validation_step_end(self, outputs: Any) -> Any:
        args = outputs["preds"], outputs["targets"]
        self.counts.update(*args)
        self.accuracy(*args)
        self.core.step_end(counts=args)
        self.hidden[0].update(*args)
        self.log("acc", self.accuracy["acc"])
        return outputs


USES = {
    "ReductionMetric.update": lambda module, *args: module.counts.update(*args),
    "ReductionMetric.forward": lambda module, *args: module.counts(*args),
    "ReductionMetric.compute": lambda module, *args: module.counts.compute(),
    "ReductionMetric.reset": lambda module, *args: module.counts.reset(),
    "StateCore.update": lambda module, *args: module.core.step_end(counts=args),
    "MulticlassAccuracy.update": lambda module, *args: module.accuracy.update(*args),
    "MulticlassAccuracy.forward": lambda module, *args: module.accuracy(*args),
    "self.log\\('acc', MulticlassAccuracy\\)": lambda module, *args: module.log("acc", module.accuracy["acc"]),
    "ReductionMetric.update ": lambda module, *args: module.hidden[0].update(*args),
    "ReductionMetric.forward ": lambda module, *args: module.hidden[0](*args),
}


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("what", USES)
def test_an_update_in_a_replica_is_an_error_and_the_original_goes_on(what: str, batch_size: int) -> None:
    """It names what was called and where it belongs; what was remembered before is not touched."""
    module = Remembers()
    run = trainer(strategy=lw.DataParallelStrategy(3), callbacks=[matrix := lw.ConfusionMatrix(CLASSES)])
    run.validate(module, loader(20, 7), verbose=False)
    expected = matrix.results["val"]
    before = {name: tensor.clone() for name, tensor in module.counts.metric_state.items()}
    module.use = USES[what]
    with pytest.raises(ReplicaError, match=f"^{what.strip()} was called {ADVICE}"):
        run.validate(module, loader(20, batch_size), verbose=False)
    for metric in (module.counts, module.hidden[0]):
        assert metric.update_count == 3
        assert all(torch.equal(metric.metric_state[name], tensor) for name, tensor in before.items())
        assert torch.equal(metric.compute(), expected)
    module.use = None
    run.validate(module, loader(20, 7), verbose=False)
    assert torch.equal(module.counts.compute(), 2 * expected)
    assert torch.equal(module.core.epoch_end()["counts"], 2 * expected)
    module.counts.reset()
    assert difference(module.counts.metric_state, lw.ReductionMetric(ConfusionCounts(CLASSES)).metric_state) is None


class Net(nn.Module):
    """A network that counts what it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
        self.counts = lw.ReductionMetric(ConfusionCounts(CLASSES))
        self.core = lw.StateCore({"mean": ExactMean()})
        self.use = ""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self._is_replica
        scores = self.layers(x)
        if self.use == "metric":
            self.counts(scores, scores.argmax(1))
        if self.use == "core":
            self.core.step_end(mean=(scores[:, 0],))
        return scores


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("use", ["metric", "core"])
def test_data_parallel_inside_a_module(replicas: int, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks see the whole batch, gradients arrive; an update in torch's own replicas is an error too."""
    run_torch_parts_on_cpu(monkeypatch)
    module = Classifier()
    module.net = DataParallelOnCpu(Net(), replicas)
    x, y = images(20).tensors
    run = trainer(callbacks=[matrix := lw.ConfusionMatrix(CLASSES)])
    weights = module.net.module.layers[1].weight.clone()
    run.fit(module, loader(20, 7), loader(20, 7))
    assert not torch.equal(module.net.module.layers[1].weight, weights)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    with torch.no_grad():
        for label, pred in zip(y, module.net.module.layers(x).argmax(1), strict=True):
            expected[label, pred] += 1
    assert torch.equal(matrix.results["val"], expected)

    module.net.module.use = use
    what = {"metric": "ReductionMetric.forward", "core": "StateCore.update"}[use]
    # torch builds the error of a replica again, and puts its text behind a traceback.
    with pytest.raises(ReplicaError, match=f"(?s){what} was called {ADVICE}"):
        module(x)
    assert module.net.module.counts.update_count == 0
    module.net.module.core.step_end(mean=(torch.ones(2),))
    assert module.net.module.core.epoch_end() == {"mean": 1.0}


def test_a_replicated_metric_refuses_without_a_thread_of_its_own() -> None:
    """As for a batch of one sample, which `nn.DataParallel` does not give to a thread."""
    metric = lw.ReductionMetric(ConfusionCounts(2))
    replica = metric._replicate_for_data_parallel()
    for call in (replica.update, replica.forward, replica, replica.compute, replica.reset):
        with pytest.raises(ReplicaError, match=ADVICE):
            call(torch.tensor([0]), torch.tensor([1]))
    metric(torch.tensor([0]), torch.tensor([1]))
    assert metric.compute().tolist() == [[0, 0], [1, 0]]


def test_a_checked_metric_copies_and_pickles() -> None:
    """It counts, and refuses, as the one it was copied from."""
    for metric in (
        lw.ReductionMetric(ExactMean()).clone(),
        pickle.loads(pickle.dumps(lw.ReductionMetric(ExactMean()))),
    ):
        metric.update(torch.tensor([1.0, 2.0]))
        with inside_replica(), pytest.raises(ReplicaError, match=ADVICE):
            metric.update(torch.tensor([5.0]))
        assert (metric.compute(), metric.update_count) == (1.5, 1)


def test_other_threads_are_not_replicas() -> None:
    """Nor is what runs after a replica in the same thread."""
    with inside_replica():
        assert is_inside_replica()
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(is_inside_replica()))
        thread.start()
        thread.join()
    assert seen == [False]
    assert not is_inside_replica()
