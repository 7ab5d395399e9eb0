"""What it costs to bring 32 chosen images to process 0: agree on who won, send the winners; beside gathering all.

    python benchmarks/payload.py            # a table; half a minute
    python benchmarks/payload.py --json     # one JSON object: name, ours, peer, ratio, units, versions

Every process holds 32 candidates of 3 x 224 x 224 float32. Timed is the end of an epoch with gloo on one machine, of
the process that takes longest, each step after a barrier.

    ours    `StateCore({"sample": RandomSample(32)}).epoch_end()`: keys first, then the winners' images to process 0,
            the value and the reset included
    peer    every process's images gathered by all, as Lightning's `all_gather` does, then 32 of them taken on process 0
    all_gather    no more than the one `torch.distributed.all_gather` of that
"""

import sys

from _common import finish, interleaved_in_group, median_ratio, median_times, options, run_processes, slowest

IMAGES, SHAPE = 32, (3, 224, 224)


def in_process(repeats: int) -> dict[str, list[float]]:
    """Seconds on this process."""
    import torch
    import torch.distributed as dist

    import lwcallbacks as lw
    from lwcallbacks.reductions import RandomSample

    rank, world_size = dist.get_rank(), dist.get_world_size()
    images = torch.rand((IMAGES, *SHAPE), generator=torch.Generator().manual_seed(rank))
    ids = torch.arange(rank, IMAGES * world_size, world_size)
    core = lw.StateCore({"sample": RandomSample(IMAGES)})

    def update() -> None:
        core.update({"sample": (ids, images)}, values=False)

    def ours() -> None:
        chosen = core.epoch_end()["sample"]
        assert len(chosen.ids) == IMAGES
        assert rank or chosen.payload[0].shape == images.shape

    def all_gather() -> list[torch.Tensor]:
        gathered = [torch.empty_like(images) for _ in range(world_size)]
        dist.all_gather(gathered, images)
        return gathered

    winners = torch.randperm(IMAGES * world_size, generator=torch.Generator().manual_seed(0))[:IMAGES]

    def peer() -> torch.Tensor | None:
        gathered = torch.stack(all_gather())
        return None if rank else gathered.flatten(0, 1)[winners]

    variants = {"ours": (update, ours), "peer": (int, peer), "all_gather": (int, all_gather)}
    return interleaved_in_group(variants, repeats)


def main() -> None:
    args = options(__doc__, repeats=15).parse_args()
    repeats = 3 if args.quick else args.repeats
    ours, peer, gather, ratio, ratio_gather = {}, {}, {}, {}, {}
    for world_size in (2,) if args.quick else (2, 4):
        print(f"{world_size} processes", file=sys.stderr, flush=True)
        times = slowest(run_processes(world_size, in_process, repeats))
        key = f"{world_size} processes"
        milliseconds = median_times(times, 1e-3)
        ours[key], peer[key], gather[key] = (milliseconds[variant] for variant in ("ours", "peer", "all_gather"))
        ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
        ratio_gather[key] = round(median_ratio(times, "ours", "all_gather"), 4)
    lines = [f"{'ms':<14}{'ours':>8}{'gather, take':>15}{'faster':>9}{'all_gather alone':>19}{'faster':>9}"]
    for key in ours:
        lines.append(
            f"{key:<14}{ours[key]:>8.1f}{peer[key]:>15.1f}{1 / ratio[key]:>9.1f}"
            f"{gather[key]:>19.1f}{1 / ratio_gather[key]:>9.1f}"
        )
    result = {"name": "payload", "ours": ours, "peer": peer, "all_gather": gather, "ratio": ratio}
    result |= {"ratio_all_gather": ratio_gather, "units": "ms", "repeats": repeats}
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
