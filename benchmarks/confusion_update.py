"""What one update of a confusion matrix costs, beside torchmetrics' with and without its checks of the labels.

    python benchmarks/confusion_update.py            # tables; a minute
    python benchmarks/confusion_update.py --json     # one JSON object: name, ours, peer, peer_unchecked, ratio, ...

Integer labels, 10 to 1,000 classes, batches of 32 to 65,536. Ours always checks: a label out of range is counted apart.

    ours              `ReductionMetric(ConfusionCounts(C)).update(preds, targets)`
    core              the same counts in a `StateCore`, as the callbacks have them: `update(..., values=False)`
    peer              `MulticlassConfusionMatrix(C).update(preds, targets)`
    peer_unchecked    `MulticlassConfusionMatrix(C, validate_args=False)`: a label out of range lands in a wrong cell

A second table has float scores of 10 and 100 classes, where torchmetrics does not look at the values in either case.
"""

import sys

from _common import finish, geometric_mean, interleaved, median_ratio, median_times, options

VARIANTS = ("ours", "core", "peer", "peer_unchecked")


def measured(num_classes: int, size: int, floats: bool, repeats: int) -> dict[str, list[float]]:
    """Seconds per update of each variant, in turns."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    import lwcallbacks as lw
    from lwcallbacks.reductions import ConfusionCounts

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    preds = torch.randint(num_classes, (size,), generator=generator)
    targets = torch.randint(num_classes, (size,), generator=generator)
    if floats:
        preds = torch.rand((size, num_classes), generator=generator)
    metric = lw.ReductionMetric(ConfusionCounts(num_classes))
    core = lw.StateCore({"counts": ConfusionCounts(num_classes)})
    checked = MulticlassConfusionMatrix(num_classes)
    unchecked = MulticlassConfusionMatrix(num_classes, validate_args=False)
    for update in (metric.update, checked.update, unchecked.update):
        update(preds, targets)
    assert metric.compute().equal(checked.compute())
    calls = {
        "ours": lambda: metric.update(preds, targets),
        "core": lambda: core.update({"counts": (preds, targets)}, values=False),
        "peer": lambda: checked.update(preds, targets),
        "peer_unchecked": lambda: unchecked.update(preds, targets),
    }
    return interleaved(calls, repeats)


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    repeats = 3 if args.quick else args.repeats
    labels = [(c, n, False) for c in (10, 100, 1000) for n in (32, 256, 4096, 65536)]
    scores = [(c, n, True) for c in (10, 100) for n in (32, 256, 4096)]
    cells = [(10, 32, False), (1000, 4096, False), (10, 32, True)] if args.quick else labels + scores
    microseconds = {variant: {} for variant in VARIANTS}
    ratios = {"ratio": ("ours", "peer"), "ratio_unchecked": ("ours", "peer_unchecked")}
    ratios |= {"ratio_core": ("core", "peer"), "ratio_core_unchecked": ("core", "peer_unchecked")}
    ratio = {name: {} for name in ratios}
    for num_classes, size, floats in cells:
        key = f"{num_classes} classes x {size} {'scores' if floats else 'labels'}"
        print(key, file=sys.stderr, flush=True)
        times = measured(num_classes, size, floats, repeats)
        for variant, time in median_times(times, 1e-6).items():
            microseconds[variant][key] = time
        for name, (ours, peer) in ratios.items():
            ratio[name][key] = round(median_ratio(times, ours, peer), 4)
    means = {
        kind: {
            name: round(geometric_mean(ratio[name][key] for key in ratio[name] if key.endswith(kind)), 4)
            for name in ratios
        }
        for kind in ("labels", "scores")
    }

    widths = (12, 10, 12, 12)
    head = "".join(f"{n:>{w}}" for n, w in zip(("ours", "core", "checked", "unchecked"), widths, strict=True))
    lines = ["microseconds per update", "", f"{'':<28}{head}{'ours: times faster':>22}{'core: times faster':>22}"]
    lines += [f"{'':<74}{'checked':>11}{'unchecked':>11}{'checked':>11}{'unchecked':>11}"]
    for key in microseconds["ours"]:
        times = "".join(f"{microseconds[v][key]:>{w}.1f}" for v, w in zip(VARIANTS, widths, strict=True))
        lines.append(f"{key:<28}{times}" + "".join(f"{1 / ratio[name][key]:>11.2f}" for name in ratios))
    for kind, by_name in means.items():
        lines.append(f"{'geometric mean, ' + kind:<74}" + "".join(f"{1 / by_name[name]:>11.2f}" for name in ratios))
    result = {"name": "confusion_update", **microseconds, **ratio, "geometric_mean": means}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
