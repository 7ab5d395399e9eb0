"""neuralforecast, a package on `pytorch_lightning`: the example of its own README, with callbacks appended.

A batch holds whole series, of which the step cuts its windows; models are deep-copied with their callbacks, which then
serve several Trainers; and where there is no validation data, the validation step returns NaN.
"""

from __future__ import annotations

import copy
import re
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from support.documented import code
from torchmetrics import MeanAbsoluteError

import lwcallbacks as lw
from lwcallbacks.readers import read_run

pytest.importorskip("neuralforecast", reason="neuralforecast is not installed here; `make test-packages` installs it")

from neuralforecast import NeuralForecast
from neuralforecast.models import NBEATS
from neuralforecast.utils import AirPassengersPanel

pytestmark = [
    pytest.mark.packages,
    pytest.mark.filterwarnings("ignore"),  # what the package and its dependencies warn of,
    pytest.mark.filterwarnings("error:.*lwcallbacks"),  # but not what we do
]

PANEL = AirPassengersPanel[["unique_id", "ds", "y"]]
"""Two series of 144 months, which the package ships."""


def documented(name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(code("existing-projects.md", name), namespace)
    return namespace


def example(trainer_kwargs: dict[str, Any]) -> NeuralForecast:
    """Run the example of the README that is installed with the package, with more keyword arguments for its model."""
    blocks = re.findall(r"```python\n(.*?)```", metadata("neuralforecast").get_payload(), re.DOTALL)
    [readme] = [block for block in blocks if "nf.fit(" in block]
    model = "NBEATS(input_size=24, h=12, max_steps=100"
    assert readme.count(f"{model})") == 1
    namespace: dict[str, Any] = {"trainer_kwargs": trainer_kwargs}
    exec(readme.replace(f"{model})", f"{model}, **trainer_kwargs)"), namespace)
    trained: NeuralForecast = namespace["nf"]
    return trained


def callbacks_of(nf: NeuralForecast) -> list[Any]:
    """The copies that the model trained with."""
    callbacks: list[Any] = nf.models[0].trainer_kwargs["callbacks"]
    return callbacks


def weights_equal(a: NeuralForecast, b: NeuralForecast) -> bool:
    one, other = a.models[0].state_dict(), b.models[0].state_dict()
    return one.keys() == other.keys() and all(torch.equal(weight, other[key]) for key, weight in one.items())


def test_the_version_is_the_one_that_is_named() -> None:
    """The page of the documentation and the pins name what is tested."""
    pinned = Path(__file__).with_name("neuralforecast.txt").read_text()
    installed = version("neuralforecast")
    assert f"\nneuralforecast=={installed}\n" in pinned
    page = Path(__file__).parents[2] / "docs/existing-projects.md"
    assert f"/neuralforecast/{installed}/" in page.read_text()


def test_the_example_of_its_readme() -> None:
    """As it is written, but for callbacks and a logger: the same forecasts, and a complete run on disk."""
    wandb.teardown()  # its process may have been started by another test, in a folder that is not this one
    plain = example({"logger": False, "enable_progress_bar": False})
    trainer_kwargs = documented("forecast.py")["trainer_kwargs"]
    nf = example({**trainer_kwargs, "enable_progress_bar": False})
    assert weights_equal(nf, plain)
    assert nf.predict().equals(plain.predict())
    wandb.finish()

    [directory] = Path("wandb").glob("offline-run-*")
    run = read_run(directory)
    steps = [row["trainer/global_step"] for row in run.history if "gradients/norm/total" in row]
    assert steps == list(range(9, 100, 10))
    saved = [artifact for artifact in run.artifacts if artifact.type == "model"]
    assert [artifact.metadata["step"] for artifact in saved] == [50, 100]
    assert [artifact.aliases for artifact in saved] == [("best", "latest"), ("best", "latest")]
    for artifact in saved:
        [file] = artifact.files.values()
        weights = torch.load(file, weights_only=False)["state_dict"]
        assert weights.keys() == nf.models[0].state_dict().keys()
    assert all(torch.equal(weights[key], weight) for key, weight in nf.models[0].state_dict().items())

    # The callbacks were copied before they were used.
    gradients, artifact, *_ = callbacks_of(nf)  # the Trainer has appended its own
    assert gradients is not trainer_kwargs["callbacks"][0]
    assert not trainer_kwargs["callbacks"][0].results
    learnt = {name for name, parameter in nf.models[0].named_parameters() if parameter.requires_grad}
    assert gradients.results["train"].keys() == learnt
    assert [Path(path).name for path in artifact.results["train"]] == [
        "epoch=49-step=50.ckpt",
        "epoch=99-step=100.ckpt",
    ]


def fitted(callbacks: list[Any], **kwargs: Any) -> NeuralForecast:
    """A small model of two series, validated on their last year after 20, 40 and 60 steps."""
    model = NBEATS(
        input_size=24, h=12, max_steps=60, val_check_steps=20, mlp_units=3 * [[32, 32]],
        callbacks=callbacks, logger=False, enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    nf = NeuralForecast(models=[model], freq="ME")
    nf.fit(PANEL, val_size=12)
    return nf


def test_validation_is_what_the_package_reports() -> None:
    """Our mean absolute error is that of a plain loop over its forecasts, and its own validation loss."""
    plain = fitted([])
    nf = fitted([*documented("validated.py")["callbacks"], lw.GradientHistogram(20)])
    assert weights_equal(nf, plain)

    error = callbacks_of(nf)[0].results["val"]["mae"]
    known = PANEL.groupby("unique_id").head(-12)
    forecasts = nf.predict(df=known)["NBEATS"].to_numpy()
    truth = PANEL.groupby("unique_id").tail(12)["y"].to_numpy()
    metric = MeanAbsoluteError()
    for forecast, value in zip(forecasts, truth, strict=True):
        metric.update(torch.tensor([forecast]), torch.tensor([value], dtype=torch.float32))
    assert float(error) == pytest.approx(float(metric.compute()), rel=1e-6)
    assert float(error) == pytest.approx(nf.models[0].valid_trajectories[-1][1], rel=1e-6)
    assert float(nf.models[0].metrics["val/mae"]) == float(error)


def test_our_metric_can_be_watched() -> None:
    """EarlyStopping and ModelCheckpoint of the same Trainer find it; the callbacks are stored in the checkpoint."""
    watched = {"monitor": "val/mae", "mode": "min"}
    callbacks = [
        *documented("validated.py")["callbacks"],
        lw.CheckpointArtifact(),
        EarlyStopping(**watched, patience=1, min_delta=1e6),
        ModelCheckpoint(**watched, filename="{step}"),
    ]
    nf = fitted(callbacks, enable_checkpointing=True)
    assert [step for step, _ in nf.models[0].valid_trajectories] == [0, 20, 40]
    _, artifact, _, checkpoint = callbacks_of(nf)
    assert checkpoint.best_model_path in artifact.results["train"]
    stored = torch.load(checkpoint.best_model_path, weights_only=False)
    assert stored["state_dict"].keys() == nf.models[0].state_dict().keys()


def test_its_own_saving_works_afterwards(tmp_path: Path) -> None:
    """Saved, loaded and copied models forecast the same, and nothing of ours is on the model."""
    nf = fitted([*documented("validated.py")["callbacks"], lw.GradientHistogram(20)])
    model = nf.models[0]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert "forward" not in vars(model)
    forecasts = nf.predict()
    nf.save(str(tmp_path / "saved"))
    assert NeuralForecast.load(str(tmp_path / "saved")).predict().equals(forecasts)
    assert copy.deepcopy(nf).predict().equals(forecasts)


def test_a_trainer_for_each_window_of_a_cross_validation() -> None:
    """The model is fitted again for each of three windows with the same callbacks; what it forecasts is the same."""

    def validated(callbacks: list[Any]) -> Any:
        model = NBEATS(
            input_size=24, h=12, max_steps=10, mlp_units=3 * [[32, 32]],
            callbacks=callbacks, logger=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        nf = NeuralForecast(models=[model], freq="ME")
        return nf.cross_validation(PANEL, n_windows=3, step_size=12, refit=True), nf

    plain, _ = validated([])
    forecasts, nf = validated([lw.GradientHistogram(5)])
    assert forecasts.equals(plain)
    pages = list(Path("lwcallbacks_logs").glob("*/media/index.html"))
    assert len(pages) == 3
    assert callbacks_of(nf)[0].results["train"]


def test_a_step_that_returns_nan_is_told_before_training() -> None:
    """Without validation data, a metric over validation is an error that shows what the step returned."""
    metrics = lw.ScalarMetrics({"mae": MeanAbsoluteError()}, stages=("val",))
    model = NBEATS(input_size=24, h=12, max_steps=10, callbacks=[metrics], logger=False)
    with pytest.raises(ValueError, match=r"no preds found: the step returned float; no self\(x\) was seen"):
        NeuralForecast(models=[model], freq="ME").fit(PANEL)
