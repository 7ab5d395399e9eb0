"""The demo, run as a newcomer runs it and read back from the files it leaves."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from lwcallbacks.readers import OfflineRun, read_run

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, folder: Path, *args: str) -> str:
    """Run an example in a folder of its own; return what it printed. Takes its other processes with it if it hangs."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "PL_"))}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *args], cwd=folder, env=environment | {"WANDB_DATA_DIR": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        with_group = -process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(with_group, signal.SIGKILL)
    assert process.returncode == 0, printed
    return printed


class Demo:
    """A finished run of the demo, 63 optimizer steps and one validation per epoch."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder = folder
        self.printed = run_example("demo.py", folder, "--output", str(folder / "out"), *args)
        [self.run_dir] = folder.glob("out/wandb/offline-run-*")
        self.run: OfflineRun = read_run(self.run_dir)
        [self.page] = folder.rglob("media/index.html")

    def steps(self, key: str) -> list[int]:
        return [row["trainer/global_step"] for row in self.run.history if key in row]

    def last(self, key: str) -> Any:
        return [row[key] for row in self.run.history if key in row][-1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


VAL_KEYS = (
    "val/acc", "val/loss", "val/confusion_matrix", "val/confusion_matrix_chart_table", "val/confusion_matrix_report",
    "val/confusion_matrix_pairs", "val/confusion_matrix_macro_f1", "val/confusion_matrix_cohen_kappa",
    "val/mosaic", "val/predictions", "val/predictions_table",
)  # fmt: skip


def test_the_network_learns(demo: Demo) -> None:
    """At least 97 % of the validation digits are right."""
    assert demo.last("val/acc") >= 0.97


def test_every_key_is_at_its_step(demo: Demo) -> None:
    """Validation at the last step of each epoch, as self.log has it; training and gradients at their cadence."""
    assert demo.steps("val/loss") == [63 * epoch - 1 for epoch in range(1, 11)]
    for key in VAL_KEYS:
        assert list(dict.fromkeys(demo.steps(key))) == demo.steps("val/loss"), key
    assert demo.steps("train/acc_step") == demo.steps("train/loss") == list(range(49, 630, 50))
    assert demo.steps("train/acc_epoch") == demo.steps("val/loss")
    for key in ("gradients/net.0.weight", "gradients/norm/net.0.weight", "gradients/norm/total"):
        assert demo.steps(key) == list(range(49, 630, 50)), key


def test_the_pictures_are_there_with_the_right_pixels(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mosaic in W&B's own PNG file shows validation digits as they are: round(255 x)."""
    media = demo.run.files_dir / demo.last("val/mosaic")["path"]
    pixels = np.asarray(PIL.Image.open(media))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from digits import digits

    _, val = digits()
    known = {np.rint(255 * x.numpy()[0]).astype(np.uint8).tobytes() for x in val.tensors[0]}
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    height, width = grey.shape
    tiles = [grey[y : y + 28, x : x + 28] for y in range(2, height - 27, 30) for x in range(2, width - 27, 30)]
    assert len(tiles) == 32
    assert len({tile.tobytes() for tile in tiles}) == 32
    assert all(np.ascontiguousarray(tile).tobytes() in known for tile in tiles)
    for image in demo.last("val/predictions")["filenames"]:
        assert (demo.run.files_dir / image).is_file()


def test_the_matrix_counts_every_digit_once(demo: Demo) -> None:
    """The chart in the run holds 1,000 validation digits, 100 of each class."""
    table = json.loads((demo.run.files_dir / demo.last("val/confusion_matrix_chart_table")["path"]).read_text())
    counts = Counter()
    for actual, _, count in table["data"]:
        counts[actual] += count
    assert counts == {str(digit): 100 for digit in range(10)}


def test_the_model_artifact_has_its_aliases(demo: Demo) -> None:
    """The last version is the best one, unless an earlier epoch was better; the file is a checkpoint that loads."""
    versions = [artifact for artifact in demo.run.artifacts if artifact.type == "model"]
    assert [v for v in versions if "latest" in v.aliases] == versions, "each was the latest when it was logged"
    best = [v for v in versions if "best" in v.aliases][-1]
    accuracies = [row["val/acc"] for row in demo.run.history if "val/acc" in row]
    assert best.metadata["score"] == pytest.approx(max(accuracies))
    [content] = best.files.values()
    assert torch.load(content, weights_only=True)["global_step"] == best.metadata["step"]


def test_the_summary_says_where_to_look(demo: Demo) -> None:
    """Key, how often, the command that would sync, and the page, which is where it says."""
    assert re.search(r"val/mosaic\s+image-file\s+10\s+62\s+629", demo.printed)
    assert "wandb sync" in demo.printed
    [page] = re.findall(r"Local page\s+(\S+)", demo.printed)
    assert Path(page).samefile(demo.page)


def test_two_processes_log_the_same_keys(demo: Demo, tmp_path: Path) -> None:
    """With DDP, process 0 writes once, at the same steps, and the matrix still counts 1,000 digits."""
    two = Demo(tmp_path, "--devices", "2", "--epochs", "1")
    assert {k for row in two.run.history for k in row} == {k for row in demo.run.history for k in row}
    assert two.steps("val/mosaic") == [62]
    table = json.loads((two.run.files_dir / two.last("val/confusion_matrix_chart_table")["path"]).read_text())
    assert sum(count for *_, count in table["data"]) == 1000


def test_step_and_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that returns {"loss", "preds", "targets"} gets its step's and its epoch's value logged right."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from step_and_epoch import Perceptron, main

    right: dict[str, list[tuple[int, int]]] = {"train": [], "val": []}  # (right ones, all) by batch, counted by hand

    class Watched(Perceptron):
        def _count(self, stage: str, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            hits = [int(p.argmax()) == int(t) for p, t in zip(outputs["preds"], outputs["targets"], strict=True)]
            right[stage].append((sum(hits), len(hits)))
            return outputs

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self._count("train", super().training_step(batch, batch_idx))

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return self._count("val", Perceptron.training_step(self, batch, batch_idx))

    monkeypatch.setattr("step_and_epoch.Perceptron", Watched)
    monkeypatch.setattr(sys, "argv", ["step_and_epoch.py", "--epochs", "1", "--output", str(tmp_path)])
    main()
    with open(next(tmp_path.rglob("metrics.csv"))) as file:
        rows = list(csv.DictReader(file))
    logged = {key: [(int(r["step"]), float(r[key])) for r in rows if r.get(key)] for key in rows[0] if "acc" in key}
    steps = right["train"]
    assert logged["train/acc_step"] == [(i, pytest.approx(steps[i][0] / steps[i][1])) for i in range(9, 63, 10)]
    # The sanity check has validated two batches before.
    for key, batches in (("train/acc_epoch", steps), ("val/acc", right["val"][2:])):
        hits, samples = map(sum, zip(*batches, strict=True))
        assert samples == {"train/acc_epoch": 4000, "val/acc": 1000}[key]
        assert logged[key] == [(62, pytest.approx(hits / samples))]


def test_autoencoder(tmp_path: Path) -> None:
    """Output above input, one mosaic per epoch."""
    run_example("autoencoder.py", tmp_path)
    assert list(tmp_path.rglob("val/mosaic/*.png"))
