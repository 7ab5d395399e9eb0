"""Several replicas give what one device gives, and code for the DataParallel of Lightning 1 runs again."""

from __future__ import annotations

import threading
import time
from typing import Any
from unittest.mock import create_autospec

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_utilities.core.rank_zero import WarningCache
from support.devices import run_torch_parts_on_cpu
from support.modules import CLASSES, Classifier, loader, trainer
from support.versions import PRECISIONS
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.parallel import strategy as strategy_module
from lwcallbacks.parallel.replicas import TorchReplicas
from lwcallbacks.testing.same import difference
from lwcallbacks.writers.publisher import Publisher

BF16 = PRECISIONS.get("bf16-mixed", "bf16-mixed")


@pytest.fixture(params=["threads of ours", "parts of torch"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once as on the CPU, once with what runs on CUDA, on the CPU in disguise."""
    if request.param == "parts of torch":
        run_torch_parts_on_cpu(monkeypatch)
        monkeypatch.setattr(strategy_module, "CpuReplicas", lambda: TorchReplicas([torch.device("cpu")] * 8))
    return str(request.param)


def fit(module: pl.LightningModule, replicas: int, batch_size: int = 7, n: int = 20, **kwargs: Any) -> pl.Trainer:
    """One epoch of training and validation; 0 replicas are Lightning's own strategy."""
    strategy = lw.DataParallelStrategy(replicas) if replicas else "auto"
    run = trainer(strategy=strategy, **kwargs)
    run.fit(module, loader(n, batch_size), loader(n, batch_size))
    return run


class Exact(Classifier):
    """Weights, and images of `exact_loader`, are small multiples of 1/8: sums have no rounding, in any order."""

    def __init__(self, kind: str = "calls self(x)") -> None:
        super().__init__()
        self.kind = kind
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            self.net[1].weight.copy_(torch.randint(-8, 9, (CLASSES, 64), generator=generator) / 8)
            self.net[1].bias.zero_()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        if self.kind == "calls self(x)":
            self(x + 1)
            loss = cross_entropy(self(x), y)
            self(2 * x)
            return loss
        if self.kind == "returns a dict":
            scores = self.net(x)
            return {"loss": cross_entropy(scores, y), "preds": scores, "targets": y}
        scores = self.net(x).T  # as code for Lightning 1 did: everything to training_step_end
        return {"loss": cross_entropy(scores.T, y), "scores": scores.T, "labels": y}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class ExactWithEnds(Exact):
    def training_step_end(self, outputs: Any) -> Any:
        return {"loss": outputs["loss"].mean(), "preds": outputs["scores"], "targets": outputs["labels"]}

    validation_step_end = training_step_end


def exact_loader(batch_size: int, n: int = 23) -> DataLoader:
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(0, 9, (n, 1, 8, 8), generator=generator) / 8
    return DataLoader(TensorDataset(x, torch.randint(CLASSES, (n,), generator=generator)), batch_size)


class Steps(pl.Callback):
    """What was logged at each training step."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.seen.append({k: v.clone() for k, v in trainer.callback_metrics.items() if k.endswith("_step")})


def everything(module: pl.LightningModule, replicas: int, batch_size: int) -> dict[str, Any]:
    """Step and epoch values of the callbacks."""
    stages = ("train", "val")
    matrix, steps = lw.ConfusionMatrix(CLASSES, stages=stages), Steps()
    mosaic, grid = lw.ImageMosaic(6, stages=stages), lw.PredictionGrid(6, stages=stages)
    metrics = lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")})
    gradients = lw.GradientHistogram(1)
    callbacks = [matrix, mosaic, grid, metrics, gradients, steps]
    strategy = lw.DataParallelStrategy(replicas) if replicas else "auto"
    run = trainer(strategy=strategy, callbacks=callbacks, log_every_n_steps=1)
    run.fit(module, exact_loader(batch_size), exact_loader(batch_size))
    chosen = [(c.ids, c.payload) for callback in (mosaic, grid) for c in callback.results.values()]
    return {"matrix": matrix.results, "chosen": chosen, "metrics": metrics.results, "steps": steps.seen}


@pytest.mark.parametrize("kind", ["calls self(x)", "returns a dict", "has step ends"])
def test_callbacks_have_the_bits_of_one_device(kind: str, parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices, chosen samples with images and scores, and metrics, of every step and of the epoch.

    Batches of 7 in 3 replicas are 3 + 3 + 1, those of 2 leave replicas without work; the last batch is smaller.
    """
    monkeypatch.setattr(
        Publisher, "publish", lambda *args, **kwargs: None
    )  # values only: drawing takes most of the time
    module = ExactWithEnds if kind == "has step ends" else Exact
    ours = parts == "threads of ours"
    for batch_size in (2, 7, 16) if ours else (7,):
        expected = everything(Exact("returns a dict"), 0, batch_size)
        assert int(expected["matrix"]["val"].sum()) == 23
        assert len(expected["steps"]) == -(-23 // batch_size)
        assert expected["steps"][0].keys() == {"train/acc_step"}
        for replicas in (1, 2, 3, 8) if ours else (2, 3):
            assert difference(everything(module(kind), replicas, batch_size), expected) is None


class Penalised(Classifier):
    """With batches that hold more than images, a penalty on all weights, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, CLASSES, batch_first=True)
        self.twice = nn.Sequential(nn.Linear(CLASSES, CLASSES), nn.Tanh())
        self.again = self.twice

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        hidden, _ = self.lstm(x[:, 0])
        scores = self.again(self.twice(self(x) + hidden[:, -1]))
        penalty = sum(p.square().sum() for p in self.parameters()) + self.net[1].weight.abs().sum()
        return {"loss": cross_entropy(scores, y) + 0.01 * penalty, "preds": scores}

    def on_before_optimizer_step(self, optimizer: Any, *index: int) -> None:
        self.gradients = [p.grad.clone() for p in self.parameters()]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.loss = outputs["loss"]


@given(replicas=st.integers(1, 8), n=st.integers(1, 17))
@settings(max_examples=25, deadline=None)
def test_loss_and_gradients_are_those_of_one_device(replicas: int, n: int) -> None:
    """The loss over shares of unlike size is the mean over the batch, and its gradient arrives at the module."""
    torch.manual_seed(0)
    single, module = Penalised(), Penalised()
    module.load_state_dict(single.state_dict())
    fit(single, 0, n, n, limit_val_batches=0)
    fit(module, replicas, n, n, limit_val_batches=0)
    torch.testing.assert_close(module.loss, single.loss)
    for expected, found in zip(single.gradients, module.gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    for expected, found in zip(single.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("parts")
def test_replicas_run_at_the_same_time() -> None:
    """Each waits for the others: it would wait forever if they ran in turn."""
    barrier = threading.Barrier(3)
    names = set()

    class Meets(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            names.add(threading.current_thread().name)
            barrier.wait(timeout=20)
            return super().training_step(batch, batch_idx)

    fit(Meets(), 3, 6, 6, limit_val_batches=0)
    assert len(names) == 3


class Shape(Classifier):
    """Notes what its hooks get."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return {"loss": cross_entropy(self(x), y), "size": torch.tensor(len(x)), "preds": self(x), "y": y}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.training_step(batch, batch_idx)["loss"]

    def training_step_end(self, outputs: Any) -> Any:
        self.ends.append(("train", {k: tuple(v.shape) for k, v in outputs.items()}, outputs["size"].tolist()))
        assert not getattr(self, "_is_replica", False)
        loss = cross_entropy(outputs["preds"], outputs["y"])
        self.log("whole", loss)
        return loss

    def validation_step_end(self, outputs: Any) -> None:
        self.ends.append(("val", tuple(outputs.shape)))

    def test_step_end(self, outputs: Any) -> Any:
        self.ends.append(("test", tuple(outputs.shape)))
        return outputs.sum()


@pytest.mark.usefixtures("parts")
def test_step_ends_run_once_on_the_module_with_everything() -> None:
    """In the order of the batch, with a scalar per replica; what they return goes on, and None leaves the mean."""

    class Sees(pl.Callback):
        def __init__(self) -> None:
            self.validated: list[Any] = []
            self.tested: list[Any] = []

        def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
            self.validated.append(tuple(outputs.shape))

        def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
            self.tested.append(tuple(outputs.shape))

    module, sees = Shape(), Sees()
    run = fit(module, 3, 7, 7, callbacks=[sees])
    assert run.callback_metrics["whole"] > 0
    run.test(module, loader(7, 7), verbose=False)
    shapes = {"loss": (3,), "size": (3,), "preds": (7, CLASSES), "y": (7,)}
    assert module.ends == [("train", shapes, [3, 3, 1]), ("val", (3,)), ("test", (3,))]
    assert sees.validated == sees.tested == [()]


def test_predictions_come_in_the_order_of_the_samples() -> None:
    """`predict_step` may return anything that can be gathered, strings among it."""

    class Predicts(Classifier):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return {"scores": self(batch["x"]), "names": [name.upper() for name in batch["name"]]}

    x = loader(9, 9).dataset.tensors[0]
    data = [{"x": x[i], "name": f"sample {i}"} for i in range(9)]
    module = Predicts()
    [predicted, rest] = trainer(strategy=lw.DataParallelStrategy(3)).predict(module, DataLoader(data, 7))
    assert predicted["names"] + rest["names"] == [f"SAMPLE {i}" for i in range(9)]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([predicted["scores"], rest["scores"]]), module(x))


class LogsAll(Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        valid = x[:, 0, 0, 0] < 0.5
        values = x[:, 0, 0, 0][valid]
        time.sleep(0.002 * float(x[0, 0, 0, 0]))  # so that replicas log in any order
        self.log("mean", x.mean(), on_step=True, on_epoch=True)
        self.log("valid", values.mean(), batch_size=len(values), on_step=False, on_epoch=True)
        self.log_dict({"sum": x.sum(), "number": float(len(x))}, reduce_fx="sum", on_step=False, on_epoch=True)
        self.log("max", x.max(), reduce_fx="max", on_step=False, on_epoch=True)
        self.log("min", x.min(), reduce_fx=torch.min, on_step=False, on_epoch=True)
        self.log("rough", x.mean().bfloat16(), on_step=False, on_epoch=True)
        return cross_entropy(self(x), y)


@pytest.mark.parametrize("replicas", [1, 3, 8])
@pytest.mark.usefixtures("parts")
def test_what_replicas_log_is_logged_once_for_the_batch(replicas: int) -> None:
    """Means weigh by samples, or by the batch_size that was passed; sum, minimum and maximum are what they say."""
    expected = fit(LogsAll(), 0, limit_val_batches=0).callback_metrics
    found = fit(LogsAll(), replicas, limit_val_batches=0).callback_metrics
    assert found.keys() == expected.keys()
    assert found["number"] == 20
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=5e-3 if name == "rough" else 1e-5, atol=1e-6)


def test_a_name_that_not_every_replica_logs_counts_the_samples_of_those_that_do() -> None:
    """In the epoch's mean it weighs no more than it stands for."""

    class Sometimes(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            if batch_idx == 1 or len(x) == 1:
                self.log("some", 10.0 + batch_idx, on_step=False, on_epoch=True)
            return cross_entropy(self(x), y)

    # Batches of 2 + 2 + 1 samples, of which the last one logs, and 2 + 2, which all do.
    run = fit(Sometimes(), 3, 5, 9, limit_val_batches=0)
    assert run.callback_metrics["some"].item() == pytest.approx((1 * 10 + 4 * 11) / 5)


def test_batch_norm_statistics_are_those_of_the_first_share() -> None:
    """As `nn.DataParallel` has it: the first replica shares the module's buffers, the others' are thrown away."""

    class Normed(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(self.norm(x))

    module = Normed()
    fit(module, 2, 8, 8, limit_val_batches=0)
    x = loader(8, 8).dataset.tensors[0]
    torch.testing.assert_close(module.norm.running_mean, 0.1 * x[:4].mean().reshape(1))
    assert module.norm.num_batches_tracked == 1


@pytest.mark.usefixtures("parts")
def test_replicas_run_in_the_modes_of_the_trainer() -> None:
    """Autocast and inference mode, which threads do not inherit."""
    seen: list[Any] = []

    class Looks(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            scores = self(batch[0])
            seen.append((scores.dtype, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return cross_entropy(scores.float(), batch[1])

        validation_step = training_step

    fit(Looks(), 2, 4, 4, precision=BF16, limit_val_batches=0)
    assert seen == [(torch.bfloat16, True, False)] * 2
    for inference_mode in (True, False):
        seen.clear()
        run = trainer(strategy=lw.DataParallelStrategy(2), precision=BF16, inference_mode=inference_mode)
        run.validate(Looks(), loader(4, 4), verbose=False)
        assert seen == [(torch.bfloat16, False, inference_mode)] * 2


@pytest.mark.usefixtures("parts")
def test_an_error_in_a_replica_comes_out_as_it_is() -> None:
    """The first replica's own exception, with a note on which replica it was."""

    class Fails(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if len(batch[0]) == 1:
                raise ZeroDivisionError("mine")
            return super().training_step(batch, batch_idx)

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        fit(Fails(), 3, 7, 7)
    assert str(caught.value) == "mine"
    assert caught.value.__notes__ == ["in replica 2 of 3, which had 1 of 7 samples"]


def test_forward_calls_that_differ_between_replicas_are_left_out_with_a_warning() -> None:
    """Who needs them is told by the callback; who returns the predictions is served."""

    class Differs(Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            for _ in range(len(batch[0])):
                scores = self(batch[0])
            return {"preds": scores, "targets": batch[1]} if self.returns else None

    module, matrix = Differs(), lw.ConfusionMatrix(CLASSES)
    run = trainer(strategy=lw.DataParallelStrategy(2), callbacks=[matrix])
    warning = pytest.warns(UserWarning, match=r"not seen by callbacks: replicas called it \[2, 1\] times")
    module.returns = True
    with warning:
        run.validate(module, loader(3, 3), verbose=False)
    assert int(matrix.results["val"].sum()) == 3
    module.returns = False
    # A step that returns nothing may leave out its batch alone: it costs the callback its predictions, and no run.
    with warning, pytest.warns(UserWarning, match=r"ConfusionMatrix\('val/confusion_matrix'\)") as said:
        run.validate(module, loader(3, 3), verbose=False)
    assert any("no preds found" in str(w.message) for w in said)


def test_the_trainers_devices_are_replicas_where_none_are_given() -> None:
    """On the CPU too: `devices=3`."""
    strategy = lw.DataParallelStrategy()
    run = trainer(strategy=strategy, devices=3)
    assert strategy.parallel_devices == [torch.device("cpu")] * 3
    assert (run.world_size, run.strategy.root_device) == (1, torch.device("cpu"))


def test_the_module_is_the_same_as_before() -> None:
    """No replica, no hook, no changed log is left on it; it has the same keys, and trains on one device after that."""
    module = Classifier()
    before = module.__dict__.keys(), module.state_dict().keys()
    fit(module, 3, callbacks=[lw.ConfusionMatrix(CLASSES)])
    assert (module.__dict__.keys(), module.state_dict().keys()) == before
    assert not module._forward_hooks
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in module.parameters())
    fit(module, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"replicas": 0}, "replicas=0, expected an int of at least 1"),
        ({"replicas": True}, "replicas=True, expected an int"),
        (
            {"replicas": 2, "parallel_devices": [0]},
            r"found replicas=2 and parallel_devices=\[0\], expected one of them",
        ),
        ({"parallel_devices": [0, "cpu"]}, r"the devices are \['cuda:0', 'cpu'\], expected CUDA devices that differ"),
        ({"parallel_devices": [1, 1]}, r"\['cuda:1', 'cuda:1'\], expected CUDA devices that differ"),
        ({"parallel_devices": ["mps"]}, r"\['mps'\], expected CUDA devices"),
    ],
)
def test_wrong_arguments_are_errors_at_once(arguments: dict[str, Any], message: str) -> None:
    """What was found, and what to write."""
    with pytest.raises(ValueError, match=message):
        lw.DataParallelStrategy(**arguments)


def test_manual_optimization_is_an_error_at_setup() -> None:
    """Not for validation, which steps no optimizer."""
    module = Classifier()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match=r"Classifier.automatic_optimization is False, expected True"):
        fit(module, 2)
    trainer(strategy=lw.DataParallelStrategy(2)).validate(module, loader(), verbose=False)


def test_a_step_that_is_set_on_the_module_itself_is_an_error_at_setup() -> None:
    """It belongs to the original, whatever replica it is called on. torch.compile sets it so."""
    module = Classifier()
    module.training_step = module.training_step
    with pytest.raises(ValueError, match="training_step is set on the Classifier itself"):
        fit(module, 2)


def test_a_loss_that_is_no_number_is_an_error() -> None:
    """It tells how to make one of what training_step_end gets."""

    class Forgets(Classifier):
        def training_step_end(self, outputs: Any) -> Any:
            return outputs

    with pytest.raises(ValueError, match=r"the loss has shape \(3,\).*return outputs.mean\(\)"):
        fit(Forgets(), 3)


def test_no_loss_skips_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """In all replicas; in some of them it is an error."""
    # Lightning says it once in a process, and an earlier test may have heard it.
    monkeypatch.setattr(WarningCache, "__contains__", lambda cache, message: False)

    class Skips(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if len(batch[0]) == self.skipped else super().training_step(batch, batch_idx)

    module = Skips()
    module.skipped = 2
    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        fit(module, 3, 6, 6, limit_val_batches=0)
    module.skipped = 1
    with pytest.raises(ValueError, match=r"unlike values as training_step's output: Tensor, Tensor, NoneType"):
        fit(module, 3, 7, 7)


def test_parts_of_torch_move_between_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """`scatter` and `gather` of torch get the devices in use; scalars and results on the CPU need neither."""
    meta = [torch.device("meta")] * 3
    scatter = create_autospec(nn.parallel.scatter, return_value=(torch.zeros(2), torch.zeros(1)))
    gather = create_autospec(nn.parallel.gather, return_value=torch.zeros(3))
    monkeypatch.setattr(nn.parallel, "scatter", scatter)
    monkeypatch.setattr(nn.parallel, "gather", gather)
    replicas, whole, shares = TorchReplicas(meta), torch.zeros(3), [torch.zeros(2, device="meta")] * 2
    assert replicas.split(whole, 2) == scatter.return_value
    scatter.assert_called_once_with(whole, meta[:2])
    assert [t.device for t in replicas.split(torch.tensor(1.0), 2)] == meta[:2]
    assert replicas.join(shares) is gather.return_value
    gather.assert_called_once_with(shares, meta[0])
    assert torch.equal(replicas.join([torch.ones(2), torch.zeros(1)]), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_cuda_devices_have_the_bits_of_one() -> None:
    """The same as above, where it is meant to run."""
    results = []
    for devices in (1, 2):
        matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val"))
        strategy = lw.DataParallelStrategy(parallel_devices=range(devices))
        run = trainer(strategy=strategy, accelerator="gpu", callbacks=[matrix])
        run.fit(Exact(), exact_loader(7), exact_loader(7))
        results.append(matrix.results)
    assert difference(*results) is None
