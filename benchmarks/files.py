"""How many files a run's folder has after many steps of many parameters and epochs of all callbacks, and how large.

    python benchmarks/files.py            # a table; one minute
    python benchmarks/files.py --json     # one JSON object: name, ours, peer, ratio, units, versions

3,000 parameters' gradients at 100 logged steps, as `GradientHistogram` publishes them, and 100 epochs of what the other
callbacks publish of a classifier with 10 classes and images 3 x 32 x 32: grids, masks, mosaic, confusion matrices,
reports. Counted, nothing is timed.

    ours    the folder `media` alone
    peer    an offline run of W&B that gets the same by `wandb.Histogram`, lists of `wandb.Image`, `wandb.Table` and
            `wandb.plot.confusion_matrix`: its own files, and the copies of tables that it stages for the upload

`large matrix` is what the page keeps of a confusion matrix of 1,000 classes with 10,000 filled cells, and its report of
each class, in MiB an epoch; its peer is the same as one JSON list of all counts and one of the report's rows.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _common import finish, offline_wandb, options

CLASSES, IMAGES = 10, 16


def histograms(parameters: int, step: int) -> dict[str, Any]:
    import numpy as np

    from lwcallbacks.media import Histogram

    rng = np.random.default_rng(step)
    counts = rng.multinomial(10_000, np.hanning(66)[1:-1] / np.hanning(66).sum(), size=parameters)
    edges = np.linspace(-rng.random(parameters), rng.random(parameters), 65, axis=1)
    return {f"gradients/layer{i}.weight": Histogram(counts[i], edges[i]) for i in range(parameters)}


def pictures(epoch: int) -> dict[str, Any]:
    """As the callbacks publish them at the end of an epoch."""
    import numpy as np

    from lwcallbacks.media import Image, Matrix, Table, confusion_report, draw_labels, draw_matrix, label_report, mosaic

    rng = np.random.default_rng(epoch)
    names = [f"class {i}" for i in range(CLASSES)]
    entries: dict[str, Any] = {}
    for stage in ("train", "val"):
        matrix = Matrix(rng.integers(0, 100, (CLASSES, CLASSES)), names)
        key = f"{stage}/confusion_matrix"
        entries |= {key: draw_matrix(matrix, key), f"{key}_chart": matrix, f"{key}_report": confusion_report(matrix)}
    pixels = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    shown = [Image(image, f"Pred:{i % 10}, Label:{i % 9}") for i, image in enumerate(pixels)]
    rows = [[image, "3", "5", float(rng.random())] for image in shown]
    labels = rng.integers(0, 100, (CLASSES, 2, 2))
    return entries | {
        "val/predictions": shown,
        "val/predictions_table": Table(("image", "pred", "target", "confidence"), rows),
        "val/masks": [Image(np.tile(image, (1, 3, 1)), "Input | Truth | Prediction") for image in pixels],
        "val/mosaic": mosaic(pixels),
        "val/labels": draw_labels(labels, names),
        "val/labels_report": label_report(labels, names),
    }


def in_wandb(logger: Any, entries: dict[str, Any], step: int) -> None:
    """The same by hand."""
    import wandb

    from lwcallbacks.media import Histogram, Image, Matrix, Table

    def by_hand(entry: Any) -> Any:
        match entry:
            case Image():
                return wandb.Image(entry.pixels, caption=entry.caption)
            case Histogram():
                return wandb.Histogram(np_histogram=(entry.counts, entry.edges))
            case Table():
                rows = [[by_hand(cell) if isinstance(cell, Image) else cell for cell in row] for row in entry.rows]
                return wandb.Table(columns=list(entry.columns), data=rows)
            case Matrix():
                truth, pred = entry.counts.nonzero()
                return wandb.plot.confusion_matrix(y_true=truth, preds=pred, class_names=list(entry.class_names))
            case _:
                return [by_hand(image) for image in entry]

    logger.log_metrics({key: by_hand(entry) for key, entry in entries.items()}, step=step)


def held(folder: Path) -> dict[str, float]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {"files": len(files), "MiB": round(sum(path.stat().st_size for path in files) / 2**20, 1)}


def large_matrix() -> tuple[float, float]:
    """MiB of the third epoch's data, and of plain JSON."""
    import numpy as np

    from lwcallbacks.media import Matrix, confusion_report
    from lwcallbacks.writers import FolderWriter

    rng = np.random.default_rng(0)
    counts = np.zeros(10**6, np.int64)
    counts[rng.choice(10**6, 10_000, replace=False)] = rng.integers(1, 50, 10_000)
    matrix = Matrix(counts.reshape(1000, 1000), [f"n{i:08d}" for i in range(1000)])
    report = confusion_report(matrix)
    with TemporaryDirectory() as folder:
        writer, sizes = FolderWriter(folder), [0]
        for epoch in range(3):
            writer.write({"chart": matrix, "report": report}, epoch)
            sizes.append(sum(path.stat().st_size for path in Path(folder).rglob("*.js")))
    plain = len(json.dumps([matrix.counts.tolist(), matrix.class_names, report.rows]))
    return round((sizes[-1] - sizes[-2]) / 2**20, 3), round(plain / 2**20, 3)


def main() -> None:
    args = options(__doc__, repeats=1).parse_args()
    parameters, steps, epochs = (300, 10, 10) if args.quick else (3000, 100, 100)
    from lwcallbacks.writers import FolderWriter

    with offline_wandb() as logger, TemporaryDirectory() as folder:
        writer = FolderWriter(folder)
        for step in range(max(steps, epochs)):
            entries = (histograms(parameters, step) if step < steps else {}) | (pictures(step) if step < epochs else {})
            print(f"step {step}", end="\r", file=sys.stderr, flush=True)
            writer.write(entries, step)
            in_wandb(logger, entries, step)
        ours, peer = held(Path(folder)), held(Path(logger.save_dir))
    ours["large matrix"], peer["large matrix"] = large_matrix()
    ratio = {key: round(ours[key] / peer[key], 4) for key in ours}
    what = f"{parameters:,} parameters x {steps} steps, {epochs} epochs"
    lines = [f"{what:<44}{'ours':>10}{'peer':>10}{'ours / peer':>14}"]
    lines += [f"{key:<44}{ours[key]:>10.5g}{peer[key]:>10.5g}{ratio[key]:>14.4f}" for key in ours]
    result = {"name": "files", "ours": ours, "peer": peer, "ratio": ratio, "units": "files, MiB"}
    finish({**result, "repeats": 1}, args.json, lines)


if __name__ == "__main__":
    main()
