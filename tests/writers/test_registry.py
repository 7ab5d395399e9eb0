"""A logger of anyone's gets a writer in one call, or by an entry point of an installed package."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwcallbacks.media import Image, Matrix, Picture, Table, Text
from lwcallbacks.writers import FolderWriter, Publisher, Writer, register_writer, registry, writers_for

MATRIX = Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog"))


class Notes:
    """A logger that no one has heard of."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, str, Any]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...


class Better(Notes):
    """One made from it."""


class NotesWriter(Writer):
    """All that has to be there."""

    takes = (Picture, Text)

    def __init__(self, logger: Notes) -> None:
        self.logger = logger

    def write(self, entries: Mapping[str, Any], step: int) -> None:
        self.logger.kept += [(step, key, entry) for key, entry in entries.items()]


@pytest.fixture(autouse=True)
def _only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.parametrize("known_by", [Notes, "Notes"])
@pytest.mark.parametrize("logger", [Notes(), Better()])
def test_a_registered_writer_gets_what_it_takes(known_by: Any, logger: Notes) -> None:
    """By class or by name, of the class or of one derived from it; a matrix arrives as the nearest kind."""
    register_writer(known_by, NotesWriter)
    publisher = Publisher(writers_for([logger]), [logger])
    publisher.publish(lambda: {"val/m": MATRIX, "val/t": Table(("a",), [[1]]), "n": 0.5}, 7)
    publisher.close()
    assert [(step, key, type(entry)) for step, key, entry in logger.kept[-2:]] == [
        (7, "val/m", Picture),
        (7, "val/t", Text),
    ]


def test_a_users_registration_wins_over_the_packages_own(tmp_path: Path) -> None:
    """The last one holds; what is made from the logger is known by what is nearest to it."""
    wandb = type("WandbLogger", (Notes,), {})
    mine = type("Mine", (wandb,), {})
    register_writer("WandbLogger", lambda logger: pytest.fail("replaced"))
    register_writer("WandbLogger", NotesWriter)
    register_writer("Notes", lambda logger: pytest.fail("farther away"))
    assert [type(writer) for writer in writers_for([wandb(), mine()], tmp_path)] == [
        FolderWriter,
        NotesWriter,
        NotesWriter,
    ]


def test_an_object_with_write_alone_will_do() -> None:
    """It need not be a Writer; what it lacks does nothing."""

    class Bare:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def write(self, entries: Mapping[str, Any], step: int) -> None:
            self.seen += entries

    bare = Bare()
    register_writer(Notes, lambda logger: bare)
    publisher = Publisher(writers_for([Notes()]))
    publisher.publish(lambda: {"val/m": MATRIX, "n": 0.5}, 7)
    publisher.close()
    assert (bare.seen, publisher.failures) == (["val/m"], 0)


def test_messages_name_the_logger() -> None:
    """The user has made a logger, and may never have seen its writer."""

    class Full(NotesWriter):
        def write(self, entries: Mapping[str, Any], step: int) -> None:
            raise OSError("no space left")

    register_writer(Notes, Full)
    publisher = Publisher(writers_for([Notes()]))
    publisher.publish(lambda: {"val/m": MATRIX}, 7)
    with pytest.warns(UserWarning, match=r"^lwcallbacks: Notes could not write val/m of step 7: OSError"):
        publisher.close()


def test_a_class_without_write_is_refused_when_it_is_registered() -> None:
    """And cannot be made; both say what is missing."""

    class Nothing(Writer):
        def close(self) -> None: ...

    with pytest.raises(TypeError, match=r"Nothing, the writer of Notes, has no write: write def write\(self, entries"):
        register_writer(Notes, Nothing)  # type: ignore[type-abstract]
    with pytest.raises(TypeError, match="write"):
        Nothing()  # type: ignore[abstract]


@pytest.mark.parametrize("made", [None, "text", object()])
def test_a_factory_that_makes_no_writer_is_an_error_before_training(made: Any) -> None:
    """It names the logger and what has to be there, and is no warning even where failures are."""
    register_writer(Notes, lambda logger: made)
    with pytest.raises(TypeError, match=rf"writer of Notes is a {type(made).__name__} without `write`"):
        writers_for([Notes()], attempt=Publisher().attempt)


@pytest.mark.parametrize(("logger", "factory"), [(3, NotesWriter), ("", NotesWriter), ("Notes", 3), ("Notes", None)])
def test_what_cannot_be_registered_is_refused(logger: Any, factory: Any) -> None:
    """At once."""
    with pytest.raises(TypeError, match="expected a"):
        register_writer(logger, factory)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a module and an entry point, as pip would leave it."""
    (tmp_path / "notes_lw.py").write_text(
        "class W:\n"
        "    def __init__(self, logger): self.logger = logger\n"
        "    def write(self, entries, step): self.logger.kept.append((step, *entries))\n"
    )
    info = tmp_path / "notes_lw-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notes-lw\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lwcallbacks.writers]\nNotes = notes_lw:W\nGone = notes_lw:Missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("notes_lw", None)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_brings_a_writer() -> None:
    """It is imported when there is such a logger, and not before; the user's own goes first."""
    assert writers_for([type("Other", (), {})()]) == []
    assert "notes_lw" not in sys.modules
    logger = Better()
    [writer] = writers_for([logger])
    writer.write({"a": MATRIX}, 3)
    writer.close()
    assert logger.kept == [(3, "a")]
    register_writer(Notes, NotesWriter)
    assert type(writers_for([logger])[0]) is NotesWriter


@pytest.mark.usefixtures("installed")
def test_a_broken_package_costs_its_logger_its_media_and_no_training() -> None:
    """The warning names the logger, and the others have their writers."""
    publisher = Publisher()
    register_writer(Notes, NotesWriter)
    gone = type("Gone", (), {})()
    assert [type(w) for w in writers_for([gone, Notes()], attempt=publisher.attempt)] == [NotesWriter]
    with pytest.warns(UserWarning, match="Gone gets no media: AttributeError"):
        publisher.deliver()


def test_an_image_is_no_less_for_being_a_picture() -> None:
    """What takes images takes pictures."""
    assert issubclass(Picture, Image)
