"""The outputs of modules in a logged step, worked out by hand: in every way of training, and of calling a module."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import pytorch_lightning.strategies
import torch
from support import outputs
from support.modules import trainer
from support.processes import run_processes
from support.recorded import scalars
from support.versions import LIGHTNING_1, needs_fsdp2
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.readers import read_folder
from lwcallbacks.testing.same import difference

BATCHES = torch.tensor([[1.0, -2.0], [0.0, 3.0], [-4.0, 5.0], [6.0, -7.0], [8.0, 0.0], [-1.0, -1.0], [2.0, 2.0]])
"""One sample each."""


class Plain(pl.LightningModule):
    """`relu` gives what is positive of a batch."""

    def __init__(self, optimizer: Any = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.relu = nn.ReLU()
        self.make = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.0))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self.relu(batch) * self.w).sum()

    def configure_optimizers(self) -> Any:
        return self.make(self.parameters())


def fitted(module: pl.LightningModule, root: Path, data: Any = BATCHES, **kwargs: Any) -> Any:
    """One fit, and what the page has of all outputs: rows of its table by step."""
    options = {"every_n_train_steps": 1, "activations": True, **kwargs.pop("options", {})}
    callback = lw.GradientHistogram(**options)
    trainer(callbacks=[callback, *kwargs.pop("more", [])], default_root_dir=root, **kwargs).fit(
        module, data if isinstance(data, DataLoader) else DataLoader(data)
    )
    return callback, tables(root)


def tables(root: Path) -> dict[int, dict[str, dict[str, Any]]]:
    """By step and module a row of the table, by column."""
    [file] = root.rglob("scalars.js")
    found = read_folder(file.parent).data("gradients/modules")
    return {
        step: {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}
        for step, table in found.items()
    }


def by_hand(*batches: torch.Tensor) -> dict[str, Any]:
    x = torch.cat([torch.relu(batch) for batch in batches])
    dead = (x.reshape(-1, 2) == 0).all(0).float().mean()
    return {"calls": len(batches), "elements": x.numel(), "mean": float(x.double().mean()), "max |a|": float(x.max()),
            "zero": float((x == 0).double().mean()), "dead units": float(dead), "units": 2}  # fmt: skip


def of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in by_hand(BATCHES)}


def test_each_step_of_one_batch(tmp_path: Path) -> None:
    """Numbers, table and results are of the step's own batch."""
    callback, found = fitted(Plain(), tmp_path)
    assert {step: of(rows["relu"]) for step, rows in found.items()} == {i: by_hand(b) for i, b in enumerate(BATCHES)}
    rows = {int(row["step"]): row for row in scalars(tmp_path) if "gradients/activation_mean/relu" in row}
    for step, batch in enumerate(BATCHES):
        expected = by_hand(batch)
        kinds = {"activation_mean": "mean", "activation_max": "max |a|", "activation_zero": "zero",
                 "dead_units": "dead units"}  # fmt: skip
        assert {k: rows[step][f"gradients/{k}/relu"] for k in kinds} == {k: expected[v] for k, v in kinds.items()}
    last = callback.results["train"]["activations/relu"]
    assert (last.num_finite, last.quantile(0.5)) == (2, pytest.approx(2.0, rel=0.06))


def test_every_batch_that_was_accumulated(tmp_path: Path) -> None:
    """Three batches a step, over seven; of every second step, and of the batch of one at the end."""
    _, found = fitted(Plain(), tmp_path, accumulate_grad_batches=3, options={"every_n_train_steps": 1})
    groups = [BATCHES[:3], BATCHES[3:6], BATCHES[6:]]
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(*(b[None] for b in group)) for group in groups]
    _, found = fitted(Plain(), tmp_path / "second", accumulate_grad_batches=3, options={"every_n_train_steps": 2})
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(*(b[None] for b in groups[1]))]


class Looks(Plain):
    """Counts the hooks that are on its modules in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.hooks.append(sum(len(part._forward_hooks) for part in self.modules()))
        return super().training_step(batch, batch_idx)


def test_hooks_are_there_in_a_logged_step_alone(tmp_path: Path) -> None:
    """Also with accumulation: in each batch of it."""
    module = Looks()
    fitted(module, tmp_path / "a", options={"every_n_train_steps": 3})
    assert module.hooks == [0, 0, 1, 0, 0, 1, 0]
    module = Looks()
    fitted(module, tmp_path / "b", options={"every_n_train_steps": 2}, accumulate_grad_batches=2)
    assert module.hooks == [0, 0, 1, 1, 0, 0, 1]
    module = Looks()
    trainer(callbacks=[lw.GradientHistogram(1)]).fit(module, DataLoader(BATCHES))
    assert module.hooks == [0] * 7


@pytest.mark.filterwarnings("ignore:lwcallbacks. the callbacks cost")
def test_an_overhead_above_its_limit_watches_no_module(tmp_path: Path) -> None:
    """Not even in a logged step, once the first is drawn."""
    module = Looks()
    _, found = fitted(module, tmp_path, options={"max_overhead": 1e-9})
    assert module.hooks == [1] + [0] * 6
    assert list(found) == [0]


class Repeats(Plain):
    """Runs its forward pass again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        hidden = checkpoint(self.relu, batch * self.w, use_reentrant=self.reentrant)
        return (hidden * self.w).sum()


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_checkpointed_counts_once(tmp_path: Path, reentrant: bool) -> None:
    """As without checkpoints."""
    _, found = fitted(Repeats(reentrant), tmp_path)
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(b) for b in BATCHES]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_lbfgs_counts_its_last_closure(tmp_path: Path, accumulated: int) -> None:
    """Of the four in which the last batch of a step is evaluated, and what was accumulated before that."""
    seen: list[torch.Tensor] = []
    last: list[torch.Tensor] = []

    class Curved(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            y = self.relu(self.w - batch)
            seen.append(y.detach().clone())
            return (y**4).sum()

        def on_train_batch_end(self, *args: Any) -> None:
            last.append(seen[-1])

    module = Curved(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4))
    _, found = fitted(module, tmp_path, accumulate_grad_batches=accumulated)
    assert len(seen) > len(last) == 7
    groups = [last[i : i + accumulated] for i in range(0, 7, accumulated)]
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(*group) for group in groups]


class Pair(pl.LightningModule):
    """A generator steps once, and a discriminator twice in a batch, which is called five times."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.g, self.d = nn.Linear(2, 2), nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        g, d = self.optimizers()
        for _ in range(2):
            loss = (self.d(batch) - self.d(self.g(batch).detach())).sum()
            d.zero_grad()
            self.manual_backward(loss)
            d.step()
        g.zero_grad()
        self.manual_backward(self.d(self.g(batch)).sum())
        g.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.g, self.d)]


@pytest.mark.parametrize(("every", "steps"), [(1, range(7)), (2, range(1, 7)), (4, (1, 3, 5))])
def test_two_optimizers_share_a_batch(tmp_path: Path, every: int, steps: Any) -> None:
    """All calls of the batch count, once, whichever optimizer's step is logged: also the second of two in a batch.

    The first batch of all is not known to have two.
    """
    _, found = fitted(Pair(), tmp_path, options={"every_n_train_steps": every})
    calls = {step: {name: row["calls"] for name, row in rows.items()} for step, rows in found.items() if rows}
    assert list(calls.values()) == [{"g": 3, "d": 5}] * len(steps)
    keys: set[tuple[float, str]] = set()
    for row in scalars(tmp_path):
        own = {(row["step"], key) for key in row if "activation" in key}
        assert not own & keys, "a key is written twice"
        keys |= own


class Now(Plain):
    """Steps when it likes."""

    def __init__(self, times: list[int]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.times = times

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.manual_backward(super().training_step(batch, batch_idx))
        for _ in range(self.times[batch_idx]):
            self.optimizers().step()


@pytest.mark.parametrize(("times", "batches"), [([1, 0, 1, 1, 1, 0, 1], [[1, 2], [4]]), ([2, 1, 1, 0, 0, 2, 1], [[2]])])
def test_steps_that_come_as_they_like(tmp_path: Path, times: list[int], batches: list[list[int]]) -> None:
    """A batch that turned out to be of a step that is not logged does not count with the next.

    Of a logged step that comes in one batch with another, as none before did, there is nothing.
    """
    _, found = fitted(Now(times), tmp_path, options={"every_n_train_steps": 2})
    expected = [by_hand(*(BATCHES[i][None] for i in of_step)) for of_step in batches]
    assert [of(rows["relu"]) for rows in found.values()] == expected


class Shapes(Plain):
    """Modules that give all kinds of things, in all kinds of ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(1, 3, 1), nn.ReLU(inplace=True))
        self.line = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.0), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(1, 5, 1), nn.ReLU())
        self.lstm = nn.LSTM(2, 6, batch_first=True)
        self.words = nn.Embedding(4, 2)
        self.loss = nn.MSELoss()
        self.idle = nn.Sequential(nn.Identity(), nn.Flatten())
        self.never = nn.ReLU()
        self.again = self.line[2]
        self.odd = Odd()
        for part in (self.conv[0], self.line[0], self.one[0]):
            with torch.no_grad():
                part.weight.fill_(1.0)
                part.bias.fill_(0.0)
                part.bias[0] = -100.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x = batch[:, None].abs() + 1  # [1, 1, 2]
        out = self.conv(x).sum() + self.line(x.expand(1, 7, 2)).sum() + self.one(x).sum()
        out = out + self.lstm(x)[0].sum() + self.words(torch.tensor([0, 3])).sum() + self.odd(x)["a"][0].sum()
        return out + self.loss(self.idle(x), self.idle(x)) + self.again(x - 10).sum() + super().training_step(batch, 0)


class Odd(nn.Module):
    """Its output is nested."""

    def forward(self, x: torch.Tensor) -> Any:
        return {"n": torch.tensor([1, 2]), "a": (x.half(), x.double())}


def test_outputs_of_all_kinds(tmp_path: Path) -> None:
    """Of nested ones the first tensor of floats; units are channels or features, as the layer before says."""
    _, found = fitted(Shapes(), tmp_path, BATCHES[:1])
    rows = found[0]
    assert rows.keys() == {"relu", "conv.0", "conv.1", "line.0", "line.1", "line.2", "one.0", "one.1", "lstm", "words",
                           "odd"}  # fmt: skip
    sizes = {name: (row["calls"], row["elements"]) for name, row in rows.items()}
    assert sizes == {"relu": (1, 2), "conv.0": (1, 6), "conv.1": (1, 6), "line.0": (1, 28), "line.1": (1, 28),
                     "line.2": (2, 30), "one.0": (1, 10), "one.1": (1, 10), "lstm": (1, 6), "words": (1, 4),
                     "odd": (1, 2)}  # fmt: skip
    dead = {name: (row["dead units"], row["units"]) for name, row in rows.items() if row["units"]}
    assert dead == {"relu": (0.5, 2), "conv.1": (1 / 3, 3), "line.2": (0.25, 4), "one.1": (0.2, 5)}
    assert rows["conv.0"]["max |a|"] == 98.0, "before it is overwritten"


def test_units_that_are_guessed_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no layer has made an output of three dimensions."""

    class Guess(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.relu(batch.expand(3, 2, 2) + 0) * self.w).sum()

    with caplog.at_level("INFO"):
        _, found = fitted(Guess(), tmp_path)
    assert found[0]["relu"]["units"] == 2
    assert sum("modules such as relu are counted along the last of three" in r.message for r in caplog.records) == 1


@pytest.mark.parametrize(
    ("patterns", "names"),
    [("*.1", {"conv.1", "line.1", "one.1", "idle.1"}), (["odd", "line"], {"odd", "line"}), ("words", {"words"})],
)
def test_patterns_choose_modules(tmp_path: Path, patterns: Any, names: set[str]) -> None:
    """Of any kind, with others inside too."""
    _, found = fitted(Shapes(), tmp_path, BATCHES[:1], options={"activations": patterns})
    assert found[0].keys() == names
    if "conv.1" in names:
        assert found[0]["conv.1"]["units"] == 3, "a layer that is not chosen tells the dimension"


def test_a_pattern_that_fits_no_module_is_refused(tmp_path: Path) -> None:
    """With names that there are."""
    with pytest.raises(
        ValueError, match=r"GradientHistogram\('gradients'\): activations has 'net.*', .* a name as rel"
    ):
        fitted(Plain(), tmp_path, options={"activations": "net.*"})


@pytest.mark.parametrize("wrong", ["", ["a", 1], 3, None])
def test_wrong_arguments(wrong: Any) -> None:
    """Are refused when the callback is made."""
    with pytest.raises(ValueError, match="GradientHistogram: activations="):
        lw.GradientHistogram(activations=wrong)


def test_nothing_seen_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, by a module that does not call what it has."""

    class Functional(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (torch.relu(batch) * self.w).sum()

    with caplog.at_level("INFO"):
        trainer(callbacks=[lw.GradientHistogram(1, activations=True)], default_root_dir=tmp_path).fit(
            Functional(), DataLoader(BATCHES)
        )
    assert sum("no call of a module was seen" in record.message for record in caplog.records) == 1


class Copies(Looks):
    """Is copied in a step, and fails in the fifth."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        for part in (copy.deepcopy(self.relu), pickle.loads(pickle.dumps(self.relu))):
            part(batch)
        ours = next(c for c in self.trainer.callbacks if isinstance(c, lw.GradientHistogram))
        assert [other.activations for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)))] == [True] * 2
        if self.fails and batch_idx == 4:
            raise KeyError("on purpose")
        return loss


def test_copies_are_not_read_and_a_failure_leaves_no_hook(tmp_path: Path) -> None:
    """A copy of a module that is made in a step has a hook that does nothing; the callback copies there, too."""
    _, found = fitted(Copies(fails=False), tmp_path)
    assert [rows["relu"]["calls"] for rows in found.values()] == [1] * 7
    module = Copies(fails=True)
    with pytest.raises(KeyError):
        fitted(module, tmp_path / "fails")
    assert module.hooks == [1] * 5
    assert not module.relu._forward_hooks


def test_an_epoch_that_a_hook_ends_leaves_no_hook(tmp_path: Path) -> None:
    """`on_train_batch_start` that returns -1 skips the end of the batch; what follows is read as ever."""

    class Skips(Looks):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if batch_idx == 2 else None

    module = Skips()
    _, found = fitted(module, tmp_path, max_epochs=2)
    assert module.hooks == [1] * 4
    assert not module.relu._forward_hooks
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(b) for b in (*BATCHES[:2], *BATCHES[:2])]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_that_returned_none_has_none(tmp_path: Path) -> None:
    """Its batch is not counted with the next."""

    class Lazy(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx in (1, 2) else loss

    _, found = fitted(Lazy(), tmp_path)
    assert [of(rows["relu"]) for rows in found.values()] == [
        by_hand(b) for i, b in enumerate(BATCHES) if i not in (1, 2)
    ]


@pytest.mark.filterwarnings("ignore:lwcallbacks. GradientHistogram.*the loss is inf")
@pytest.mark.skipif(LIGHTNING_1, reason="Lightning 1 has no gradient scaler for a CPU")
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_skips_has_none(tmp_path: Path, fused: bool) -> None:
    """And its batch is not counted with the next."""
    from support.versions import MixedPrecision

    class Overflows(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) * (math.inf if batch_idx == 2 else 1.0)

    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    module = Overflows(lambda p: torch.optim.SGD(p, lr=0.0, fused=fused))
    _, found = fitted(module, tmp_path, BATCHES + 10, plugins=[plugin])
    assert [of(rows["relu"]) for rows in found.values()] == [by_hand(b + 10) for i, b in enumerate(BATCHES) if i != 2]


def test_replicas_are_counted_together(tmp_path: Path) -> None:
    """Under DataParallel every share of a batch counts, as on one device."""
    data = DataLoader(BATCHES[:6], 6)
    _, alone = fitted(Plain(), tmp_path / "alone", data)
    _, found = fitted(Plain(), tmp_path / "dp", data, strategy=lw.DataParallelStrategy(replicas=3))
    assert found[0]["relu"] == {**alone[0]["relu"], "calls": 3}


# -- compiled ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:`torch.jit.script` is not supported")
def test_a_script_is_not_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It takes no hook. The rest is seen."""

    class Scripted(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch).sum() + super().training_step(batch, batch_idx)

    with caplog.at_level("INFO"):
        _, found = fitted(Scripted(), tmp_path)
    assert {name: row["elements"] for name, row in found[0].items()} == {"relu": 2}
    assert sum("inside of what is compiled (net), so" in record.message for record in caplog.records) == 1


class Tanh(nn.Module):
    """A module that is compiled where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inside(x) + 1


def test_the_inside_of_what_is_compiled_is_not_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its own output is; that is said once, and there are no more graphs and no breaks than without."""
    dynamo = pytest.importorskip("torch._dynamo")

    class Compiled(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.compile(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), backend="eager", fullgraph=True)
            self.place = Tanh()
            self.place.compile(backend="eager", fullgraph=True)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch).sum() + self.place(batch).sum() + super().training_step(batch, batch_idx)

    def graphs(options: dict[str, Any]) -> tuple[int, int]:
        dynamo.reset()
        dynamo.utils.counters.clear()
        fitted(Compiled(), tmp_path / str(len(list(tmp_path.iterdir()))), BATCHES, options=options)
        return dynamo.utils.counters["stats"]["unique_graphs"], len(dynamo.utils.counters["graph_break"])

    with caplog.at_level("INFO"):
        assert graphs({"every_n_train_steps": 2}) == graphs({"every_n_train_steps": 2, "activations": "relu"}) == (2, 0)
    told = [r.message for r in caplog.records if "compiled" in r.message]
    assert [t.split("(", 2)[2] for t in told] == ["net, place), so they have no activations"]
    assert tables(tmp_path / "0")[1].keys() == {"net", "relu"}


def test_a_compiled_function_that_calls_modules_is_left_alone(tmp_path: Path) -> None:
    """A hook in a graph does nothing and breaks nothing; what is called outside is seen."""
    dynamo = pytest.importorskip("torch._dynamo")

    class Inner(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Tanh()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return torch.compile(lambda x: self.inner(x) + 1, backend="eager", fullgraph=True)(
                batch
            ).sum() + super().training_step(batch, batch_idx)

    dynamo.reset()
    dynamo.utils.counters.clear()
    _, found = fitted(Inner(), tmp_path)
    assert [set(rows) for rows in found.values()] == [{"relu"}] * 7
    assert not dynamo.utils.counters["graph_break"]


# -- processes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "strategy"), [(2, "ddp"), (3, "ddp"), pytest.param(2, "fsdp2", marks=needs_fsdp2)]
)
def test_several_processes_have_what_one_has(tmp_path: Path, processes: int, strategy: str) -> None:
    """To the bit, on every process, by one sum a logged step; a module may be called on one of them alone."""
    seen, logged, _ = outputs.fitted(str(tmp_path / "1"))
    dead = [row["gradients/dead_units/net.1"] for row in logged]
    assert dead == [8 / 14] * 2
    assert [row.get("gradients/dead_units/rare") for row in logged] == [8 / 14, None]
    for rank, (found, rows, collectives) in enumerate(
        run_processes(processes, outputs.fitted, str(tmp_path / "several"), strategy)
    ):
        assert difference(found, seen) is None
        assert collectives == (4 if strategy == "fsdp2" else 2), "the gradients of shards take one more"
        if rank == 0:
            own = [{k: v for k, v in row.items() if "rare" not in k} for row in rows]
            assert own == [{k: v for k, v in row.items() if "rare" not in k} for row in logged]


def test_processes_with_other_modules_are_refused(tmp_path: Path) -> None:
    """On each, before the first batch."""
    for told in run_processes(2, outputs.unlike, str(tmp_path)):
        assert "activations finds other modules on other processes" in told


@pytest.mark.skipif(
    not hasattr(pytorch_lightning.strategies, "ModelParallelStrategy"),
    reason="this Lightning has no tensor parallelism",
)
def test_parts_of_outputs_are_refused(tmp_path: Path) -> None:
    """Under tensor parallelism nobody knows which output is whole."""
    for told in run_processes(2, outputs.tensor_parallel, str(tmp_path)):
        assert "found 2 processes of which 2 work on one batch" in told
