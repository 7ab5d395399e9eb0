"""The code of README.md and docs/questions.md runs as it stands there, and so do the callbacks of docs/gallery.md."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from support.documented import DOCS, code
from support.everyone import public_callbacks
from support.items import average_precision_or_alike
from support.layers import ROOMS
from support.modules import CLASSES, Autoencoder, Classifier, images, loader, trainer
from support.recorded import on_page
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

sys.path.append(str(DOCS.parent / "examples"))

README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
GALLERY = (DOCS / "gallery.md").read_text(encoding="utf-8")
READING = (DOCS / "reading-gradients.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^```python\n# (\w+)\n", (DOCS / "questions.md").read_text(encoding="utf-8"), re.MULTILINE)
PICTURES = re.findall(r"^```python\n# (\w+)\n", GALLERY, re.MULTILINE)
SHAPES = ["background", "circle", "square", "triangle"]
ON_SHAPES = {
    "masks": "segmentation", "mask_grid": "segmentation", "boxes": "boxes", "box_grid": "boxes",
    "average_precision": "boxes",
    "multilabel_confusion_matrix": "multilabel",
}  # fmt: skip
KEYS = {
    "scalar_metrics": set(), "image_mosaic": {"val/mosaic"}, "mask_grid": {"val/masks"}, "box_grid": {"val/boxes"},
    "confusion_matrix": {"val/confusion_matrix", "val/confusion_matrix_examples"}, "curves": {"val/curves_pr"},
    "multilabel_confusion_matrix": {"val/confusion_matrix"}, "prediction_grid": {"val/predictions"},
    "gradient_histogram": set(), "checkpoint_artifact": set(), "own_picture": {"val/loss_by_class"},
    "wrong": {"val/predictions", "val/confusion_matrix_examples"}, "only_a_loss": {"val/confusion_matrix"},
    "dictionary": {"val/predictions", "val/confusion_matrix"}, "masks": {"val/masks"}, "boxes": {"val/boxes"},
    "own_picture_of_questions": {"val/filters"}, "cost": {"val/predictions"}, "monitor": {"val/confusion_matrix"},
    "with_own": {"val/predictions", "val/confusion_matrix"}, "average_precision": set(),
}  # fmt: skip
"""What the callbacks of a block put on the page, besides numbers and gradients."""


class Inner(Classifier):
    """Its steps call `self.net(x)`, so that no forward call of the module is seen."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return torch.nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.training_step(batch, batch_idx)


class Photos(Dataset):
    """The same samples as dicts with names of their own."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        photo, species = images()[i]
        return {"photo": photo, "species": species}


class OfPhotos(Classifier):
    """Takes such dicts."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step((batch["photo"], batch["species"]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return super().validation_step((batch["photo"], batch["species"]), batch_idx)


def parts_for(name: str) -> tuple[Any, DataLoader, DataLoader]:
    """The module and the loaders that a block is about."""
    if name in ON_SHAPES:
        from shapes import parts

        module, train_loader, val_loader, _, _ = parts(ON_SHAPES[name])
        return module, train_loader, val_loader
    if name == "dictionary":
        return OfPhotos.seeded(), DataLoader(Photos(), 8), DataLoader(Photos(), 8)
    if name == "image_mosaic":
        return Autoencoder(), loader(), loader()
    return (Inner if name == "only_a_loss" else Classifier).seeded(), loader(), loader()


def space_for(name: str) -> dict[str, Any]:
    """What a block may use, as its page says."""
    module, train_loader, val_loader = parts_for(name)
    return {
        "lw": lw, "pl": pl, "module": module, "train_loader": train_loader, "val_loader": val_loader, "SHAPES": SHAPES,
        "MulticlassAccuracy": MulticlassAccuracy, "ModelCheckpoint": ModelCheckpoint, "EarlyStopping": EarlyStopping,
        "MeanAveragePrecision": average_precision_or_alike,
    }  # fmt: skip


def check_fit(callbacks: list[Callback], name: str, root: Path, keys: set[str], **how: Any) -> None:
    """They train for an epoch without a warning of theirs, and the page has what they are for."""
    module, train_loader, val_loader = parts_for(name)
    for callback in callbacks:
        if isinstance(callback, lw.PredictionGrid):
            callback.every_n_epochs = 1  # one epoch has to do here
    made = trainer(
        callbacks=callbacks, default_root_dir=root, limit_train_batches=3, limit_val_batches=5, log_every_n_steps=1,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks), **how,
    )  # fmt: skip
    made.fit(module, train_loader, val_loader)
    assert on_page(root).keys() >= keys


@pytest.mark.filterwarnings("error:lwcallbacks")
@pytest.mark.parametrize("name", [name for name in QUESTIONS if "callbacks = [" in code("questions.md", name)])
def test_the_callbacks_of_an_answer_work(name: str, tmp_path: Path) -> None:
    """Each list of docs/questions.md, in a Trainer."""
    space = space_for(name)
    exec(code("questions.md", name), space)
    check_fit(space["callbacks"], name, tmp_path, KEYS["own_picture_of_questions" if name == "own_picture" else name])


def test_the_answers_that_use_a_trainer_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, as a reader would: a run without an account, its page, the counts, and reading it."""
    monkeypatch.chdir(tmp_path)
    space = space_for("no_account")
    for name in ("no_account", "notebook", "notebook_path", "counts", "read"):
        exec(code("questions.md", name), space)
    assert Path("lwcallbacks_logs/version_0/media/index.html").is_file()
    assert "<iframe" in eval(code("questions.md", "notebook"), space)._repr_html_()
    assert int(space["matrix"].results["val"].sum()) == 40
    assert space["folder"].curves()["val/acc"]


def test_every_answer_is_run() -> None:
    """By one of the tests above: each block of code of the page has a name."""
    text = (DOCS / "questions.md").read_text(encoding="utf-8")
    assert len(QUESTIONS) == len(set(QUESTIONS)) == len(re.findall(r"^```python", text, re.MULTILINE))
    lists = [name for name in QUESTIONS if "callbacks = [" in code("questions.md", name)]
    assert set(QUESTIONS) - set(lists) == {"no_account", "notebook", "notebook_path", "counts", "read"}


@pytest.mark.filterwarnings("error:lwcallbacks")
@pytest.mark.parametrize("name", PICTURES)
def test_a_callback_of_the_gallery_works(name: str, tmp_path: Path) -> None:
    """The last line of its block, as docs/pictures.py takes it, with as many classes as there are here."""
    space = space_for(name)
    fits = code("gallery.md", name).replace("10", str(CLASSES)).replace("classes=[1, 3, 8, 9]", "classes=[1, 3]")
    *before, last = ast.parse(fits).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(before, []), name, "exec"), space)
    callback = eval(compile(ast.Expression(last.value), name, "eval"), space)
    checkpoints = [ModelCheckpoint()] if name == "checkpoint_artifact" else []
    check_fit([callback, *checkpoints], name, tmp_path, KEYS[name])


def test_the_gallery_shows_every_callback() -> None:
    """Each has a heading, and each picture of the page is there and small."""
    headings = set(re.findall(r"^## (\w+)$", GALLERY, re.MULTILINE))
    assert headings == set(public_callbacks())
    shown = re.findall(r"!\[[^\]]+\]\((images/\w+\.png)\)", GALLERY + READING)
    assert {f"images/{name}.png" for name in PICTURES} <= set(shown)
    sizes = {name: (DOCS / name).stat().st_size for name in shown}
    assert {path.name for path in (DOCS / "images").glob("*.png")} == {Path(name).name for name in shown}
    assert max(sizes.values()) < 150_000
    assert sum(sizes.values()) < 1_500_000


@pytest.fixture
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in_a_folder")
def test_the_code_of_the_readme_runs() -> None:
    """All of it: the three lines train, the list trains, what says where to look makes callbacks, the check passes."""
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    three, several, places, check = blocks
    space = space_for("") | {"module": Classifier.seeded()}
    quiet = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "logger": False}
    made: list[pl.Trainer] = []

    class Quiet:
        """Lightning's, on the CPU and for one epoch."""

        def Trainer(self, **how: Any) -> pl.Trainer:
            made.append(pl.Trainer(**(how | quiet)))
            return made[-1]

    exec(three.replace("num_classes=10", "num_classes=5"), space | {"pl": Quiet()})
    assert "val/acc" in made[0].callback_metrics
    exec(several, space)
    names = [type(callback).__name__ for callback in space["trainer"].callbacks]
    table = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert set(table) - set(names) == {"MultilabelConfusionMatrix", "MaskGrid", "BoxGrid"}
    exec(places, space)
    exec(check, space)
    space["test_accuracy_survives_sharding"]()


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    """At most 150 lines; every file that it names is there, and every heading."""
    assert len(README.splitlines()) <= 150
    for target in re.findall(r"\]\(((?:docs/|[A-Z]+\.md)[^)]*)\)", README):
        path, _, heading = target.partition("#")
        assert (DOCS.parent / path).is_file(), target
        if heading:
            text = (DOCS.parent / path).read_text(encoding="utf-8")
            there = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
            assert heading in there, target


def test_every_file_that_a_page_names_is_there() -> None:
    """Of the project: modules, benchmarks, examples, tests, other pages. What the reader is to write is not."""
    theirs = {"tests/test_my_metric.py"}
    named = {
        (page.name, path)
        for page in [*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]
        for path in re.findall(
            r"(?<![\w/.])(?:benchmarks|docs|examples|lwcallbacks|tests)/[\w/]+\.(?:md|py)\b", page.read_text("utf-8")
        )
    }
    assert len(named) >= 40
    assert [of for of in sorted(named) if of[1] not in theirs and not (DOCS.parent / of[1]).is_file()] == []


def test_the_design_names_every_room() -> None:
    """Each part of the package that a test of layers knows, with what it may import."""
    rows = re.findall(r"^\| (`.+?) \| .+ \| (.+) \|$", (DOCS / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {
        room.rstrip("/").removesuffix(".py"): set(re.findall(r"`(\w+)", imports))
        for rooms, imports in rows
        for room in re.findall(r"`([\w/.]+)`", rooms)
    }
    assert named.keys() == ROOMS.keys()
    same = {room: imports for room, imports in ROOMS.items() if room not in ("__init__", "__main__", "public", "cli")}
    assert {room: named[room] for room in same} == same


def test_no_page_says_where_packages_lie() -> None:
    """What a script has written into a page says nothing of the machine that it ran on."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    assert "torchmetrics-report.md" in pages
    assert [name for name, text in pages.items() if re.search(r"/\S+/site-packages/", text)] == []
