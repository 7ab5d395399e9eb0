"""An argument that several callbacks or presets have is described in the same words in each."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from support.everyone import public_callbacks

import lwcallbacks as lw
from lwcallbacks.callbacks.base import LoggingCallback, StateCallback

OWNERS: dict[str, Callable[..., Any]] = {
    **public_callbacks(),
    "LoggingCallback": LoggingCallback,
    "StateCallback": StateCallback,
    **{name: getattr(lw.presets, name) for name in lw.presets.__all__},
}
# Where an argument's words are those of its owner alone, and why; "*" for all its owners.
DIFFERENT: dict[tuple[str, str], str] = {
    ("inputs", "*"): "each says which shapes and ranges it takes",
    ("preds", "*"): "each says which shapes it takes",
    ("targets", "*"): "each says which shapes it takes",
    ("class_names", "*"): "their number is C, L, or not known before the data",
    ("background", "segmentation"): "says what it does to the counts, which a grid does not have",
    ("every_n_epochs", "StateCallback"): "also says what it does to `results`, to whoever writes a callback",
    ("every_n_epochs", "classification"): "its list has numbers too, which are logged at each epoch",
    ("forward", "classification"): "one line of a longer list",
    ("ignore_index", "MaskGrid"): "nothing is counted, so it is about colour",
    ("ignore_index", "segmentation"): "gives the usual number",
    ("name", "CheckpointArtifact"): "of an artifact, which has no key",
    ("name", "GradientHistogram"): "its keys begin with it and do not end",
    ("name", "ImageMosaic"): "it has one key",
    ("name", "MaskGrid"): "it has one key",
    ("name", "StateCallback"): "gives an example to whoever writes a callback",
    ("num_samples", "ImageMosaic"): "tiles of one image, without W&B's limit",
    ("on_error", "LoggingCallback"): "says what both words do",
    ("on_error", "CheckpointArtifact"): "nothing is drawn",
    ("on_error", "GradientHistogram"): "nothing is drawn",
    ("on_error", "ScalarMetrics"): "nothing is drawn or written; its updates run in user code",
    ("stages", "ScalarMetrics"): "no scalar can be logged while predicting",
    ("logits", "PredictionGrid"): "it has several tasks",
    ("threshold", "PredictionGrid"): "it has several tasks",
}
REFERENCE = re.compile(r"as for `+(\w+)`+")


def described(owner: Callable[..., Any]) -> dict[str, str]:
    """The `Args:` of a docstring, by argument, each in one line. `a, b: words` describes a and b."""
    found = re.search(r"^Args:\n((?: {4}.*\n|\n)+)", f"{inspect.cleandoc(owner.__doc__ or '')}\n", re.MULTILINE)
    words: dict[str, str] = {}
    names: list[str] = []
    for line in (found[1] if found else "").splitlines():
        if begun := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = begun[1].split(", ")
            words |= dict.fromkeys(names, begun[2])
        elif line.strip():
            words |= {name: f"{words[name]} {line.strip()}" for name in names}
    return words


def by_argument() -> dict[str, dict[str, str]]:
    """For each argument, by owner, the words; without those that refer to another owner's."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, owner in OWNERS.items():
        for argument, words in described(owner).items():
            if not REFERENCE.match(words):
                found[argument][name] = words
    return found


def compared(argument: str) -> dict[str, str]:
    """By owner, the words that have to be equal."""
    words = by_argument()[argument]
    return {} if (argument, "*") in DIFFERENT else {o: w for o, w in words.items() if (argument, o) not in DIFFERENT}


@pytest.mark.parametrize("name", OWNERS)
def test_every_argument_is_described(name: str) -> None:
    """Those of the signature, in its order, and no others."""
    assert list(described(OWNERS[name])) == list(inspect.signature(OWNERS[name]).parameters)


@pytest.mark.parametrize("argument", by_argument())
def test_equal_arguments_have_equal_words(argument: str) -> None:
    """Unless DIFFERENT says why not."""
    assert len(set(compared(argument).values())) <= 1, compared(argument)


@pytest.mark.parametrize("name", OWNERS)
def test_a_reference_leads_to_a_description(name: str) -> None:
    """Where an argument is described as that of another, the other has it."""
    for argument, words in described(OWNERS[name]).items():
        if reference := REFERENCE.match(words):
            assert argument in described(OWNERS[reference[1]]), (argument, words)


@pytest.mark.parametrize(("argument", "owner"), DIFFERENT)
def test_every_exception_is_needed(argument: str, owner: str) -> None:
    """What is excused is there, and says something else than those that are not."""
    words = by_argument()[argument]
    assert words, f"no one has an argument {argument}"
    if owner == "*":
        assert len(set(words.values())) > 1
    else:
        assert compared(argument), "there is nothing to differ from"
        assert words[owner] not in compared(argument).values()
