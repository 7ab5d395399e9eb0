"""The files and commands of docs/configuration.md, run as they stand there."""

from __future__ import annotations

import csv
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import docstring_parser
import pytest
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf
from pytorch_lightning.cli import LightningCLI
from support.everyone import public_callbacks
from support.modules import Classifier
from support.recorded import data_on_page, on_page

import lwcallbacks as lw

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
PUBLIC = list(public_callbacks().values())
OTHER_DATA = {
    lw.BoxGrid: {"num_samples": 4, "class_names": ["a", "b"], "size": [64, 96], "preds": 0, "stages": ["val"]},
    lw.MaskGrid: {"num_samples": 4, "class_names": ["a", "b"], "mean": [0.5], "preds": 0, "stages": ["val"]},
    lw.MultilabelConfusionMatrix: {"num_labels": 2, "class_names": ["a", "b"], "logits": True},
}
FOR_THE_MODEL = [callback for callback in PUBLIC if callback not in OTHER_DATA]


def write_files(folder: Path) -> None:
    """Each code block of the page that begins with a comment that names a file."""
    for name, text in re.findall(r"^```\w+\n# (\w+\.\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        (folder / name).write_text(text)


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line.partition(" #")[0].rstrip() for block in blocks for line in block.splitlines()]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command `python ...` in a folder, as a user would."""
    program, *arguments = shlex.split(command)
    assert program == "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PL_")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


class Ran:
    """A folder in which each command of the page was run once, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_files(folder)
        self.printed: dict[str, str] = {}
        self.logged: dict[str, Path] = {}
        for command in commands():
            before = self._versions()
            finished = run(command, folder)
            assert finished.returncode == 0, finished.stderr
            self.printed[command] = finished.stdout
            for new in self._versions() - before:
                self.logged[command] = new

    def _versions(self) -> set[Path]:
        return set(self.folder.glob("runs/lightning_logs/version_*"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("configuration"))


def pictures(run_directory: Path) -> dict[str, Any]:
    """What validation and the gradients left in the folder: files byte by byte, and the data of each step."""
    files = [p for p in (run_directory / "media" / "val").rglob("*") if p.is_file()]
    keys = [key for key in on_page(run_directory) if key.startswith(("val/", "gradients/"))]
    return {
        **{key: data_on_page(run_directory, key) for key in keys},
        **{str(p.relative_to(run_directory)): p.read_bytes() for p in files},
    }


def numbers(run_directory: Path) -> set[tuple[str, str, str]]:
    """Every number by step and key. In which lines they are depends on when the background hands them over."""
    with open(run_directory / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["step"], key, value) for row in rows for key, value in row.items() if value and key != "step"}


def matrix(run_directory: Path) -> dict[str, Any]:
    return data_on_page(run_directory, "val/confusion_matrix_chart").popitem()[1]


def test_every_callback_is_in_both_files(tmp_path: Path) -> None:
    """All public callbacks that go with the page's model, by the names under which a user finds them."""
    write_files(tmp_path)
    cli = yaml.safe_load((tmp_path / "config.yaml").read_text())["trainer"]["callbacks"]
    hydra = yaml.safe_load((tmp_path / "hydra.yaml").read_text())["trainer"]["callbacks"]
    ours = {f"lwcallbacks.{callback.__name__}" for callback in FOR_THE_MODEL}
    assert ours <= {callback["class_path"] for callback in cli}
    assert ours <= {callback["_target_"] for callback in hydra}


def test_every_command_does_what_the_page_says(ran: Ran) -> None:
    """Two of them train for two epochs; the matrix counts all 101 samples, under the names in the file."""
    assert len(ran.logged) == 2
    for directory in ran.logged.values():
        found = matrix(directory)
        assert sum(map(sum, found["counts"])) == 101
        assert found["class_names"] == ["zero", "one", "two", "three", "four"]
        assert (directory / "media" / "index.html").is_file()
        assert len(list(directory.glob("media/val/mosaic/*.png"))) == 2
    assert "--trainer.callbacks.num_classes" in ran.printed[commands()[2]]


def test_the_logged_configuration_makes_the_same_run(ran: Ran) -> None:
    """From the config.yaml that LightningCLI left in the run's folder: the same pictures and numbers, byte by byte."""
    first = ran.logged["python main.py fit --config config.yaml"]
    before = set(ran.folder.glob("runs/lightning_logs/*"))
    finished = run(f"python main.py fit --config {first / 'config.yaml'}", ran.folder)
    assert finished.returncode == 0, finished.stderr
    [again] = set(ran.folder.glob("runs/lightning_logs/*")) - before
    assert "media/val/mosaic/00000025.png" in pictures(first)
    assert pictures(again) == pictures(first)
    assert numbers(again) == numbers(first)


def test_lightning_cli_and_hydra_make_the_same_run(ran: Ran) -> None:
    """The two files of the page say the same."""
    cli = ran.logged["python main.py fit --config config.yaml"]
    assert pictures(ran.logged["python main_hydra.py trainer.max_epochs=2"]) == pictures(cli)
    assert numbers(ran.logged["python main_hydra.py trainer.max_epochs=2"]) == numbers(cli)


def test_the_printed_configuration_is_complete(ran: Ran) -> None:
    """Every argument of every callback is in it, and printing it again changes nothing."""
    printed = ran.printed["python main.py fit --config config.yaml --print_config"]
    callbacks = {c["class_path"]: c["init_args"] for c in yaml.safe_load(printed)["trainer"]["callbacks"]}
    for callback in FOR_THE_MODEL:
        assert set(callbacks[f"lwcallbacks.{callback.__name__}"]) == set(inspect.signature(callback).parameters)
    (ran.folder / "printed.yaml").write_text(printed)
    assert run("python main.py fit --config printed.yaml --print_config", ran.folder).stdout == printed


@pytest.mark.parametrize("callback", PUBLIC)
def test_help_shows_every_argument_with_its_description(
    callback: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one from the docstring, where each argument has its own; nothing is said of subclasses of Tensor."""
    described = {p.arg_name: p.description for p in docstring_parser.parse(inspect.getdoc(callback) or "").params}
    assert list(described) == list(inspect.signature(callback).parameters)
    monkeypatch.setattr(sys, "argv", ["main.py"])
    with pytest.raises(SystemExit):
        LightningCLI(Classifier, args=["fit", "--trainer.callbacks.help", f"lwcallbacks.{callback.__name__}"])
    shown = " ".join(capsys.readouterr().out.split())
    for name, description in described.items():
        assert re.search(rf"--trainer\.callbacks\.{name} .*?{re.escape(' '.join(description.split()))}", shown), name
    assert "torch.Tensor" not in shown


def from_cli(path: Path) -> None:
    from model import Data, Model

    LightningCLI(Model, Data, run=False, args=["--config", str(path)])


def from_hydra(path: Path) -> None:
    instantiate(OmegaConf.load(path).trainer)


@pytest.mark.parametrize("callback", OTHER_DATA)
def test_callbacks_for_other_data_are_made_from_yaml(callback: type) -> None:
    """By Hydra and by jsonargparse, which LightningCLI makes everything with: all arguments as in Python."""
    given, path = OTHER_DATA[callback], f"lwcallbacks.{callback.__name__}"
    expected = callback(**given)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(callback, "callback")
    made = parser.instantiate(parser.parse_object({"callback": {"class_path": path, "init_args": given}}))
    for found in (instantiate(OmegaConf.create({"_target_": path, **given})), made.callback):
        for name in inspect.signature(callback).parameters:
            assert getattr(found, name) == getattr(expected, name), name


def test_hydra_takes_a_preset() -> None:
    """The page's lines: one target is the whole list of callbacks."""
    [text] = re.findall(
        r"^```yaml\n(callbacks:\n  _target_: lwcallbacks\.presets.*?)^```", PAGE.read_text(), re.M | re.S
    )
    made = instantiate(OmegaConf.create(yaml.safe_load(text))).callbacks
    names = ["ScalarMetrics", "ConfusionMatrix", "PredictionGrid", "GradientHistogram", "CheckpointArtifact"]
    assert [type(callback).__name__ for callback in made] == names
    assert made[1].class_names == ("zero", "one", "two", "three", "four")


WRONG = {
    "no such argument": ("nrow: 4", "nrows: 4", "ImageMosaic", "nrows"),
    "another type": ("every_n_train_steps: 5", "every_n_train_steps: x", "GradientHistogram", "every_n_train_steps"),
    "out of range": ("num_samples: 16", "num_samples: 0", "ImageMosaic", "num_samples=0, expected an int of at least"),
    "another word": ('normalize: "true"', "normalize: rows", "ConfusionMatrix", "normalize"),
    "too few names": ("[zero, one, two, three, four]", "[a]", "ConfusionMatrix", "class_names has 1 names, expected"),
    "no metric": ("torchmetrics.classification.MulticlassAccuracy", "builtins.dict", "ScalarMetrics", "metrics"),
}


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")  # Lightning's own calls
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize(("file", "load"), [("config", from_cli), ("hydra", from_hydra)], ids=["cli", "hydra"])
def test_a_wrong_argument_is_told_before_there_is_a_trainer(
    case: str, file: str, load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback and the argument are named."""
    write_files(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["main.py"])
    right, wrong, callback, argument = WRONG[case]
    path = tmp_path / f"{file}.yaml"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    try:
        with pytest.raises((SystemExit, ValueError, InstantiationException)) as caught:
            load(path)
    finally:
        sys.modules.pop("model", None)
    told = capsys.readouterr().err + str(caught.value)
    assert callback in told
    assert argument in told


def test_there_and_back() -> None:
    """The code of the page, on callbacks whose arguments are plain and are not."""
    [code] = re.findall(r"^```python\n(from inspect.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for callback in (lw.ConfusionMatrix(5, preds=lambda outputs, batch: batch[1]), lw.ImageMosaic(mean=[0.5])):
        names: dict[str, Any] = {"callback": callback}
        exec(code, names)
        assert type(names["again"]) is type(callback)
        assert names["arguments"]
        for name, value in names["arguments"].items():
            assert getattr(names["again"], name) == value
