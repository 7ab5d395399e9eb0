"""A saved state is loaded whole, on process 0, or left out with words that say why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics import MaxMetric
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, RandomSample
from lwcallbacks.state.core import Collected, collecting
from lwcallbacks.testing import World


def ended(cores: list[lw.StateCore]) -> list[Collected]:
    return World(len(cores)).run(lambda rank: collecting({0: cores[rank]}, rank, len(cores)))


LOADED: dict[str, tuple[Any, Any, str]] = {
    "another size": (
        ConfusionCounts(3),
        ConfusionCounts(4),
        r"saved for ConfusionCounts\(num_classes=3.*num_classes=4.* is reg",
    ),
    "another reduction": (ExactMean(), RandomSample(2), r"saved for ExactMean\(\).* RandomSample"),
    "a metric": (ExactMean(), MaxMetric(), r"saved for ExactMean\(\).*, and MaxMetric\(.* is registered"),
    "another metric": (MulticlassAccuracy(3), BinaryAUROC(), "saved for MulticlassAccuracy.* BinaryAUROC"),
    "a metric of another size": (MulticlassAccuracy(3), MulticlassAccuracy(5), r"tp: int64 \[3\].* tp: int64 \[5\]"),
}


@pytest.mark.parametrize("case", LOADED)
def test_a_state_of_something_else_is_left_out_and_named(case: str) -> None:
    """Nothing of it is loaded; the entry beside it is. The message has both found and expected."""
    old, new, words = LOADED[case]
    saving = lw.StateCore({"m": old, "mean": ExactMean()})
    saving.step_end(mean=(torch.tensor([2.0]),))
    core = lw.StateCore({"m": new, "mean": ExactMean()})
    empty = core.state_dict()["m"]["state"]
    with pytest.warns(UserWarning, match=f"StateCore: m: the saved state is left out: .*{words}"):
        [message] = core.load_state_dict(saving.state_dict())
    assert core.load_state_dict(saving.state_dict(), warn=False) == [message]
    again = core.state_dict()
    assert all(torch.equal(again["m"]["state"][name], t) for name, t in empty.items() if isinstance(t, torch.Tensor))
    assert core.state_dict()["mean"]["state"]["sums"].sum() > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state["state"].pop("sums"), "its tensor 'sums' is missing"),
        (lambda state: state["state"].update(odd=torch.ones(1)), "a tensor 'odd', which is not expected"),
        (
            lambda state: state["state"].update(sums=torch.ones(2)),
            r"'sums' is torch.float32 \[2\], expected torch.int64",
        ),
        (lambda state: state.pop("of"), "saved for something else"),
        (lambda state: state.pop("state"), "KeyError: 'state'"),
        (lambda state: state.update(state=[1]), "AttributeError|TypeError"),
    ],
)
def test_a_damaged_state_is_left_out(change: Any, words: str) -> None:
    """Before anything of it is put in place."""
    core = lw.StateCore({"mean": ExactMean()})
    core.step_end(mean=(torch.ones(2),))
    saved = core.state_dict()
    change(saved["mean"])
    with pytest.warns(UserWarning, match=words):
        core.load_state_dict(saved)
    assert int(core.state_dict()["mean"]["state"]["sums"].sum()) == 0


def test_a_damaged_state_of_a_metric_is_left_out() -> None:
    """Both lists of names are in the message; the metric is as it was."""
    core = lw.StateCore({"accuracy": MulticlassAccuracy(3)})
    saved = core.state_dict()
    saved["accuracy"]["state"]["odd"] = saved["accuracy"]["state"].pop("tp") + 1
    words = r"it holds \['fn', 'fp', 'odd', 'tn'\], expected \['fn', 'fp', 'tn', 'tp'\]"
    with pytest.warns(UserWarning, match=words):
        core.load_state_dict(saved)
    assert core.state_dict()["accuracy"]["state"].keys() == {"fn", "fp", "tn", "tp"}


def test_a_name_that_is_not_registered_is_told() -> None:
    """With those that are."""
    with pytest.warns(UserWarning, match=r"old: the saved state is left out: there is no such name .* \['new'\]"):
        lw.StateCore({"new": ExactMean()}).load_state_dict(lw.StateCore({"old": ExactMean()}).state_dict())


def test_what_was_tallied_goes_on_after_a_resume() -> None:
    """On process 0 only, so that it is counted once; as plain numbers."""
    core = lw.StateCore({"mean": ExactMean()})
    core.tally("mean", "rows", 5)
    core.skip("mean", "unread")
    torch.save(core.state_dict(), "state.pt")
    cores = [lw.StateCore({"mean": ExactMean()}) for _ in range(2)]

    class At:
        world_size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def perform(self, request: Any) -> Any:
            raise AssertionError("loading asks nobody")

    for rank, each in enumerate(cores):
        each.load_state_dict(torch.load("state.pt", weights_only=True), At(rank))
    for collected in ended(cores):
        assert collected.tallies[0]["mean"] == {"skipped": 1, "rows": 5, "doubtful": 0, "repeats": 0}


def test_a_state_that_is_loaded_under_inference_mode_is_updated_outside_of_it() -> None:
    """In place, as the states of a loaded core are."""
    core = lw.StateCore({"mean": ExactMean(), "top": MaxMetric()})
    core.step_end(mean=(torch.tensor([2.0]),), top=(torch.tensor(2.0),))
    saved = core.state_dict()
    with torch.inference_mode():
        core.load_state_dict(saved)
    loaded = core.members["mean"].held()
    core.update({"mean": (torch.tensor([4.0]),), "top": (torch.tensor(1.0),)}, values=False)
    assert all(a is b for a, b in zip(loaded, core.members["mean"].held(), strict=True))
    assert core.epoch_end() == {"mean": 3.0, "top": torch.tensor(2.0)}
