"""The price of an exact mean: the same bits for any batch size, order and processes, beside a running float64 sum.

    python benchmarks/exact_mean.py            # a table; a few seconds
    python benchmarks/exact_mean.py --json     # one JSON object: name, ours, merged, peer, ratio, units, versions

Batches of 1 to a million float32 losses on the CPU. Processor time, on one thread.

    ours      `state = mean.accumulate(state, losses)` with `ExactMean()`, as the callbacks do
    merged    `state = mean.merge(state, mean.lift(losses))`: as they do at a step whose own value is logged
    peer      `total += losses.double().sum()` and a count; its last bits depend on the order

It is slower, by the factor in the table. What it costs a training is microseconds per step, in the first columns.
"""

import sys
import time

from _common import finish, geometric_mean, interleaved, median_ratio, median_times, options

VARIANTS = ("ours", "merged", "peer")


def measured(size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds per batch of each variant, in turns."""
    import torch

    from lwcallbacks.reductions import ExactMean

    torch.set_num_threads(1)
    losses = torch.rand(size, generator=torch.Generator().manual_seed(0))
    mean = ExactMean()
    held = {"merged": mean.lift(losses), "own": mean.lift(losses)}
    running = {"total": torch.zeros((), dtype=torch.float64), "count": 0}

    def ours() -> None:
        held["own"] = mean.accumulate(held["own"], losses)

    def merged() -> None:
        held["merged"] = mean.merge(held["merged"], mean.lift(losses))

    def peer() -> None:
        running["total"] += losses.double().sum()
        running["count"] += len(losses)

    times = interleaved({"ours": ours, "merged": merged, "peer": peer}, repeats, clock=time.process_time)
    assert abs(mean.value(held["own"]) - float(running["total"] / running["count"])) < 1e-6
    return times


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    repeats = 3 if args.quick else args.repeats
    microseconds = {variant: {} for variant in VARIANTS}
    ratio = {}
    for size in (32, 4096) if args.quick else (1, 32, 256, 4096, 10**6):
        key = f"{size} losses"
        print(key, file=sys.stderr, flush=True)
        times = measured(size, repeats)
        for variant, taken in median_times(times, 1e-6).items():
            microseconds[variant][key] = taken
        ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
    mean_ratio = round(geometric_mean(ratio.values()), 4)
    lines = ["microseconds per batch", ""]
    lines += [f"{'':<16}{'accumulate':>12}{'lift + merge':>14}{'float64 sum':>13}{'times slower':>14}"]
    for key in ratio:
        times = "".join(f"{microseconds[v][key]:>{w}.1f}" for v, w in zip(VARIANTS, (12, 14, 13), strict=True))
        lines.append(f"{key:<16}{times}{ratio[key]:>14.1f}")
    lines.append(f"{'geometric mean':<55}{mean_ratio:>14.1f}")
    result = {"name": "exact_mean", **microseconds, "ratio": ratio, "geometric_mean": mean_ratio}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
