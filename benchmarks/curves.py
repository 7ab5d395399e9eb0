"""Areas under curves of 50,000 x 10 scores: updates, the epoch's end and memory, beside torchmetrics' exact ones.

    python benchmarks/curves.py            # a table; two minutes
    python benchmarks/curves.py --json     # one JSON object: name, ours, peer, binned, ratio, units, versions

Float32 logits of 10 classes in batches of 256, each variant in a process of its own, in turns. Processor time, on one
thread.

    ours      `ScoreCounts(10, logits=True)`, then AUROC and average precision of each class with their bounds, the
              points of both curves, the best threshold and the calibration error: what `lw.Curves` works out
    peer      `MetricCollection` of torchmetrics' exact `MulticlassAUROC` and `MulticlassAveragePrecision`
              (`thresholds=None`) of softmax scores, without checks of the arguments: they keep every score
    binned    the same with `thresholds=200`: they keep counts, and do not say what they are off by

Per variant:

    update    milliseconds for each batch, with the softmax
    end       milliseconds of the epoch's end
    epoch     seconds of both, for the whole epoch
    memory    MiB of physical memory that the process has had at most, above what it had before the first batch
"""

import argparse
import contextlib
import json
import sys
import time

from _common import measure, median_ratio, medians, options, peak_memory_mib, report, versions

VARIANTS = ("ours", "peer", "binned")
UNITS = {"update": "ms", "end": "ms", "epoch": "s", "memory": "MiB"}
CLASSES, BATCH = 10, 256


def run(variant: str, samples: int) -> dict[str, float]:
    """One epoch in this process."""
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAUROC, MulticlassAveragePrecision

    from lwcallbacks.curves import summarised
    from lwcallbacks.reductions import ScoreCounts

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    counts = ScoreCounts(CLASSES, logits=True)
    how = {"num_classes": CLASSES, "thresholds": 200 if variant == "binned" else None, "validate_args": False}
    metrics = MetricCollection([MulticlassAUROC(**how), MulticlassAveragePrecision(**how)])
    held = {"state": counts.empty() if variant == "ours" else {}}

    def update(scores: torch.Tensor, targets: torch.Tensor) -> None:
        if variant == "ours":
            held["state"] = counts.accumulate(held["state"], scores, targets)
        else:
            metrics.update(scores.softmax(1), targets)

    def end() -> object:
        if variant != "ours":
            return metrics.compute()
        return summarised(counts.value(held["state"]), list(map(str, range(CLASSES))), n_bins=16, threshold_by="f1")

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        targets = torch.randint(CLASSES, (size,), generator=generator)
        scores = torch.randn(size, CLASSES, generator=generator)
        scores[torch.arange(size), targets] += 1.5
        return scores, targets

    before, updating = peak_memory_mib(), 0.0
    update(*batch(BATCH))  # what is made once is made now
    metrics.reset()
    held["state"] = counts.empty() if variant == "ours" else {}
    number = -(-samples // BATCH)
    for _ in range(number):
        fields = batch(BATCH)
        start = time.process_time()
        update(*fields)
        updating += time.process_time() - start
    start = time.process_time()
    end()
    ending = time.process_time() - start
    memory = peak_memory_mib() - before
    return {"update": 1e3 * updating / number, "end": 1e3 * ending, "epoch": updating + ending, "memory": memory}


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.samples = 1, 2048
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.samples)
        print(json.dumps(measured))
        return
    runs = measure(__file__, VARIANTS, args.repeats, "--samples", str(args.samples))
    turns = {key: {variant: [turn[key] for turn in runs[variant]] for variant in VARIANTS} for key in UNITS}
    ratio, of_binned = (
        {
            key: round(median_ratio(times, "ours", peer), 4) if min(times[peer]) > 0 else None
            for key, times in turns.items()
        }
        for peer in ("peer", "binned")
    )
    result = {variant: medians(runs[variant]) for variant in VARIANTS}
    about = {"repeats": args.repeats, "samples": args.samples, "versions": versions(), "ratio_to_binned": of_binned}
    report({"name": "curves", **result, "ratio": ratio, "units": UNITS, **about}, args.json)
    if not args.json:
        beside = ", ".join(f"{key} {result['binned'][key]:.2f} {unit}" for key, unit in UNITS.items())
        print(f"\n  with 200 thresholds: {beside}")


if __name__ == "__main__":
    main()
