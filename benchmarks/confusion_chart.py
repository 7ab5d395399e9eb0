"""What it costs to log a confusion matrix to W&B: ours with heatmap, chart, report and page; beside W&B's chart alone.

    python benchmarks/confusion_chart.py            # a table; five minutes, of which W&B takes most
    python benchmarks/confusion_chart.py --json     # one JSON object: name, ours, peer, ratio, units, versions
    python benchmarks/confusion_chart.py --quick    # without 1,000 classes

10,000 samples, labels and predictions at random, of 10, 100 and 1,000 classes (where nearly each has a cell of its
own), to an offline run. Processor time of all threads and processes, W&B's too.

    ours    `ConfusionMatrix`'s counts of the samples and its entries, published: the heatmap as an image, the chart
            (with 1,000 classes the table of filled cells), the report as a table; and the page with all three
    peer    `wandb.plot.confusion_matrix`, logged in one call: the chart, cut at 200,000 of 1,000,000 cells
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _common import cpu_of, finish, median_ratio, median_times, offline_wandb, options

SAMPLES = 10_000


def variants(classes: int, logger: Any, steps: Iterator[int]) -> dict[str, Callable[[], object]]:
    import torch
    import wandb

    import lwcallbacks as lw
    from lwcallbacks.reductions import ConfusionCounts
    from lwcallbacks.writers import Publisher, writers_for

    seed = torch.Generator().manual_seed(classes)
    targets, preds = (torch.randint(classes, (SAMPLES,), generator=seed) for _ in range(2))
    names = [f"class {i}" for i in range(classes)]
    callback, counts = lw.ConfusionMatrix(classes, names), ConfusionCounts(classes)
    publisher = Publisher(writers_for([logger], Path(logger.save_dir, "media")), on_error="raise")

    def entries() -> Any:
        return callback.entries(
            f"ours/{classes}", {"counts": counts.value(counts.lift(preds, targets)), "before": None}
        )

    def ours() -> None:
        publisher.publish(entries, next(steps))
        publisher.flush()

    def peer() -> None:
        chart = wandb.plot.confusion_matrix(y_true=targets.tolist(), preds=preds.tolist(), class_names=names)
        logger.log_metrics({f"peer/{classes}": chart}, step=next(steps))

    return {"ours": ours, "peer": peer}


def main() -> None:
    args = options(__doc__, repeats=7).parse_args()
    ours, peer, ratio = {}, {}, {}
    with offline_wandb() as logger:
        steps = itertools.count()
        for classes, calls in {10: 20, 100: 3, 1000: 1}.items():
            if args.quick and classes == 1000:
                continue
            repeats = 2 if args.quick or classes == 1000 else args.repeats
            print(f"{classes} classes", file=sys.stderr, flush=True)
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            both = variants(classes, logger, steps)
            for turn in range(repeats + (classes < 1000)):
                for name, call in both.items():
                    cost = cpu_of(call, calls)
                    if turn or classes == 1000:  # the first turn imports and makes folders
                        times[name].append(cost)
            key, milliseconds = f"{classes} classes", median_times(times, 1e-3)
            ours[key], peer[key] = milliseconds["ours"], milliseconds["peer"]
            ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
    lines = [f"{'ms of processor time':<22}{'ours':>10}{'W&B':>12}{'ours / W&B':>14}"]
    lines += [f"{key:<22}{ours[key]:>10.1f}{peer[key]:>12.1f}{ratio[key]:>14.3f}" for key in ours]
    result = {"name": "confusion_chart", "ours": ours, "peer": peer, "ratio": ratio, "units": "ms"}
    finish({**result, "repeats": 2 if args.quick else args.repeats}, args.json, lines)


if __name__ == "__main__":
    main()
