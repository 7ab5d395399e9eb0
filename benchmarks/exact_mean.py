"""The price of an exact mean: the same bits for any batch size, order and processes, beside a running float64 sum.

    python benchmarks/exact_mean.py            # a table; a few seconds
    python benchmarks/exact_mean.py --json     # one JSON object: name, ours, accumulated, peer, ratio, units, versions

Batches of 32 to 4,096 float32 losses on the CPU.

    ours           `state = mean.merge(state, mean.lift(losses))` with `ExactMean()`
    accumulated    `mean.accumulate(state, losses)`: what the callbacks do where no step value is asked for
    peer           `total += losses.double().sum()` and a count; its last bits depend on the order

It is slower, by the factor in the table. What it costs a training is microseconds per step, in the first columns.
"""

import sys

from _common import finish, geometric_mean, interleaved, median_ratio, median_times, options

VARIANTS = ("ours", "accumulated", "peer")


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
        held["merged"] = mean.merge(held["merged"], mean.lift(losses))

    def accumulated() -> None:
        held["own"] = mean.accumulate(held["own"], losses)

    def peer() -> None:
        running["total"] += losses.double().sum()
        running["count"] += len(losses)

    times = interleaved({"ours": ours, "accumulated": accumulated, "peer": peer}, repeats)
    assert abs(mean.value(held["merged"]) - float(running["total"] / running["count"])) < 1e-6
    return times


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    repeats = 3 if args.quick else args.repeats
    microseconds = {variant: {} for variant in VARIANTS}
    ratio = {}
    for size in (32, 4096) if args.quick else (32, 128, 512, 1024, 4096):
        key = f"{size} losses"
        print(key, file=sys.stderr, flush=True)
        times = measured(size, repeats)
        for variant, time in median_times(times, 1e-6).items():
            microseconds[variant][key] = time
        ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
    mean_ratio = round(geometric_mean(ratio.values()), 4)
    lines = ["microseconds per batch", ""]
    lines += [f"{'':<14}{'lift + merge':>14}{'accumulate':>12}{'float64 sum':>13}{'times slower':>14}"]
    for key in ratio:
        times = "".join(f"{microseconds[v][key]:>{w}.1f}" for v, w in zip(VARIANTS, (14, 12, 13), strict=True))
        lines.append(f"{key:<14}{times}{ratio[key]:>14.1f}")
    lines.append(f"{'geometric mean':<53}{mean_ratio:>14.1f}")
    result = {"name": "exact_mean", **microseconds, "ratio": ratio, "geometric_mean": mean_ratio}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
