"""What all logged steps of a fit say together: what is published, on each process, and after a resume."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, images, loader, trainer
from support.over_steps import Deep, diagnosed, fitted
from support.processes import run_processes
from support.recorded import data_on_page, on_page, scalars
from support.versions import needs_steps_that_go_on
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.callbacks.over_steps import OverSteps
from lwcallbacks.testing.same import difference

DEAD = [("net.3", "zero", 0), ("net.1", "zero", 0)]


def found(callback: Any) -> list[tuple[str, str, int]]:
    return [(one.layer, one.illness, one.since) for one in callback.results["diagnosis"]]


def test_an_illness_is_published_in_words(tmp_path: Path) -> None:
    """At the end of each epoch and of fit: a table, and pictures of norms and update ratios."""
    callback, _ = fitted(str(tmp_path))
    assert found(callback) == DEAD
    steps = on_page(tmp_path)
    for key in ("diagnosis", "norm_by_step", "update_ratio_by_step"):
        assert steps[f"gradients/{key}"] == [9, 19, 23]
    table = data_on_page(tmp_path, "gradients/diagnosis")[23]
    assert table["columns"] == ["layer", "what", "since step", "how much"]
    assert table["rows"][0] == ["net.3", "zero", 0, "gradient zero in 100 % of the elements"]


UNITS = [("net.4", "dead units", 0)]


def test_dead_units_are_published_by_their_module(tmp_path: Path) -> None:
    """The ReLU, which has no parameter, is named: of all batches that were accumulated, 8 samples each."""
    callback = lw.GradientHistogram(1, activations=True)
    fitted(str(tmp_path), callback, num_dead=7, accumulate_grad_batches=5, max_epochs=12)
    assert found(callback) == UNITS
    table = data_on_page(tmp_path, "gradients/diagnosis")[23]
    assert table["rows"] == [["net.4", "dead units", 0, "dead units: 44 % give nothing for any sample"]]


def test_units_of_a_few_samples_are_not_called_dead(tmp_path: Path) -> None:
    """Of 8 samples nobody can tell."""
    callback, _ = fitted(str(tmp_path), lw.GradientHistogram(1, activations=True), num_dead=7)
    assert found(callback) == []


def test_a_healthy_network_says_so(tmp_path: Path) -> None:
    """In words as well, for an empty table says nothing."""
    callback = lw.GradientHistogram(1)
    trainer(callbacks=[callback], max_epochs=3, default_root_dir=tmp_path).fit(Deep(is_dead=False), loader())
    assert found(callback) == []
    [*_, last] = data_on_page(tmp_path, "gradients/diagnosis").values()
    assert last["rows"] == [["", "no layer looks ill", None, ""]]


@pytest.mark.parametrize("every", [1, 6])
@pytest.mark.parametrize("depth", [None, 2])
def test_a_learning_rate_that_is_too_high_is_named(tmp_path: Path, every: int, depth: int | None) -> None:
    """By what it did to the weights, though the first logged step comes after: beside it, all gradients are zero."""

    class Hasty(Deep):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e5)

    callback = lw.GradientHistogram(every, depth=depth)
    trainer(callbacks=[callback], max_epochs=8, default_root_dir=tmp_path).fit(Hasty(is_dead=False), loader())
    worst = callback.results["diagnosis"][0]
    assert worst.illness == "weights grow"
    assert worst.since <= every
    assert worst.how_much.endswith("times their size at the start: the learning rate is too high")


def test_nothing_new_is_not_published_again(tmp_path: Path) -> None:
    """An epoch without a logged step has no picture, and the end of fit none beside that of its last epoch."""
    callback = lw.GradientHistogram(7)
    trainer(callbacks=[callback], max_epochs=3, default_root_dir=tmp_path).fit(Deep(), loader())
    assert on_page(tmp_path)["gradients/norm_by_step"] == [9, 14]


def test_each_process_finds_the_same(tmp_path: Path) -> None:
    """With DDP and without any talk between processes; as many as one process finds on the same gradients."""
    [(ours, state), (theirs, other)] = run_processes(2, diagnosed, str(tmp_path))
    assert [(one.layer, one.illness, one.since) for one in ours] == [*DEAD, *UNITS]
    assert ours == theirs
    assert difference(state, other) is None


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch")
@needs_steps_that_go_on
def test_it_goes_on_after_a_resume_with_the_same_bits(tmp_path: Path) -> None:
    """What is found and what is saved are those of a fit that was not stopped."""

    def fit(name: str, **how: Any) -> Any:
        callback = lw.GradientHistogram(1, activations=True)
        return fitted(str(tmp_path / name), callback, accumulate_grad_batches=5, max_epochs=12, **how)[0]

    whole = fit("whole")
    saves = ModelCheckpoint(str(tmp_path / "saved"), save_last=True, every_n_train_steps=13)
    fit("first", max_steps=13, more=[saves], enable_checkpointing=True)
    [path] = (tmp_path / "saved").glob("last*.ckpt")
    second = fit("second", ckpt_path=str(path))
    assert found(second) == found(whole) == [*DEAD, *UNITS]
    assert difference(second.state_dict(), whole.state_dict()) is None


def test_a_checkpoint_within_an_epoch_has_all_steps_so_far(tmp_path: Path) -> None:
    """Those that the background has not drawn yet, too; as plain tensors and numbers."""
    saves = ModelCheckpoint(str(tmp_path), save_last=True, every_n_train_steps=13)
    callback, _ = fitted(str(tmp_path), max_steps=13, more=[saves], enable_checkpointing=True)
    [path] = tmp_path.glob("last*.ckpt")
    saved = torch.load(path, weights_only=True)["callbacks"][callback.state_key]["over_steps"]
    assert saved["norms"]["count"] == saved["diagnosis"]["num_steps"] == 13
    assert saved["norms"]["steps"].tolist() == list(range(13))


def test_copies_and_pickles_keep_what_was_found(tmp_path: Path) -> None:
    """As they keep the counts of steps."""
    callback, _ = fitted(str(tmp_path))
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert difference(other.state_dict(), callback.state_dict()) is None
        assert found(other) == DEAD


def test_another_fit_begins_again(tmp_path: Path) -> None:
    """What one network had is not said of the next."""
    callback, _ = fitted(str(tmp_path))
    trainer(callbacks=[callback], max_epochs=1, default_root_dir=tmp_path / "b").fit(Deep(is_dead=False), loader())
    assert found(callback) == []
    assert callback.state_dict()["over_steps"]["norms"]["count"] == 5


class Spiking(Classifier):
    """Its loss is 100 times as large at one batch; nothing is learnt, so that the others are alike."""

    at, factor = 50, 100.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * (self.factor if batch_idx == self.at else 1.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_stands_out_is_marked(tmp_path: Path, accumulate: int) -> None:
    """At the next logged step as a number, and with its own step, its loss and its score in a table."""
    callback = lw.GradientHistogram(4)
    t = trainer(callbacks=[callback], max_epochs=1, default_root_dir=tmp_path, accumulate_grad_batches=accumulate)
    t.fit(Spiking(), loader(8 * 60))
    [spike] = callback.results["loss_spikes"]
    assert spike.step == 50 // accumulate
    assert spike.loss / spike.usual == pytest.approx(100, rel=0.3)
    logged = {row["step"]: row["gradients/loss_spike"] for row in scalars(tmp_path) if "gradients/loss_spike" in row}
    assert list(logged.values()) == [pytest.approx(spike.score)]
    assert spike.step <= next(iter(logged)) <= spike.step + 4
    [rows] = [table["rows"] for table in data_on_page(tmp_path, "gradients/loss_spikes").values()]
    assert rows == [[spike.step, spike.loss, spike.usual, spike.score]]


def test_a_spike_is_not_logged_before_its_step() -> None:
    """A step that is drawn late is drawn behind losses of later ones, which wait for the next."""
    over = OverSteps(by_module=False, in_float16=False)
    for step in range(60):
        over.hear(step, torch.tensor(100.0 if step == 50 else 1.0 + step % 3 / 10))
    over.send()
    over.settle()
    assert over.scores("gradients", 47) == {}
    assert list(over.scores("gradients", 51)) == ["gradients/loss_spike"]
    assert over.scores("gradients", 59) == {}


@pytest.mark.filterwarnings("ignore:lwcallbacks. GradientHistogram.*the loss is nan")
def test_a_loss_that_is_not_finite_is_listed(tmp_path: Path) -> None:
    """Once; it has no score that could be logged."""
    module = Spiking()
    module.at, module.factor = 5, math.nan
    callback = lw.GradientHistogram(1)
    trainer(callbacks=[callback], max_epochs=1, default_root_dir=tmp_path).fit(module, loader(80))
    assert [(spike.step, math.isnan(spike.loss), spike.score) for spike in callback.results["loss_spikes"]] == [
        (5, True, math.inf)
    ]
    assert not any("gradients/loss_spike" in row for row in scalars(tmp_path))
    assert {one.illness for one in callback.results["diagnosis"]} == {"not finite"}


class Manual(Classifier):
    """Two optimizers, and a step that returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(64, 5)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer, part in zip(self.optimizers(), (self.net, self.other), strict=True):
            loss = nn.functional.cross_entropy(part(batch[0].flatten(1)), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net, self.other)]


def test_several_optimizers_share_the_pictures(tmp_path: Path) -> None:
    """A column for each step, and all their layers."""
    callback = lw.GradientHistogram(1)
    trainer(callbacks=[callback], max_epochs=1, default_root_dir=tmp_path).fit(Manual(), loader())
    state = callback.state_dict()["over_steps"]
    assert state["norms"]["layers"] == ["net.1.weight", "net.1.bias", "other.weight", "other.bias"]
    assert not torch.isnan(state["norms"]["cells"]).any()
    assert found(callback) == []
    assert callback.results["loss_spikes"] == []


class Convolutions(Classifier):
    """With batch norm behind convolutions that have a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip


class Words(Classifier):
    """A small transformer over 64 tokens out of many, of which most never come; positions and a token begin at zero."""

    def __init__(self) -> None:
        super().__init__()
        del self.net
        self.embed = nn.Embedding(1000, 16)
        self.place = nn.Parameter(torch.zeros(64, 16))
        self.extra = nn.Parameter(torch.zeros(16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = (x.flatten(1) * 50).long()
        return self.head(self.encoder(self.embed(tokens) + self.place + self.extra).mean(1))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


@pytest.mark.parametrize("make", [lambda: Deep(is_dead=False), Convolutions, Words], ids=["mlp", "cnn", "transformer"])
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_networks_are_called_healthy(tmp_path: Path, make: Any, seed: int) -> None:
    """On targets that can be learnt from the inputs, whatever the architecture."""
    x, _ = images(160, seed=seed).tensors
    y = (x.flatten(1)[:, :5] + 0.1 * x.mean((1, 2, 3))[:, None]).argmax(1)
    callback = lw.GradientHistogram(2, histograms=False, activations=True)
    torch.manual_seed(seed)
    trainer(callbacks=[callback], max_steps=80, max_epochs=-1, default_root_dir=tmp_path).fit(
        make(), DataLoader(TensorDataset(x, y), 32, shuffle=True)
    )
    assert found(callback) == []
    assert callback.results["loss_spikes"] == []
