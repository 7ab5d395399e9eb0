"""Make the pictures of the documentation, docs/images/*.png, from real runs: a few minutes. Needs Chromium.

    .venv/bin/python docs/pictures.py                   # the environment of `make demo`
    .venv/bin/python docs/pictures.py --runs runs/docs  # keeps the runs there, and trains what is not there

The callbacks are those of docs/gallery.md: each code block there that begins with the name of a picture ends with a
callback. The data and the models are those of the examples. Pages are made from the runs' data, as `lwcallbacks export`
makes them.
"""

import argparse
import ast
import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import PIL.Image
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.sharing import comparison, single_file

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

from autoencoder import Autoencoder
from demo import DigitClassifier
from diagnose import NETWORKS, diagnose
from digits import loaders
from shapes import CLASSES, parts
from support.browser import CHROMIUM, NEEDS, Browser, Page

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
MOST = 2000  # pixels of a page's height that are shown
RUNS = {
    "digits": ["scalar_metrics", "confusion_matrix", "curves", "prediction_grid", "gradient_histogram",
               "checkpoint_artifact", "own_picture"],
    "autoencoder": ["image_mosaic"],
    "segmentation": ["mask_grid"],
    "multilabel": ["multilabel_confusion_matrix"],
    "boxes": ["box_grid"],
}  # fmt: skip


class Digits(DigitClassifier):
    """The demo's, with a hyperparameter, for runs that differ."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def callbacks_of(page: str) -> dict[str, pl.Callback]:
    """What the last line of each code block is, by the name in its first line."""
    found = {}
    for name, code in re.findall(r"^```python\n# (\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        space = {"lw": lw, "MulticlassAccuracy": MulticlassAccuracy, "SHAPES": list(CLASSES)}
        *before, last = ast.parse(code).body
        assert isinstance(last, ast.Expr), name
        exec(compile(ast.Module(before, []), name, "exec"), space)
        found[name] = eval(compile(ast.Expression(last.value), name, "eval"), space)
    return found


def train(task: str, version: str = "baseline", **how: Any) -> Path:
    """The folder of a run with the page's callbacks, trained if it is not there; relative, since pictures show it."""
    folder = Path("logs", task, version)
    if (folder / "media" / "index.html").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    pl.seed_everything(0)
    if task in ("digits", "autoencoder"):
        module, data, score, epochs = Digits(**how) if task == "digits" else Autoencoder(), loaders(), "val/acc", 10
    else:
        module, *data, _, score = parts(task)
        epochs = 12
    made = callbacks_of((DOCS / "gallery.md").read_text(encoding="utf-8"))
    callbacks = [made[name] for name in RUNS[task]]
    if task == "digits":
        callbacks.append(ModelCheckpoint(monitor=score, mode="max"))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=CSVLogger("logs", name=task, version=version),
        log_every_n_steps=10,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, *data)
    return folder


def shrink(shot: Path) -> None:
    """A screenshot in 256 colours: a third of the size, and few of its colours are more than shades of letters."""
    with PIL.Image.open(shot) as image:
        few = image.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE)
    few.save(shot, optimize=True)


def newest(run: Path, key: str, target: Path, scale: int = 1) -> None:
    """The last picture of a key, as it is in the run's folder, or with larger pixels."""
    path = max((run / "media" / "val" / key).glob("*.png"))
    with PIL.Image.open(path) as image:
        size = (image.width * scale, image.height * scale)
        image.resize(size, PIL.Image.Resampling.NEAREST).save(target, optimize=True)


def illnesses(target: Path) -> None:
    """For docs/reading-gradients.md, what the networks of examples/diagnose.py look like."""
    for name, make in NETWORKS.items():
        folder = Path("logs", "diagnose", name)
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(0)
        diagnose(make(), logger=CSVLogger("logs", name="diagnose", version=name))
        for key in {"healthy": ("norm", "update_ratio"), "slow": ("update_ratio",), "large": ()}.get(name, ("norm",)):
            path = max((folder / "media" / "gradients" / f"{key}_by_step").glob("*.png"))
            with PIL.Image.open(path) as image:
                image.save(target / f"gradients_{name}_{key}.png", optimize=True)


# The last article of a section that has such a text, or the surroundings of a chart up to the next chart.
CARD = """(() => {
    const fits = node => node.innerText.includes(TEXT), section = document.querySelector(SECTION);
    let found = [...section.querySelectorAll("article")].findLast(fits);
    for (const canvas of found ? [] : section.querySelectorAll("canvas")) {
        let node = canvas;
        while (node.parentElement !== section && node.parentElement.querySelectorAll("canvas").length < 2)
            node = node.parentElement;
        if (fits(node)) found ||= node;
    }
    document.querySelector("[data-card]")?.removeAttribute("data-card");
    found?.setAttribute("data-card", "");
    return found;
})()"""


def card(tab: Page, target: Path, section: str, text: str = "") -> None:
    """A part of the page."""
    tab.wait(CARD.replace("SECTION", repr(section)).replace("TEXT", repr(text)))
    tab.value("document.querySelector('[data-card]').scrollIntoView()")
    tab.settle(1)
    tab.screenshot(target, selector="[data-card]")


def opened(browser: Browser, page: Path, key: str = "", width: int = 1100, dark: bool = False) -> Page:
    """A page of a run, once it is there, with a bar that stays at the top of the document."""
    tab = browser.open(f"{page.as_uri()}#{key}", width=width, height=1400, dark=dark)
    tab.wait("document.body.dataset.ready")
    tab.settle(2)
    return tab


def pages(browser: Browser, runs: dict[str, Path], target: Path) -> None:
    """Everything that a browser shows."""
    for name in ("digits", "slow"):
        (target / f"{name}.html").write_text(single_file(runs[name]).html, encoding="utf-8")
    (target / "compare.html").write_text(comparison([runs["digits"], runs["slow"]]), encoding="utf-8")
    run = target / "digits.html"
    for name, dark in (("page", False), ("page_dark", True)):
        tab = opened(browser, run, width=1400, dark=dark)
        tab.size(1400, min(MOST, int(tab.value("document.querySelector('#confusion').getBoundingClientRect().bottom"))))
        tab.settle(2)
        tab.screenshot(target / f"{name}.png")
        tab.close()
    tab = browser.open(target / "compare.html", width=1400, height=1200)
    tab.settle(3)
    tab.screenshot(target / "compare.png")
    tab.close()
    tab = opened(browser, run)
    card(tab, target / "scalar_metrics.png", "#curves", "val/acc")
    card(tab, target / "confusion_samples.png", "#confusion", "val/confusion_matrix")
    card(tab, target / "prediction_history.png", "#samples", "val/predictions")
    card(tab, target / "checkpoint_artifact.png", "#files")
    tab.close()
    tab = opened(browser, target / "slow.html")
    card(tab, target / "curves.png", "#scores", "val/curves_pr")
    tab.close()
    tab = opened(browser, run, "gradients/net.3.weight")
    tab.value("document.querySelector('header').style.position = 'static'")  # it would be in the picture
    tab.value("document.querySelector('#gradients article .tools button').click()")
    tab.value("void drawAll()")  # nothing above it grows later
    tab.settle(3)
    tab.screenshot(target / "gradient_histogram.png", selector="#gradients")
    tab.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs")
    args = parser.parse_args()
    if CHROMIUM is None:
        sys.exit(NEEDS)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # The browser comes first: it is started by a fork, and that is best done before torch has threads.
    with tempfile.TemporaryDirectory() as scratch, Browser() as browser:
        kept = (args.runs or Path(scratch, "runs")).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        os.chdir(kept)
        runs = {task: train(task) for task in RUNS}
        runs["slow"] = train("digits", "slow", lr=0.0005)
        made = Path(scratch)
        pages(browser, runs, made)
        for shot in made.glob("*.png"):
            shrink(shot)
        newest(runs["digits"], "confusion_matrix", made / "confusion_matrix.png")
        newest(runs["digits"], "predictions", made / "prediction_grid.png")
        newest(runs["digits"], "loss_by_class", made / "own_picture.png")
        newest(runs["autoencoder"], "mosaic", made / "image_mosaic.png", scale=2)
        newest(runs["multilabel"], "confusion_matrix", made / "multilabel_confusion_matrix.png")
        newest(runs["segmentation"], "masks", made / "mask_grid.png")
        newest(runs["boxes"], "boxes", made / "box_grid.png")
        illnesses(made)
        for picture in IMAGES.glob("*.png"):  # a drawing is not of a run, and stays
            picture.unlink()
        IMAGES.mkdir(exist_ok=True)
        for path in sorted(made.glob("*.png")):
            target = Path(shutil.copy(path, IMAGES))
            print(f"{target.stat().st_size / 1000:6.0f} kB  {target.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
