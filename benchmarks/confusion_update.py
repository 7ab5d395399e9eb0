"""What one update of a confusion matrix costs, beside torchmetrics' with and without its checks of the labels.

    python benchmarks/confusion_update.py            # tables; a minute
    python benchmarks/confusion_update.py --json     # one JSON object: name, ours, peer, peer_unchecked, ratio, ...

Integer labels, 10 to 1,000 classes, batches of 32 to 65,536. Ours always checks: a label out of range is counted apart.
Processor time, on one thread.

    ours              `ConfusionCounts(C).accumulate(state, preds, targets)`
    core              the same in a `StateCore`, as the callbacks have it: `update(..., values=False)`
    metric            the same as a metric: `ReductionMetric(ConfusionCounts(C)).update(preds, targets)`
    peer              `MulticlassConfusionMatrix(C).update(preds, targets)`
    peer_unchecked    `MulticlassConfusionMatrix(C, validate_args=False)`: a label out of range lands in a wrong cell

Float scores of 10 to 1,000 classes follow, of which torchmetrics does not look at the values in either case; and labels
of which every tenth is an `ignore_index`.
"""

import sys
import time

from _common import finish, geometric_mean, interleaved, median_ratio, median_times, options

VARIANTS = ("ours", "core", "metric", "peer", "peer_unchecked")
KINDS = ("labels", "scores", "ignored")


def measured(num_classes: int, size: int, kind: str, repeats: int) -> dict[str, list[float]]:
    """Seconds per update of each variant, in turns."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    import lwcallbacks as lw
    from lwcallbacks.reductions import ConfusionCounts

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    preds = torch.randint(num_classes, (size,), generator=generator)
    targets = torch.randint(num_classes, (size,), generator=generator)
    ignore_index = None
    if kind == "scores":
        preds = torch.rand((size, num_classes), generator=generator)
    if kind == "ignored":
        ignore_index = -100
        targets[::10] = ignore_index
    counts = ConfusionCounts(num_classes, ignore_index=ignore_index)
    metric, core = lw.ReductionMetric(counts), lw.StateCore({"counts": counts})
    held = {"state": counts.empty()}
    checked = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index)
    unchecked = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index, validate_args=False)

    def accumulate() -> None:
        held["state"] = counts.accumulate(held["state"], preds, targets)

    for update in (metric.update, checked.update, unchecked.update):
        update(preds, targets)
    accumulate()
    assert metric.compute().equal(checked.compute())
    assert counts.value(held["state"]).equal(checked.compute())
    calls = {
        "ours": accumulate,
        "metric": lambda: metric.update(preds, targets),
        "core": lambda: core.update({"counts": (preds, targets)}, values=False),
        "peer": lambda: checked.update(preds, targets),
        "peer_unchecked": lambda: unchecked.update(preds, targets),
    }
    return interleaved(calls, repeats, clock=time.process_time)


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    repeats = 3 if args.quick else args.repeats
    grid = [(c, n) for c in (10, 100, 1000) for n in (32, 256, 4096, 65536)]
    cells = [(c, n, "labels") for c, n in grid] + [(c, n, "scores") for c, n in grid if c * n <= 10**7]
    cells += [(10, n, "ignored") for n in (32, 4096, 65536)]
    if args.quick:
        cells = [(10, 32, "labels"), (1000, 4096, "labels"), (10, 32, "scores"), (10, 32, "ignored")]
    microseconds = {variant: {} for variant in VARIANTS}
    ratios = {"ratio": ("ours", "peer"), "ratio_unchecked": ("ours", "peer_unchecked")}
    ratios |= {"ratio_core": ("core", "peer"), "ratio_core_unchecked": ("core", "peer_unchecked")}
    ratios |= {"ratio_metric": ("metric", "peer"), "ratio_metric_unchecked": ("metric", "peer_unchecked")}
    ratio = {name: {} for name in ratios}
    for num_classes, size, kind in cells:
        key = f"{num_classes} classes x {size} {kind}"
        print(key, file=sys.stderr, flush=True)
        times = measured(num_classes, size, kind, repeats)
        for variant, taken in median_times(times, 1e-6).items():
            microseconds[variant][key] = taken
        for name, (ours, peer) in ratios.items():
            ratio[name][key] = round(median_ratio(times, ours, peer), 4)
    means = {
        kind: {
            name: round(geometric_mean(ratio[name][key] for key in ratio[name] if key.endswith(kind)), 4)
            for name in ratios
        }
        for kind in KINDS
    }

    widths = (10, 10, 10, 12, 12)
    head = "".join(f"{n:>{w}}" for n, w in zip((*VARIANTS[:3], "checked", "unchecked"), widths, strict=True))
    above = "".join(f"{variant + ': times faster':>22}" for variant in VARIANTS[:3])
    lines = ["microseconds per update", "", f"{'':<28}{head}{above}"]
    lines += [f"{'':<82}" + f"{'checked':>11}{'unchecked':>11}" * 3]
    for key in microseconds["ours"]:
        times = "".join(f"{microseconds[v][key]:>{w}.1f}" for v, w in zip(VARIANTS, widths, strict=True))
        lines.append(f"{key:<28}{times}" + "".join(f"{1 / ratio[name][key]:>11.2f}" for name in ratios))
    for kind, by_name in means.items():
        lines.append(f"{'geometric mean, ' + kind:<82}" + "".join(f"{1 / by_name[name]:>11.2f}" for name in ratios))
    result = {"name": "confusion_update", **microseconds, **ratio, "geometric_mean": means}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
