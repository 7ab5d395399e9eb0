"""Whatever a run goes through, each save is one version, with its own content, facts and aliases, and nothing is held.

Histories are drawn: see `support.lives` for what is done, and for the model that it is held to.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.lives import IOS, Fit, Kind, Life, Setting
from support.versions import HAS_VERSION_COUNTER, OnExceptionCheckpoint

from lwcallbacks.artifacts.delivery import Delivery
from lwcallbacks.callbacks import saves

EXAMPLES = 5 * int(os.environ.get("LWCALLBACKS_EXAMPLES", "10"))

SCORES = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.5, -1.0, float("nan"), float("inf"), float("-inf")])
FAULTS = st.lists(st.sampled_from([None, "before", "before", "after", "slow"]), max_size=4)


@st.composite
def kinds(draw: Any) -> Kind:
    return Kind(
        mode=draw(st.sampled_from(["min", "max"])),
        save_top_k=draw(st.sampled_from([0, 1, 2, -1])),
        save_last=draw(st.sampled_from([False, True, "link"])),
        monitor=draw(st.sampled_from(["a", "b"])),
        filename=draw(st.sampled_from([None, None, None, "same"] if HAS_VERSION_COUNTER else [None])),
    )


def are_apart(found: list[Kind]) -> bool:
    """Lightning tells two by what they monitor and how."""
    return len({(kind.monitor, kind.mode) for kind in found}) == len(found)


def possible(setting: Setting) -> Setting:
    """Lightning can't link to a file that is written later: it raises."""
    if setting.io in ("torch", "in place"):
        return setting
    kept = (replace(kind, save_last=bool(kind.save_last)) for kind in setting.checkpoints)
    return replace(setting, checkpoints=tuple(kept))


runs = st.builds(
    Setting,
    checkpoints=st.lists(kinds(), min_size=1, max_size=2).filter(are_apart).map(tuple),
    io=st.sampled_from(IOS),
    is_live=st.booleans(),
    saves_on_exception=st.just(False) if OnExceptionCheckpoint is None else st.booleans(),
    saves_itself=st.booleans(),
    keep=st.sampled_from(["ranked", "ranked", "all"]),
).map(possible)
fits = st.builds(
    Fit,
    scores=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=4).map(tuple),
    end=st.sampled_from(["", "", "error", "ctrl-c"]),
    start=st.sampled_from(["go on", "resume", "afresh"]),
    folder=st.sampled_from([0, 0, 0, 1]),
    faults=FAULTS.map(tuple),
    is_dead=st.sampled_from([False] * 5 + [True]),
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths."""
    monkeypatch.setattr(saves, "_SETTLED", 0.06)
    monkeypatch.setitem(Delivery.__init__.__kwdefaults__, "waits", (0.01, 0.02))


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, print_blob=False,
    phases=(Phase.generate,),  # to make a history smaller takes minutes, and they are small
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(setting=runs, history=st.lists(fits, min_size=1, max_size=4))
def test_a_history_of_saves(setting: Setting, history: list[Fit]) -> None:
    """Ties, NaN, exceptions, Ctrl-C, resumes, a store with faults, asynchronous saves: nothing lost, nothing twice."""
    with tempfile.TemporaryDirectory() as root:
        life = Life(Path(root), setting)
        for fit in history:
            life.fit(fit)
        life.settle()
