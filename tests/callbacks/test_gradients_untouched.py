"""Training with every option of GradientHistogram at once ends with the same bits as without it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.processes import run_processes
from support.recorded import on_page
from support.untouched import Drops, Rivals, Searches, everything, remains, with_and_without

import lwcallbacks as lw
from lwcallbacks.testing.same import difference

pytestmark = [
    pytest.mark.filterwarnings("ignore:lwcallbacks. the callbacks cost"),
    pytest.mark.filterwarnings("ignore:lwcallbacks. GradientHistogram.*the callbacks cost"),
]

WAYS = {
    "Adam, clipped and accumulated": (Drops, {"gradient_clip_val": 0.5, "accumulate_grad_batches": 3}),
    "LBFGS": (Searches, {}),
    "two optimizers by hand": (Rivals, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_training_is_the_same_to_the_bit(tmp_path: Path, way: str) -> None:
    """Weights, buffers, states of the optimizers and of all random generators, after 200 steps."""
    kind, how = WAYS[way]
    callback = lw.GradientHistogram(3, **everything())
    expected = remains(kind, str(tmp_path / "without"), [], **how)
    found = remains(kind, str(tmp_path / "with"), [callback], **how)
    assert difference(found, expected) is None
    kinds = {key.split("/")[1] for key in on_page(tmp_path / "with")}
    assert {"weights", "updates", "activations", "modules", "diagnosis"} <= kinds


def test_processes_train_the_same_to_the_bit(tmp_path: Path) -> None:
    """Under DDP, with the comparison of replicas as well."""
    answers: list[list[Any]] = run_processes(2, partial(with_and_without, str(tmp_path)))
    for expected, found in answers:
        assert difference(found, expected) is None
