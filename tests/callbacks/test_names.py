"""Names of classes, however a project keeps them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from lwcallbacks.callbacks.names import class_names_of


@pytest.mark.parametrize(
    "given",
    [
        ["cat", "dog", "owl"],
        (name for name in ("cat", "dog", "owl")),
        np.array(["cat", "dog", "owl"]),
        {2: "owl", 0: "cat", 1: "dog"},
        {"owl": 2, "cat": 0, "dog": 1},
        {np.int64(2): "owl", np.int64(0): "cat", np.int64(1): "dog"},
        {"2": "owl", "0": "cat", "1": "dog"},
        {"owl": "2", "cat": "0", "dog": "1"},
    ],
    ids=["list", "generator", "array", "by index", "by name", "numpy", "JSON", "text"],
)
def test_names_go_by_index(given: Any) -> None:
    """In the order of the classes and not of a dict."""
    assert class_names_of("Mine", given, 3) == ("cat", "dog", "owl")


def test_names_that_are_numbers_are_names() -> None:
    """Digits as text that stand for other indices, as a data set of folders has them."""
    assert class_names_of("Mine", {"7": 0, "3": 1}) == ("7", "3")
    assert class_names_of("Mine", {0: 7, 1: 3}) == ("7", "3")
    assert class_names_of("Mine", [7, 3]) == ("7", "3")


def test_equal_names_are_told_apart_and_none_are_none() -> None:
    """By the index of the second."""
    assert class_names_of("Mine", ["cat", "dog", "cat"], 3) == ("cat", "dog", "cat (2)")
    assert class_names_of("Mine", None, 3) is None


@pytest.mark.parametrize(
    ("given", "num_classes", "error", "message"),
    [
        ("cat,dog", 2, TypeError, "class_names='cat,dog' is one text, expected .*; write class_names=['cat', 'dog']"),
        ({"cat", "dog"}, 2, TypeError, "has no order, expected a list of names"),
        (3, None, TypeError, "class_names=3 is a int, expected a list of names"),
        (["cat"], 2, ValueError, "class_names has 1 names, expected 2"),
        (["cat", "dog", "owl"], 2, ValueError, "class_names has 3 names, expected 2"),
        ({0: "cat", 2: "owl"}, None, ValueError, "class_names has no name for 1, expected one name for each index"),
        ({1: "cat", 2: "owl"}, 2, ValueError, "class_names has no name for 0, expected"),
        ({99: "cat"}, None, ValueError, "no name for 0, 1, 2, 3, 4 and 94 more, expected"),
        ({"cat": 0, "owl": 0}, None, ValueError, "two names for the index 0, expected one name"),
        ({-1: "cat", 0: "owl"}, None, ValueError, "the index -1, expected one name"),
        ({"cat": "a", "owl": "b"}, None, ValueError, "has no indices, expected a list"),
        ({True: "cat", False: "owl"}, None, ValueError, "has no indices, expected a list"),
    ],
)  # fmt: skip
def test_what_cannot_be_names_is_refused(given: Any, num_classes: int | None, error: Any, message: str) -> None:
    """With whose argument it is, what was found and what was expected."""
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(error, match=f"^Mine: .*{pattern}"):
        class_names_of("Mine", given, num_classes)
