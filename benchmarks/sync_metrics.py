"""The end of an epoch for metrics spread over processes: one packed sync, beside a torchmetrics MetricCollection.

    python benchmarks/sync_metrics.py            # tables; about two minutes
    python benchmarks/sync_metrics.py --json     # one JSON object: name, ours, peer, metrics_in_core, ratio, ...

Six metrics of a classifier with 10 classes: accuracy, precision, recall, F1 (macro), confusion matrix and mean loss;
for more, the six again. Timed is the end of an epoch with gloo on one machine until the values are there, the reset
included, of the process that takes longest, each step after a barrier. The three give the same values.

    ours               `StateCore` of a `ConfusionCounts` each for the first five and an `ExactMean`, sharing nothing
    metrics_in_core    the torchmetrics metrics of the peer, registered in a `StateCore`: they join the packed sync
    peer               `MetricCollection.compute()` with the metrics of torchmetrics, which sync one by one
"""

import sys

from _common import finish, interleaved_in_group, median_ratio, median_times, options, run_processes, slowest

CLASSES, SAMPLES = 10, 512
KINDS = ("accuracy", "precision", "recall", "f1", "confusion", "loss")
COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "barrier", "broadcast", "gather", "send", "recv")


def in_process(number: int, repeats: int):
    """Seconds on this process, how many collectives each variant called, and the largest difference of values."""
    import torch
    import torch.distributed as dist
    from torchmetrics import MeanMetric, MetricCollection
    from torchmetrics.classification import (
        MulticlassAccuracy,
        MulticlassConfusionMatrix,
        MulticlassF1Score,
        MulticlassPrecision,
        MulticlassRecall,
    )

    import lwcallbacks as lw
    from lwcallbacks.reductions import ConfusionCounts, ExactMean

    torchmetric = {
        "accuracy": lambda: MulticlassAccuracy(CLASSES, average="micro"),
        "precision": lambda: MulticlassPrecision(CLASSES),
        "recall": lambda: MulticlassRecall(CLASSES),
        "f1": lambda: MulticlassF1Score(CLASSES),
        "confusion": lambda: MulticlassConfusionMatrix(CLASSES),
        "loss": MeanMetric,
    }
    from_counts = {
        "accuracy": lambda m: m.trace() / m.sum(),
        "precision": lambda m: (m.diagonal() / m.sum(0)).mean(),
        "recall": lambda m: (m.diagonal() / m.sum(1)).mean(),
        "f1": lambda m: (2 * m.diagonal() / (m.sum(0) + m.sum(1))).mean(),
        "confusion": lambda m: m,
        "loss": lambda mean: mean,
    }
    names = {f"{KINDS[i % 6]}_{i // 6}": KINDS[i % 6] for i in range(number)}
    generator = torch.Generator().manual_seed(dist.get_rank())
    preds, targets = (torch.randint(CLASSES, (SAMPLES,), generator=generator) for _ in range(2))
    losses = torch.rand(SAMPLES, generator=generator)
    fields = {name: (losses,) if kind == "loss" else (preds, targets) for name, kind in names.items()}

    core = lw.StateCore({n: ExactMean() if kind == "loss" else ConfusionCounts(CLASSES) for n, kind in names.items()})
    in_core = lw.StateCore({name: torchmetric[kind]() for name, kind in names.items()})
    collection = MetricCollection({name: torchmetric[kind]() for name, kind in names.items()})

    def update_collection() -> None:
        for name, args in fields.items():
            collection[name].update(*args)

    def ours():
        return {name: from_counts[names[name]](value) for name, value in core.epoch_end().items()}

    def peer():
        values = collection.compute()
        collection.reset()
        return values

    variants = {
        "ours": (lambda: core.update(fields, values=False), ours),
        "metrics_in_core": (lambda: in_core.update(fields, values=False), in_core.epoch_end),
        "peer": (update_collection, peer),
    }
    calls, values = {}, {}
    for variant, (prepare, end) in variants.items():
        prepare()
        with counted() as called:
            values[variant] = end()
        calls[variant] = len(called)
    apart = max(
        float((torch.as_tensor(values[variant][name]) - values["peer"][name]).abs().max())
        for variant in ("ours", "metrics_in_core")
        for name in names
    )
    return interleaved_in_group(variants, repeats), calls, apart


class counted:
    """The collectives that are called while it is entered."""

    def __enter__(self):
        import torch.distributed as dist

        self.originals = {name: getattr(dist, name) for name in COLLECTIVES}
        called = []

        def recorded(name):
            def call(*args, **kwargs):
                called.append(name)
                return self.originals[name](*args, **kwargs)

            return call

        for name in COLLECTIVES:
            setattr(dist, name, recorded(name))
        return called

    def __exit__(self, *exception):
        import torch.distributed as dist

        for name, original in self.originals.items():
            setattr(dist, name, original)


def main() -> None:
    args = options(__doc__, repeats=25).parse_args()
    repeats = 3 if args.quick else args.repeats
    variants = ("ours", "metrics_in_core", "peer")
    milliseconds, collectives = ({variant: {} for variant in variants} for _ in range(2))
    ratio, ratio_in_core = {}, {}
    for world_size in (2,) if args.quick else (2, 4):
        for number in (1, 6) if args.quick else (1, 6, 12, 30):
            print(f"{world_size} processes, {number} metrics", file=sys.stderr, flush=True)
            by_rank = run_processes(world_size, in_process, number, repeats)
            times = slowest([times for times, _, _ in by_rank])
            _, calls, apart = by_rank[0]
            assert all(other == calls for _, other, _ in by_rank), "every process calls equally many collectives"
            assert apart < 1e-5, f"the variants' values differ by {apart}"
            key = f"{world_size} processes, {number} metrics"
            for variant, time in median_times(times, 1e-3).items():
                milliseconds[variant][key] = time
                collectives[variant][key] = calls[variant]
            ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
            ratio_in_core[key] = round(median_ratio(times, "metrics_in_core", "peer"), 4)
    lines = [f"{'':<26}{'ours':>16}{'metrics in core':>18}{'collection':>16}{'times faster':>22}"]
    lines += [f"{'':<26}{'ms':>9}{'calls':>7}{'ms':>11}{'calls':>7}{'ms':>9}{'calls':>7}{'ours':>11}{'in core':>11}"]
    for key in ratio:
        cells = "".join(
            f"{milliseconds[variant][key]:>{width}.2f}{collectives[variant][key]:>7}"
            for variant, width in zip(variants, (9, 11, 9), strict=True)
        )
        lines.append(f"{key:<26}{cells}{1 / ratio[key]:>11.1f}{1 / ratio_in_core[key]:>11.1f}")
    result = {
        "name": "sync_metrics",
        **milliseconds,
        "ratio": ratio,
        "ratio_metrics_in_core": ratio_in_core,
        "collectives": collectives,
        "units": "ms",
        "repeats": repeats,
    }
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
