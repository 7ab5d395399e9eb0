"""Folders of made-up runs, as `FolderWriter` and what records a run write them: for tests of the page, its benchmark.

    python tests/support/page_runs.py OUT           # a folder with everything, for a look at it

The data are drawn here, so that nothing is needed but what the package needs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lwcallbacks.disk import append_lines, folder_of
from lwcallbacks.media import File, Histogram, Image, Matrix, Table, confusion_report, draw_matrix
from lwcallbacks.media.png import encoded
from lwcallbacks.writers.chunks import Chunks
from lwcallbacks.writers.compact import encode, matrix_json
from lwcallbacks.writers.folder import FolderWriter

STEPS = 63  # of training in an epoch


def write_scalars(folder: Path, rows: Iterable[tuple[int, int | None, Mapping[str, float]]]) -> None:
    lines = [f"LW.scalars({encode([step, epoch, dict(values)])[1:-1]});" for step, epoch, values in rows]
    append_lines(folder / "scalars.js", "\n".join(lines))


def write_run(folder: Path, **info: Any) -> None:
    given = {"name": "digits", "version": "9eqq36ma", "started": "2026-11-26T10:00:00+00:00", "ended": None}
    append_lines(
        folder / "run.js", f"LW.run({encode({**given, 'state': 'finished', 'config': {}, 'max_epochs': None} | info)});"
    )


def digit(label: int, rng: np.random.Generator, size: int = 28) -> np.ndarray:
    """A digit, turned a little."""
    canvas = Pillow.new("L", (size, size))
    font = ImageFont.load_default(size=int(size * rng.uniform(0.75, 0.95)))
    ImageDraw.Draw(canvas).text((size / 2, size / 2), str(label), fill=255, font=font, anchor="mm")
    turned = canvas.rotate(rng.uniform(-25, 25), resample=Pillow.Resampling.BILINEAR)
    noise = rng.integers(0, 40, (size, size))
    return np.clip(np.asarray(turned).astype(int) + noise, 0, 255).astype(np.uint8)


class Guesses:
    """1,000 samples of ten classes, and what is predicted of them in each epoch: better and better."""

    def __init__(
        self, rng: np.random.Generator, num_epochs: int, num_samples: int = 1000, num_classes: int = 10
    ) -> None:
        self.targets = np.arange(num_samples) % num_classes
        hardness = rng.exponential(1.0, num_samples)
        likely = (self.targets + rng.choice([1, 3, 5], num_samples, p=[0.6, 0.3, 0.1])) % num_classes
        likely[self.targets == 4] = 9
        self.preds, self.confidences, self.losses = [], [], []
        for epoch in range(num_epochs):
            skill = 1.2 + 2.6 * (1 - math.exp(-epoch / 3))
            margin = skill - hardness + rng.normal(0, 0.15, num_samples)
            self.preds.append(np.where(margin > 0, self.targets, likely))
            self.confidences.append(1 / (1 + np.exp(-np.abs(margin) * 2)))
            right = 1 / (1 + np.exp(-margin * 2))
            self.losses.append(-np.log(np.clip(right, 1e-6, 1)))

    def counts(self, epoch: int, num_classes: int = 10) -> np.ndarray:
        counts = np.zeros((num_classes, num_classes), np.int64)
        np.add.at(counts, (self.targets, self.preds[epoch]), 1)
        return counts


def everything(folder: Path, num_epochs: int = 10, names: list[str] | None = None, state: str = "finished") -> Path:
    """A run with a value of every kind."""
    rng = np.random.default_rng(0)
    names = names or [str(label) for label in range(10)]
    guesses = Guesses(rng, num_epochs)
    images = [digit(label, rng) for label in guesses.targets]
    writer = FolderWriter(folder)
    layers = [f"net.{i}.{part}" for i in (0, 3, 8) for part in ("weight", "bias")]
    scenes = [scene(np.random.default_rng(i)) for i in range(4)]
    chosen = np.argsort(-guesses.losses[-1])[:24].tolist() + list(range(0, 80, 10))
    smooth = [np.clip(image.astype(int) // 2 + 40, 0, 255).astype(np.uint8) for image in images[:8]]
    for epoch in range(num_epochs):
        scalars = []
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            t = step / STEPS
            values = {}
            if step % 7 == 6:
                loss = 0.08 + 2.2 * math.exp(-t / 1.5) + 0.05 * rng.normal() * math.exp(-t / 5)
                values |= {
                    "train/loss_step": max(0.01, loss),
                    "train/acc_step": min(1.0, 1 - 0.8 * math.exp(-t / 1.2) + 0.01 * rng.normal()),
                }
                values["lr-Adam"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * t / num_epochs))
            if step % 21 == 20:
                strength = {
                    layer: (0.5 + i) * math.exp(-t / 4) * rng.uniform(0.6, 1.4) * 0.05 for i, layer in enumerate(layers)
                }
                values |= {f"gradients/norm/{layer}": norm for layer, norm in strength.items()}
                values["gradients/norm/total"] = math.sqrt(sum(norm**2 for norm in strength.values()))
                writer.write({f"gradients/{layer}": histogram(rng, norm) for layer, norm in strength.items()}, step)
            if values:
                scalars.append((step, epoch, values))
        step = (epoch + 1) * STEPS - 1
        right = float((guesses.preds[epoch] == guesses.targets).mean())
        loss = float(guesses.losses[epoch].mean()) + 0.004 * max(0, epoch - 6) ** 2
        scalars.append(
            (
                step,
                epoch,
                {
                    "val/loss": loss,
                    "val/acc": right,
                    "val/f1": right - 0.004,
                    "train/loss_epoch": loss * 0.8,
                    "train/acc_epoch": min(1, right + 0.01),
                },
            )
        )
        write_scalars(folder, scalars)
        matrix = Matrix(guesses.counts(epoch), names)
        rows = []
        for i in chosen:
            pred, target = int(guesses.preds[epoch][i]), int(guesses.targets[i])
            sure, cost = float(guesses.confidences[epoch][i]), float(guesses.losses[epoch][i])
            labels = names[pred], names[target]
            rows.append([Image(images[i]), i, *labels, sure, cost, pred == target, f"{names[pred]} {sure:.2f}"])
        samples = Table(("image", "id", "pred", "target", "confidence", "loss", "correct", "top-3"), rows)
        blend = [
            Image(
                np.clip(a.astype(float) * (1 - math.exp(-epoch / 2)) + b * math.exp(-epoch / 2), 0, 255).astype(
                    np.uint8
                )
            )
            for a, b in zip(images[:8], smooth, strict=True)
        ]
        mosaic = Image(
            np.concatenate([np.concatenate([i.pixels for i in blend], 1), np.concatenate(images[:8], 1)]),
            "Top: output, Bottom: input",
        )
        checkpoint = File(
            folder / f"epoch={epoch}.ckpt",
            "model-digits",
            aliases=("best", "latest") if epoch == num_epochs - 1 else ("latest",),
            metadata={"val/loss": loss, "val/acc": right, "epoch": epoch},
        )
        writer.write(
            {
                "val/confusion_matrix": draw_matrix(matrix, title="val/confusion_matrix"),
                "val/confusion_matrix_report": confusion_report(matrix),
                "val/predictions_table": samples,
                "val/mosaic": mosaic,
                "model-digits": checkpoint,
            },
            step,
        )
        extra(
            folder,
            step,
            "val/confusion_matrix_chart",
            "matrix",
            with_examples(matrix, guesses, epoch, images, folder, step),
        )
        extra(folder, step, "val/curves_roc", "curve", roc(rng, 1 + epoch / 8))
        write_masks(writer, folder, step, scenes, epoch / num_epochs)
    columns = ("callback", "share of the run, %", "training thread, s", "background, s", "to the host, MiB")
    costs = [["ConfusionMatrix()", 0.3, 0.04, 0.5, 0.0, 0, 0.6], ["shared by all", 0.4, 0.05, 0.1, 0.0, 30, 0.5]]
    total = ["total", 0.7, 0.09, 0.6, 0.0, 30, 1.1]
    writer.write_cost(Table((*columns, "collectives", "on disk, MiB"), [*costs, total]))
    config = {
        "model": {"width": 64, "layers": [32, 64, 128], "activation": "relu"},
        "optimizer": {"name": "Adam", "lr": 1e-3},
        "batch_size": 64,
        "seed": None,
    }
    write_run(
        folder,
        config=config,
        state=state,
        max_epochs=num_epochs,
        ended="2026-11-26T10:04:00+00:00" if state == "finished" else None,
    )
    return folder


def extra(folder: Path, step: int, key: str, kind: str, text: str) -> None:
    """A value of a form that the writer does not make yet."""
    chunks = Chunks(folder, folder_of)
    chunks.refresh()
    chunks.write(step, {key: kind}, {key: text})


def with_examples(
    matrix: Matrix, guesses: Guesses, epoch: int, images: list[np.ndarray], folder: Path, step: int
) -> str:
    """The JSON of a matrix with three samples of each confused pair, hardest first, in one sheet."""
    chunks = Chunks(folder, folder_of)
    chunks.refresh()
    value = json.loads(matrix_json(matrix, chunks.texts, lambda image: {}))
    if isinstance(value["class_names"], int):
        value["class_names"] = list(matrix.class_names)
    file = folder / "val" / "confusion_examples" / f"{step:08d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    cells: dict[str, list[dict[str, Any]]] = {}
    sheet = []
    for i in np.argsort(-guesses.losses[epoch]):
        pred, target = int(guesses.preds[epoch][i]), int(guesses.targets[i])
        kept = cells.setdefault(f"{target},{pred}", [])
        if pred != target and len(kept) < 3:
            kept.append(
                {
                    "image": str(file.relative_to(folder)),
                    "box": [28 * len(sheet), 0, 28, 28],
                    "caption": f"confidence {guesses.confidences[epoch][i]:.2f}",
                }
            )
            sheet.append(images[i])
    if sheet:
        file.write_bytes(encoded(np.concatenate(sheet, 1)))
    return encode(value | {"examples": {pair: kept for pair, kept in cells.items() if kept}})


def pixels_of(path: Path) -> np.ndarray:
    """The pixels of a PNG, RGB."""
    with Pillow.open(path) as image:
        return np.asarray(image.convert("RGB"))


def histogram(rng: np.random.Generator, scale: float, bins: int = 64) -> Histogram:
    counts, edges = np.histogram(rng.normal(0, scale, 2000), bins)
    return Histogram(counts, edges)


def roc(rng: np.random.Generator, skill: float) -> str:
    lines = []
    for name in ("class 0", "class 4", "class 9"):
        scores = np.concatenate([rng.normal(0, 1, 300), rng.normal(skill, 1, 300)])
        truth = np.repeat([0, 1], 300)
        order = np.argsort(-scores)
        hits, misses = np.cumsum(truth[order]) / 300, np.cumsum(1 - truth[order]) / 300
        area = float(np.diff(misses) @ (hits[1:] + hits[:-1]) / 2)
        best = int(np.argmax(hits - misses))
        shares = (1 / (1 + np.exp(-scores[order]))).round(4)
        line = {"name": name, "x": misses.round(4).tolist(), "y": hits.round(4).tolist(), "at": shares.tolist()}
        line["marks"] = [[float(misses[best]), float(hits[best]), f"best at {shares[best]:.2f}"]]
        lines.append(line | {"text": f"AUROC {area:.4f}, off by at most 0.0002"})
    return encode(
        {
            "x": "false positive rate",
            "y": "true positive rate",
            "lines": lines,
            "diagonal": True,
            "notes": ["One against the rest."],
        }
    )


def scene(rng: np.random.Generator, size: int = 96) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """A picture of shapes, the label of each pixel (1 a disc, 2 a box), and the boxes of the shapes."""
    picture, labels = Pillow.new("RGB", (size, size), (70, 90, 80)), Pillow.new("L", (size, size))
    boxes = []
    for label in (1, 2, 1):
        left, top, side = *rng.integers(5, size - 40, 2).tolist(), int(rng.integers(18, 34))
        box = (left, top, left + side, top + side)
        for canvas, fill in ((picture, (200, 120, 90) if label == 1 else (120, 150, 210)), (labels, label)):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if label == 1 else draw.rectangle)(box, fill=fill)
        boxes.append([left, top, side, side])
    noise = rng.integers(-15, 15, (size, size, 3))
    return np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8), np.asarray(labels), boxes


def write_masks(writer: FolderWriter, folder: Path, step: int, scenes: list[Any], skill: float) -> None:
    """An image with label maps and boxes."""
    picture, labels, boxes = scenes[0]
    guess = np.roll(labels, round(8 * (1 - skill)), axis=1)
    writer.write({"val/masks": Image(picture, "shapes with masks and boxes")}, step)
    places = {}
    for name, pixels in (("truth", labels), ("prediction", guess)):
        file = folder / "val" / "masks_layers" / f"{name}-{step:08d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(pixels.astype(np.uint8)))
        places[name] = str(file.relative_to(folder))
    classes = {"1": "disc", "2": "box"}
    shown: list[dict[str, Any]] = [{"box": box, "label": "shape", "style": "truth"} for box in boxes]
    for i, (left, top, *size) in enumerate(boxes):
        guessed = {"box": [left + 3, top - 2, *size], "score": 0.9 - 0.2 * i, "match": i < 2}
        shown.append({"label": "shape", "style": "prediction"} | guessed)
    colours = {"1": "#0072b2", "2": "#cc79a7"}
    layers = [{"name": name, "classes": classes, "colours": colours, "image": file} for name, file in places.items()]
    value = {"layers": layers, "boxes": shown}
    extra(folder, step, "val/masks", "image", encode(value))


def many_steps(folder: Path, num_steps: int = 200, num_keys: int = 40) -> Path:
    """So many steps of so many keys: tables and matrices, and images of which each has its file."""
    rng = np.random.default_rng(1)
    writer = FolderWriter(folder)
    for step in range(num_steps):
        entries: dict[str, Any] = {}
        for k in range(num_keys):
            if k % 4 == 0:
                entries[f"val/matrix_{k}"] = Matrix(rng.integers(0, 50, (10, 10)), tuple(map(str, range(10))))
            elif k % 4 == 1:
                entries[f"val/image_{k}"] = Image(rng.integers(0, 255, (8, 8), dtype=np.uint8), f"step {step}")
            else:
                entries[f"val/table_{k}"] = Table(
                    ("class", "recall", "count"), [[str(i), float(rng.random()), int(i)] for i in range(10)]
                )
        writer.write(entries, step * 10)
    return folder


def long_curves(folder: Path, num_steps: int = 5000, num_curves: int = 20) -> Path:
    rng = np.random.default_rng(2)
    walks = np.cumsum(rng.normal(0, 0.01, (num_steps, num_curves)), axis=0) + 2 * np.exp(
        -np.arange(num_steps)[:, None] / 1500
    )
    names = [
        f"{stage}/{name}"
        for name in ("loss", "acc", "f1", "auroc", "error", "iou", "mse")
        for stage in ("train", "val", "test")
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_scalars(
        folder,
        (
            (step, step // 500, dict(zip(names[:num_curves], walks[step].tolist(), strict=True)))
            for step in range(num_steps)
        ),
    )
    FolderWriter(folder).write({"val/report": Table(("class", "recall"), [["a", 0.5]])}, num_steps - 1)
    return folder


def many_parameters(folder: Path, num_parameters: int = 200, num_steps: int = 2000) -> Path:
    rng = np.random.default_rng(3)
    writer = FolderWriter(folder)
    layers = [f"backbone.layers.{i // 2}.{('weight', 'bias')[i % 2]}" for i in range(num_parameters)]
    counts = [rng.multinomial(2000, np.ones(64) / 64) for _ in range(64)]
    rows = []
    for step in range(num_steps):
        norms = rng.random(num_parameters) * math.exp(-step / 800)
        writer.write(
            {
                f"gradients/{layer}": Histogram(counts[(i + step) % 64], np.linspace(-norms[i], norms[i], 65))
                for i, layer in enumerate(layers)
            },
            step,
        )
        rows.append(
            (
                step,
                step // 100,
                {f"gradients/norm/{layer}": float(norm) for layer, norm in zip(layers, norms, strict=True)},
            )
        )
    write_scalars(folder, rows)
    return folder


def many_classes(folder: Path, num_epochs: int = 90, num_classes: int = 1000) -> Path:
    rng = np.random.default_rng(4)
    writer = FolderWriter(folder)
    names = tuple(f"n{i:05d} a class of the thousand, {i}" for i in range(num_classes))
    for epoch in range(num_epochs):
        counts = np.zeros((num_classes, num_classes), np.int64)
        targets = np.arange(50_000) % num_classes
        wrong = rng.random(50_000) < 0.2 + 0.6 * math.exp(-epoch / 20)
        preds = np.where(wrong, (targets + rng.geometric(0.02, 50_000)) % num_classes, targets)
        np.add.at(counts, (targets, preds), 1)
        matrix = Matrix(counts, names)
        writer.write(
            {"val/confusion_matrix_chart": matrix, "val/confusion_matrix_report": confusion_report(matrix)},
            epoch * 100 + 99,
        )
        write_scalars(folder, [(epoch * 100 + 99, epoch, {"val/acc": float(1 - wrong.mean())})])
    return folder


if __name__ == "__main__":
    print(everything(Path(sys.argv[1])) / "index.html")
