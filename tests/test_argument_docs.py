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
from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.stateful import StateCallback

OWNERS: dict[str, Callable[..., Any]] = {
    **public_callbacks(),
    "LoggingCallback": LoggingCallback,
    "StateCallback": StateCallback,
    **{name: getattr(lw.presets, name) for name in lw.presets.__all__},
}
# Where an argument's words are those of its owner alone, and why; "*" for all its owners.
DIFFERENT: dict[tuple[str, str], str] = {
    ("cost_matrix", "*"): "of a sample, or of a decision about a label",
    ("inputs", "ScalarMetrics"): "of any shape",
    ("inputs", "classification"): "one line for several callbacks",
    ("inputs", "ConfusionMatrix"): "for examples alone",
    ("select", "PredictionGrid"): "it knows more words, of which each has a line",
    ("preds", "*"): "each says which shapes it takes",
    ("targets", "*"): "each says which shapes it takes",
    ("name", "CheckpointArtifact"): "of an artifact, which has no key",
    ("name", "GradientHistogram"): "its keys begin with it and do not end",
    ("num_samples", "ImageMosaic"): "tiles of one image, without W&B's limit",
    ("stages", "ScalarMetrics"): "no scalar can be logged while predicting",
    ("num_classes", "Curves"): "of labels, too",
    ("task", "Curves"): "it has three tasks",
    ("logits", "Curves"): "it compares them with no threshold",
    ("task", "PredictionGrid"): "it has three tasks",
    ("task", "ScalarMetrics"): "says what a metric is given",
    ("logits", "ScalarMetrics"): "it needs a task, and keeps a metric twice",
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
