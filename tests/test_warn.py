"""Below a warning stands a line of the user's, or none; never one of this package's source."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import pytest
from support.modules import CLASSES, Classifier, loader, trainer

import lwcallbacks as lw
from lwcallbacks.warn import warn

PACKAGE = Path(lw.__file__).parent


def shown(warning: warnings.WarningMessage) -> list[str]:
    """The lines that Python prints, without the place."""
    text = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
    return text.splitlines()


def test_the_line_is_that_of_the_users_call() -> None:
    """Of a warning at an epoch's end, of one of what is drawn in the background, and of one about a name."""
    callbacks = [
        lw.ConfusionMatrix(CLASSES - 1, stages=("val",), preds=lambda o, b: b[1], targets=1),
        lw.ImageMosaic(2, inputs=lambda o, b: b[0] * 9, layers=("input",)),
        lw.PredictionGrid(2, class_names=["a"]),
    ]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        trainer(callbacks=callbacks).validate(Classifier(), loader(), verbose=False)
    ours = [shown(w) for w in heard if re.search(r"out of range|stretched|class_names has", str(w.message))]
    assert len(ours) == 3
    for first, *line in ours:
        if "class_names has" in first and not line:
            continue  # said in the background, where nothing of the user's runs
        assert first.startswith(f"{__file__}:")
        assert line == ["  trainer(callbacks=callbacks).validate(Classifier(), loader(), verbose=False)"]


def test_in_a_thread_no_line_is_shown() -> None:
    """There is none of the user's."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn, args=("lwcallbacks: found",))
        thread.start()
        thread.join()
    [[line]] = map(shown, heard)
    assert line.endswith("UserWarning: lwcallbacks: found")
    assert str(PACKAGE) not in line


def test_a_call_of_the_users_own_is_the_line() -> None:
    """Without a Trainer."""
    with pytest.warns(UserWarning, match="^lwcallbacks: found$") as heard:
        warn("found")
    assert heard[0].filename == __file__


def test_all_of_the_package_warns_in_this_way() -> None:
    """No other file calls `warnings.warn`."""
    calling = [
        p.name for p in PACKAGE.rglob("*.py") if re.search(r"warnings\.warn(_explicit)?\(", p.read_text("utf-8"))
    ]
    assert calling == ["warn.py"]
