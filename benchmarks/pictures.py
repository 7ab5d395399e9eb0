"""What 32 captioned images with their table cost, whole and on the training thread; beside W&B's own objects.

    python benchmarks/pictures.py            # a table; half a minute
    python benchmarks/pictures.py --json     # one JSON object: name, ours, peer, ratio, units, versions

32 images 3 x 224 x 224, float32 in [0, 1], with predictions and labels, to an offline run of W&B. They are photographs
in so far as that they are smooth with some noise: neither pure noise nor plain colour.

    ours    `PredictionGrid`'s entries, published: W&B's list and table, and the page with both, drawn in the background
    peer    a list of 32 `wandb.Image` with captions and a `wandb.Table` of them, logged in one call; of uint8 pixels,
            since of floats in [0, 1] W&B makes black images

`whole` is processor time of all threads and processes, W&B's too; `training thread` is wall time of the call that the
training waits for.
"""

import sys
import time
from pathlib import Path
from typing import Any

from _common import cpu_of, finish, median_ratio, median_times, offline_wandb, options

IMAGES, SIZE = 32, 224


def photographs() -> Any:
    import torch

    seed = torch.Generator().manual_seed(0)
    coarse = torch.rand((IMAGES, 3, 14, 14), generator=seed)
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
    return (smooth + 0.01 * torch.randn(smooth.shape, generator=seed)).clamp(0, 1)


def measured(repeats: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of both, whole and on the calling thread."""
    import torch
    import wandb

    import lwcallbacks as lw
    from lwcallbacks.reductions import Chosen
    from lwcallbacks.writers import Publisher, writers_for

    torch.set_num_threads(1)
    images = photographs()
    preds, targets = torch.arange(IMAGES) % 10, torch.arange(IMAGES) % 9
    scores = torch.nn.functional.one_hot(preds, 10) * 0.5 + 0.05
    grid = lw.PredictionGrid(IMAGES, logits=False)
    values = {"sample": Chosen(torch.arange(IMAGES), None, (images, scores, targets))}
    whole: dict[str, list[float]] = {"ours": [], "peer": []}
    thread: dict[str, list[float]] = {"ours": [], "peer": []}
    with offline_wandb() as logger:
        publisher = Publisher(writers_for([logger], Path(logger.save_dir, "media")))
        step = 0

        def ours() -> None:
            nonlocal step
            step += 1
            start = time.perf_counter()
            publisher.publish(lambda: grid.entries("val/predictions", values), step)
            thread["ours"].append(time.perf_counter() - start)
            publisher.flush()

        def peer() -> None:
            nonlocal step
            step += 1
            start = time.perf_counter()
            pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
            shown = [
                wandb.Image(image, caption=f"Pred:{pred}, Label:{target}")
                for image, pred, target in zip(pixels, preds.tolist(), targets.tolist(), strict=True)
            ]
            rows = [
                [image, str(pred), str(target), float(score.max())]
                for image, pred, target, score in zip(shown, preds.tolist(), targets.tolist(), scores, strict=True)
            ]
            table = wandb.Table(columns=["image", "pred", "target", "confidence"], data=rows)
            logger.log_metrics({"peer/predictions": shown, "peer/predictions_table": table}, step=step)
            thread["peer"].append(time.perf_counter() - start)

        for turn in range(repeats + 1):
            for name, call in (("ours", ours), ("peer", peer)):
                cost = cpu_of(call)
                if turn:  # the first turn imports and makes folders
                    whole[name].append(cost)
        publisher.close()
        assert publisher.failures == 0
    return whole, {name: times[1:] for name, times in thread.items()}


def main() -> None:
    args = options(__doc__, repeats=15).parse_args()
    repeats = 3 if args.quick else args.repeats
    print("measuring", file=sys.stderr, flush=True)
    ours, peer, ratio = {}, {}, {}
    for key, times in zip(("whole", "training thread"), measured(repeats), strict=True):
        milliseconds = median_times(times, 1e-3)
        ours[key], peer[key] = milliseconds["ours"], milliseconds["peer"]
        ratio[key] = round(median_ratio(times, "ours", "peer"), 5)
    lines = [f"{'ms':<18}{'ours':>10}{'W&B':>10}{'ours / W&B':>14}"]
    lines += [f"{key:<18}{ours[key]:>10.3f}{peer[key]:>10.1f}{ratio[key]:>14.5f}" for key in ours]
    result = {"name": "pictures", "ours": ours, "peer": peer, "ratio": ratio, "units": "ms", "repeats": repeats}
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
