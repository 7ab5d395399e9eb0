"""Messages carry their own cure: what each says is looked at, and what it says to write is run."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest
from support.mistakes import Tried, fit, tried, validate
from support.situations import INTRODUCTION, PAGE, SITUATIONS, Situation

import lwcallbacks
from lwcallbacks import media

pytestmark = pytest.mark.filterwarnings("ignore")  # what is said is looked at here

PARAMETERS = [pytest.param(situation, id=situation.title) for situation in SITUATIONS]
OTHERS = {"A checkpoint callback of the other package": "lightning", "A metric of another task": "torchmetrics"}
"""Titles of situations that are there only with a package that is not needed."""
WORDS = {"Image", "File", "Table", "Text", "Matrix", "Histogram", "Picture"}
"""Classes whose names are words, too."""

_heard: dict[str, Tried] = {}


def heard(situation: Situation) -> Tried:
    """What is said of the program as it stands; it is run once for all tests."""
    if situation.title in OTHERS:
        pytest.importorskip(OTHERS[situation.title])
    if situation.title not in _heard:
        _heard[situation.title] = tried(situation.wrong, situation.program)
    return _heard[situation.title]


def internal_names() -> set[str]:
    """Every class that the package defines and does not publish as its own."""
    names: set[str] = set()
    for module in pkgutil.walk_packages(lwcallbacks.__path__, "lwcallbacks."):
        if not module.name.endswith("__main__"):
            found = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            names |= {name for name, cls in found if cls.__module__.startswith("lwcallbacks")}
    return names - set(lwcallbacks.__all__) - (WORDS & vars(media).keys())


@pytest.mark.parametrize("situation", PARAMETERS)
def test_a_message_says_who_what_and_what_to_write(situation: Situation) -> None:
    """The callback and its key, what was found, what was expected, and words that make a program."""
    message = situation.message(heard(situation))
    for said in (situation.who, situation.found, situation.expected):
        assert said in message
    assert situation.cured(message) != situation.wrong


@pytest.mark.parametrize("situation", PARAMETERS)
def test_what_a_message_says_to_write_works(situation: Situation) -> None:
    """Nothing is said any more, and every sample counts."""
    cured = situation.cured(situation.message(heard(situation)))
    assert tried(cured, situation.program) == Tried([], situation.gives)


@pytest.mark.parametrize("situation", PARAMETERS)
def test_the_page_shows_what_is_said(situation: Situation) -> None:
    """The program, the message and the cure, word by word."""
    said = heard(situation)
    assert situation.section(situation.message(said), said.is_error) in PAGE.read_text()


def test_the_page_shows_every_situation_once() -> None:
    """In the order of the table, under the introduction."""
    text = PAGE.read_text()
    assert text.startswith(INTRODUCTION)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [situation.title for situation in SITUATIONS]


@pytest.mark.parametrize("situation", PARAMETERS)
def test_no_message_names_an_internal_class(situation: Situation) -> None:
    """Users know the callbacks, and not what those are made of."""
    words = {word for message in heard(situation).messages for word in re.findall(r"\w+", message)}
    assert words & internal_names() == set()


def test_the_names_that_are_looked_for_are_those_of_the_package() -> None:
    """Not of what it publishes."""
    names = internal_names()
    assert {"ConfusionCounts", "RandomSample", "Epoch", "Hub", "Layout", "ReductionMember"} <= names
    assert not {"ConfusionMatrix", "ScalarMetrics", "Image"} & names


@pytest.mark.parametrize("situation", PARAMETERS)
def test_a_warning_is_said_once_in_a_run(situation: Situation) -> None:
    """In three epochs, where the program fits; other numbers in it make no other message. An error comes alone."""
    messages = heard(situation).messages
    if not heard(situation).is_error:
        messages = tried(situation.wrong, situation.program, epochs=3).messages
    plain = [re.sub(r"\d+(\.\d+)?", "#", message) for message in messages]
    assert plain
    assert len(plain) == len(set(plain)), plain


def test_what_could_not_be_read_is_not_drawn() -> None:
    """A grid without a sample would fail, and say so beside what matters."""
    shuffled = next(s for s in SITUATIONS if s.title == "The first samples of a loader that shuffles")
    assert not [message for message in heard(shuffled).messages if "could not be drawn" in message]


def test_presets_name_themselves() -> None:
    """And their own arguments."""
    with pytest.raises(ValueError, match=r"^presets\.classification: num_classes=1, expected an int of at least 2"):
        lwcallbacks.presets.classification(1)
    with pytest.raises(ValueError, match=r"^presets\.multilabel: num_labels=0, expected an int of at least 1"):
        lwcallbacks.presets.multilabel(0)


def test_drawn_predictions_are_called_predictions() -> None:
    """Of a mosaic that draws both, the message says which is meant."""
    program = validate(forward=lambda scores: scores[:, :1, None, None].expand(-1, 3, 8, 8) * 100)
    [message] = tried("lw.ImageMosaic(4)", program).messages
    assert "preds that are images are float32 from" in message
    cure = re.search(r"each time (mean=\S+, std=\S+);", message)
    assert cure
    assert tried(f"lw.ImageMosaic(4, {cure[1]})", program) == Tried([], 4)


def test_a_program_without_a_mistake_is_not_in_the_table() -> None:
    """Nothing is said of one, in validation and in a fit."""
    for program in (validate(), fit()):
        assert tried("lw.ConfusionMatrix(5)", program) == Tried([], 8)


def test_there_are_enough() -> None:
    """Each of another title and another message."""
    assert len({situation.title for situation in SITUATIONS}) == len(SITUATIONS) >= 24


@pytest.mark.parametrize(
    ("made", "advice", "cured"),
    [
        pytest.param(
            "torch.linspace(-2, 3, 256).reshape(4, 1, 8, 8)", r"(mean=\S+, std=[^\s,;]+)", "{made}, {cure}", id="floats"
        ),
        pytest.param(
            "torch.arange(256).reshape(4, 1, 8, 8) + 9",
            r"in the function of sample=, images = (.*?)(?:;|$|\. )",
            "(lambda images: {cure})({made})",
            id="integers",
        ),
    ],
)
def test_images_that_a_function_makes_are_scaled_as_it_says(made: str, advice: str, cured: str) -> None:
    """It takes the module and no batch: for floats mean and std, for integers a line inside of the function."""
    program, mosaic = fit(), "lw.ImageMosaic(4, stages=('train',), sample=lambda module: {})"
    [message] = tried(mosaic.format(made), program).messages
    assert "images of sample= are " in message
    assert "batch" not in message
    cure = re.search(advice, message)
    assert cure
    assert tried(mosaic.format(cured.format(made=made, cure=cure[1])), program).messages == []
