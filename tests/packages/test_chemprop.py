"""chemprop, a package on `lightning.pytorch`: its own programs as they are, with callbacks appended to them.

Batches are named tuples that hold graphs, the validation step returns nothing, and the command makes its own Trainers.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from support.documented import code
from support.recorded import data_on_page
from torchmetrics.classification import BinaryAccuracy

import lwcallbacks as lw
from lwcallbacks.readers import read_run

pytest.importorskip("chemprop", reason="chemprop is not installed here; `make test-packages` installs it")

from chemprop import data, featurizers, models, nn
from chemprop.cli.main import main
from chemprop.models import MPNN, load_model, save_model
from chemprop.utils import make_mol
from lightning import pytorch as pl
from lightning.pytorch.loggers import WandbLogger

pytestmark = [
    pytest.mark.packages,
    pytest.mark.filterwarnings("ignore"),  # what the package and its dependencies warn of,
    pytest.mark.filterwarnings("error:.*lwcallbacks"),  # but not what we do
]

CLASSES = ("neither", "nitrogen", "oxygen")
CHAINS = ("C", "CC", "CCC", "CCCC", "CC(C)C", "c1ccccc1C")
ENDS = {"F": 0, "Cl": 0, "C=C": 0, "CC": 0, "N": 1, "NC": 1, "C#N": 1, "O": 2, "OC": 2, "C(=O)O": 2}
MOLECULES = [(chain + end, label) for chain in CHAINS for end, label in ENDS.items()]
"""60 small molecules, labelled by the element in their functional group."""


def test_the_version_is_the_one_that_is_named() -> None:
    """The page of the documentation and the pins name what is tested."""
    pinned = Path(__file__).with_name("chemprop.txt").read_text()
    assert f"\nchemprop=={version('chemprop')}\n" in pinned
    assert f"/chemprop/{version('chemprop')}/" in (Path(__file__).parents[2] / "docs/existing-projects.md").read_text()


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def chemprop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on the 60 molecules."""
    with open("molecules.csv", "w") as file:
        csv.writer(file).writerows([("smiles", "label"), *MOLECULES])

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["chemprop", *arguments, "-q"])
        main()

    return run


TASK = ("--task-type", "multiclass", "--multiclass-num-classes", "3", "--target-columns", "label")
TRAIN = ("train", "--data-path", "molecules.csv", *TASK, "--epochs", "3", "--batch-size", "16", "--pytorch-seed", "0")


@pytest.fixture
def appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install the documented `my_callbacks` with its entry point; return what Lightning has it make."""
    installed = tmp_path / "site-packages"
    info = installed / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lightning.pytorch.callbacks_factory]\nmine = my_callbacks:make\n")
    (installed / "my_callbacks.py").write_text(code("existing-projects.md", "my_callbacks.py"))
    made: list[Any] = []

    def append() -> list[Any]:
        monkeypatch.syspath_prepend(installed)
        import my_callbacks

        make = my_callbacks.make
        monkeypatch.setattr(my_callbacks, "make", lambda: made.append(make()) or made[-1])
        return made

    yield append
    sys.modules.pop("my_callbacks", None)


def test_the_command_trains_as_without_callbacks(chemprop: Any, appended: Any) -> None:
    """The same weights and predictions, bit by bit; and it predicts with the callbacks installed."""
    chemprop(*TRAIN, "--output-dir", "plain")
    made = appended()
    chemprop(*TRAIN, "--output-dir", "appended")
    assert len(made) == 1
    plain, trained = (load_model(f"{name}/model_0/best.pt").state_dict() for name in ("plain", "appended"))
    assert plain.keys() == trained.keys()
    assert all(torch.equal(plain[key], trained[key]) for key in plain)
    predictions = [Path(name, "model_0/test_predictions.csv").read_text() for name in ("plain", "appended")]
    assert predictions[0] == predictions[1]

    # A second Trainer, without a logger, for data without labels.
    before = set(Path().iterdir())
    Path("unlabelled.csv").write_text("\n".join(["smiles", *(smiles for smiles, _ in MOLECULES)]))
    paths = ("--model-paths", "appended/model_0/best.pt", "--output", "predicted.csv")
    chemprop("predict", "--test-path", "unlabelled.csv", *paths)
    assert len(made) == 2
    predicted = {row["smiles"]: row["label"] for row in csv.DictReader(Path("predicted.csv").read_text().splitlines())}
    tested = list(csv.DictReader(predictions[1].splitlines()))
    assert [predicted[row["smiles"]] for row in tested] == [row["label"] for row in tested]
    assert {path.name for path in set(Path().iterdir()) - before} == {"unlabelled.csv", "predicted.csv"}


def test_the_callbacks_report_what_the_command_did(chemprop: Any, appended: Any) -> None:
    """The matrix and the accuracy are those of a loop over the last model's predictions; checkpoints are kept."""
    made = appended()
    chemprop(*TRAIN, "--output-dir", "out")
    [[matrix, metrics, gradients, artifact]] = made

    [splits] = json.loads(Path("out/splits.json").read_text())
    validated = [MOLECULES[i] for i in splits["val"]]
    last = MPNN.load_from_checkpoint("out/model_0/checkpoints/last.ckpt").eval()
    points = [data.MoleculeDatapoint.from_smi(smiles, [label]) for smiles, label in validated]
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for batch in data.build_dataloader(data.MoleculeDataset(points), shuffle=False):
        with torch.no_grad():
            for scores, label in zip(last(batch.bmg), batch.Y, strict=True):
                counts[int(label), int(scores.argmax())] += 1
    assert torch.equal(matrix.results["val"], counts)
    assert metrics.results["val"]["acc"] == counts.diagonal().sum() / counts.sum()
    # The training step calls a submodule's `train_step`; each of the 48 molecules was seen.
    assert int(matrix.results["train"].sum()) == len(splits["train"])
    assert gradients.results["train"].keys() == {name for name, _ in last.named_parameters()}

    [page] = Path("out/model_0").rglob("media/index.html")
    assert len(list((page.parent / "val/confusion_matrix").glob("*.png"))) == 3
    versions = list(data_on_page(page.parent, "model-0").values())
    saved = [Path(path).name for path in artifact.results["train"]]
    assert [told["metadata"]["filename"] for told in versions] == saved
    assert "latest" in versions[-1]["aliases"]
    [kept] = Path("out/model_0/checkpoints").glob("best-*.ckpt")
    assert [told["metadata"]["filename"] for told in versions if "best" in told["aliases"]][-1] == kept.name
    assert versions[-1]["metadata"]["metrics"]["val/acc"] == pytest.approx(float(metrics.results["val"]["acc"]))


# -- a script ------------------------------------------------------------------------------------------------------


def loaders() -> tuple[Any, Any]:
    points = [
        data.MoleculeDatapoint(make_mol(smiles), y=torch.tensor([float(label == 2)]).numpy())
        for smiles, label in MOLECULES
    ]
    featurizer = featurizers.SimpleMoleculeMolGraphFeaturizer()
    fitted, validated = (data.MoleculeDataset(part, featurizer) for part in (points[:40], points[40:]))
    return (
        data.build_dataloader(fitted, batch_size=8),
        data.build_dataloader(validated, batch_size=8, shuffle=False),
    )


def trained(callbacks: list[Any], **kwargs: Any) -> tuple[Any, Any]:
    """A classifier of two classes with one output, three epochs."""
    pl.seed_everything(1, verbose=False)
    network = nn.BondMessagePassing(d_h=32), nn.MeanAggregation(), nn.BinaryClassificationFFN(input_dim=32)
    model = models.MPNN(*network, metrics=[nn.metrics.BinaryAccuracy()])
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(max_epochs=3, callbacks=callbacks, log_every_n_steps=1, **(quiet | kwargs))
    trainer.fit(model, *loaders())
    return model, trainer


def documented() -> list[Any]:
    namespace: dict[str, Any] = {}
    exec(code("existing-projects.md", "chemprop_script.py"), namespace)
    callbacks: list[Any] = namespace["callbacks"]
    return callbacks


def test_a_script_with_weights_and_biases(tmp_path: Path) -> None:
    """The run is complete on disk, the values are the package's own, and the model saves and loads as before."""
    plain, _ = trained([])
    matrix, metrics, _, _ = callbacks = documented()
    model, trainer = trained(callbacks, logger=WandbLogger(mode="offline", save_dir=tmp_path))
    trainer.logger.experiment.finish()
    assert all(torch.equal(weight, model.state_dict()[key]) for key, weight in plain.state_dict().items())

    model.eval()
    with torch.no_grad():
        batches = [(model(batch.bmg)[:, 0], batch.Y[:, 0].long()) for batch in loaders()[1]]
    counts = torch.zeros(2, 2, dtype=torch.int64)
    for probabilities, labels in batches:
        for probability, label in zip(probabilities, labels, strict=True):
            counts[label, int(probability > 0.5)] += 1
    assert torch.equal(matrix.results["val"], counts)
    assert metrics.results["val"]["acc"] == counts.diagonal().sum() / counts.sum()
    assert float(metrics.results["val"]["acc"]) == pytest.approx(float(trainer.callback_metrics["val/accuracy"]))

    [directory] = (tmp_path / "wandb").glob("offline-run-*")
    run = read_run(directory)
    accuracies = [row["val/acc"] for row in run.history if "val/acc" in row]
    assert len(accuracies) == 3
    assert accuracies[-1] == pytest.approx(float(metrics.results["val"]["acc"]))
    assert sum("val/confusion_matrix" in key for row in run.history for key in row) >= 3
    steps = [row["trainer/global_step"] for row in run.history if "gradients" in row or "gradients/norm/total" in row]
    assert set(steps) == {1, 3, 5, 7, 9, 11, 13}
    saved = [artifact for artifact in run.artifacts if artifact.type == "model"]
    assert [artifact.aliases for artifact in saved][-1] == ("best", "latest")
    assert all(path.is_file() for artifact in saved for path in artifact.files.values())

    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert "forward" not in vars(model)
    save_model("saved.pt", model)
    loaded = load_model("saved.pt")
    assert all(torch.equal(weight, loaded.state_dict()[key]) for key, weight in model.state_dict().items())


def test_what_is_predicted_is_counted(tmp_path: Path) -> None:
    """In the predict stage, what the step returns counts, made into labels by the same function of three."""

    def label_of(outputs: Any, batch: Any, returned: Any) -> torch.Tensor:
        return (returned[:, 0] > 0.5).long()

    matrix = lw.ConfusionMatrix(2, preds=label_of, targets=lambda o, b: b.Y[:, 0].long(), stages=("predict",))
    model, trainer = trained([matrix])
    predictions = torch.cat(trainer.predict(model, loaders()[1]))[:, 0]
    labels = torch.tensor([int(label == 2) for _, label in MOLECULES[40:]])
    expected = BinaryAccuracy()(predictions, labels)
    counted = matrix.results["predict"]
    assert counted.diagonal().sum() / counted.sum() == expected
    assert int(counted.sum()) == len(labels)


def test_missing_targets_are_told_before_training() -> None:
    """The error shows the named tuple's fields, and the graph by its class."""
    told = r"no targets found.*TrainingBatch\{'bmg': BatchMolGraph.*'Y': float32\[8, 1\]"
    with pytest.raises(ValueError, match=told) as caught:
        trained([lw.ScalarMetrics({"acc": BinaryAccuracy()})])
    assert re.search(r"pass targets=", str(caught.value))
