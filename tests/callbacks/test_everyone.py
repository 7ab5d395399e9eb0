"""What is true of every public callback, whichever they are."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from support.everyone import everyone, examples, public_callbacks
from support.modules import Classifier, loader, trainer

from lwcallbacks.readers import find_folders, read_folder
from lwcallbacks.testing.same import difference

# Whose keys end in a name. An artifact has a name as well, which is no key.
NAMED = [
    name
    for name, cls in public_callbacks().items()
    if "name" in signature(cls).parameters and isinstance(signature(cls).parameters["name"].default, str)
]


def ran(callbacks: list[Any], folder: Path) -> Any:
    t = trainer(callbacks=[*callbacks], default_root_dir=folder)  # Lightning 1 appends to the list
    t.fit(Classifier.seeded(), loader(), loader())
    return t


def test_each_has_an_example() -> None:
    """Of its class; so no test that takes its callbacks from the examples leaves one out."""
    assert len(examples()) >= 8
    assert {name: type(make()) for name, make in examples().items()} == public_callbacks()


def test_all_of_them_together_have_the_results_that_each_has_alone(tmp_path: Path) -> None:
    """Sharing a capture and a sync changes nothing."""
    together = everyone()
    ran(together, tmp_path / "together")
    for callback, (name, make) in zip(together, examples().items(), strict=True):
        alone = make()
        ran([alone], tmp_path / name)
        assert difference(alone.results, callback.results) is None, name


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("wrong", ["", "a//b", "/a", " ", 3])
def test_a_name_without_letters_is_refused(name: str, wrong: Any) -> None:
    """Keys such as "val/" and "/norm" would be logged."""
    with pytest.raises(ValueError, match=rf"{name}: name={wrong!r}, expected a text for the keys, as in name='mine'"):
        examples()[name](name=wrong)


@pytest.mark.parametrize("name", NAMED)
def test_two_of_a_class_are_told_apart_by_name(name: str, tmp_path: Path) -> None:
    """Each has its own keys in the run's folder and its own state in the checkpoint."""
    make = examples()[name]
    two = [make(name="first"), make(name="second")]
    t = ran(two, tmp_path)
    assert difference(two[0].results, two[1].results) is None
    for key in ("first", "second"):
        assert any(key in logged for folder in find_folders(tmp_path) for logged in read_folder(folder).steps()), key
    t.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]
    assert len([key for key in saved if key.startswith(name)]) in (0, 2)
