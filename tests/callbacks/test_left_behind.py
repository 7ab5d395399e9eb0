"""What a run in another process leaves is of that run alone."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from support.modules import Classifier, loader, trainer
from support.pool import fold

import lwcallbacks as lw


def test_folds_of_a_pool_come_back_with_their_own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was given a copy of the same callback; the one here has what the last has left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    callback = lw.ConfusionMatrix(5)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        folds = [pool.submit(fold, n, callback, str(tmp_path)) for n in (20, 30, 40)]
        assert [int(one.result().results["val"].sum()) for one in folds] == [20, 30, 40]
    assert int(callback.results["val"].sum()) == 40


def left(callback: lw.ConfusionMatrix, n: int) -> None:
    """As a process that a Trainer starts leaves its results."""
    elsewhere = pickle.loads(pickle.dumps(callback))
    trainer(callbacks=[elsewhere]).validate(Classifier.seeded(), loader(n), verbose=False)
    page = {"results": elsewhere.results, "cost": elsewhere.cost, "page": None}
    callback._left._path.write_bytes(pickle.dumps(page))


def test_a_run_here_takes_the_place_of_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody has read it in between; a copy that is made before the run has it."""
    monkeypatch.chdir(tmp_path)
    callback = lw.ConfusionMatrix(5)
    left(callback, 20)
    copied = copy.deepcopy(callback)
    trainer(callbacks=[callback]).validate(Classifier.seeded(), loader(30), verbose=False)
    assert [int(one.results["val"].sum()) for one in (callback, copied)] == [30, 20]
