"""What crosses between 8 to 1,024 processes at the end of an epoch: bytes and collectives, simulated.

    python benchmarks/world_scaling.py            # a table; a minute, and some GB of memory
    python benchmarks/world_scaling.py --json     # one JSON object: name, ours, peer, ratio, units, versions

`lwcallbacks.testing.World` runs the package's own sync over simulated processes and logs each exchange: these figures
are counted, not timed, and equal in every run. Each process brings what the six callbacks remember of a validation:
losses and accuracy (ScalarMetrics), a confusion matrix, two samples of 32 images 3 x 32 x 32 uint8 (ImageMosaic, and
PredictionGrid with label and scores), gradients (GradientHistogram); checkpoints have no state. Every process has
seen 64 samples.

    ours    bytes that a process brings to all collectives, and how many these are; payload goes to process 0 only
    peer    arithmetic, no run: the same states gathered one by one, as torchmetrics does, candidates' images included
"""

import sys

from _common import finish, options

IMAGE, K, SAMPLES = (3, 32, 32), 32, 64


def counted(world_size: int, num_classes: int) -> dict[str, float]:
    """How many collectives, KiB that a process brings to them, KiB of payload for process 0; and the peer's."""
    import torch

    import lwcallbacks as lw
    from lwcallbacks.reductions import ConfusionCounts, ExactMean, LogHistogram, RandomSample
    from lwcallbacks.state.link import Alone
    from lwcallbacks.testing import World

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (SAMPLES, *IMAGE), dtype=torch.uint8, generator=generator)
    scores = torch.rand((SAMPLES, 10), generator=generator)
    targets = torch.randint(num_classes, (SAMPLES,), generator=generator)
    cores = []
    for rank in range(world_size):
        core = lw.StateCore(
            {
                "loss": ExactMean(),
                "accuracy": ExactMean(),
                "confusion": ConfusionCounts(num_classes),
                "mosaic": RandomSample(K),
                "grid": RandomSample(K, seed=1),
                "gradients": LogHistogram(),
            }
        )
        ids = torch.arange(rank, SAMPLES * world_size, world_size)
        fields = {
            "loss": (scores[:, 0],),
            "accuracy": (scores[:, 1],),
            "confusion": (targets, targets),
            "mosaic": (ids, images),
            "grid": (ids, images, targets, scores),
            "gradients": (scores,),
        }
        core.update(fields, values=False)
        cores.append(core)
    states = [tensor for saved in cores[0].state_dict(Alone()).values() for tensor in saved["state"].values()]
    world = World(world_size)
    values = world.collect(cores)
    assert int(values[0]["confusion"].sum()) == SAMPLES * world_size
    shared = [exchange for exchange in world.log if exchange.kind != "to_root"]
    peer_brought = sum(tensor.numel() * tensor.element_size() for tensor in states) / 1024
    return {
        "collectives": len(world.log),
        "brought": sum(exchange.bytes for exchange in shared) / world_size / 1024,
        "payload": sum(exchange.bytes for exchange in world.log if exchange.kind == "to_root") / 1024,
        "peer_brought": peer_brought,
        "peer_gathered": peer_brought * world_size,
        # Per state a barrier, a gather of shapes, a gather: read in torchmetrics 1.9 and counted in sync_metrics.py.
        "peer_collectives": 3 * len(states),
    }


def main() -> None:
    args = options(__doc__, repeats=1).parse_args()
    # A table of 1,000 classes is 8 MB on each process: more of them than 64 do not fit into a common machine.
    cases = [(10, 8)] if args.quick else [(10, 8), (10, 64), (10, 256), (10, 1024), (1000, 8), (1000, 64)]
    rows = {}
    for num_classes, world_size in cases:
        key = f"{world_size} processes, {num_classes} classes"
        print(key, file=sys.stderr, flush=True)
        rows[key] = {name: round(number, 1) for name, number in counted(world_size, num_classes).items()}
    lines = ["per process", ""]
    lines += [f"{'':<30}{'ours':>21}{'':>15}{'one by one':>22}"]
    heads = (
        ("calls", 8),
        ("brings KiB", 13),
        ("payload KiB", 15),
        ("calls", 9),
        ("brings KiB", 13),
        ("gathers MiB", 14),
    )
    lines += [" " * 30 + "".join(f"{head:>{width}}" for head, width in heads)]
    for key, row in rows.items():
        ours = f"{row['collectives']:>8}{row['brought']:>13.1f}{row['payload']:>15.1f}"
        peer = f"{row['peer_collectives']:>9}{row['peer_brought']:>13.1f}{row['peer_gathered'] / 1024:>14.1f}"
        lines.append(f"{key:<30}{ours}{peer}")
    lines += ["", "payload: what process 0 receives from all others together; the others receive none"]
    ours = {key: {name: row[name] for name in ("collectives", "brought", "payload")} for key, row in rows.items()}
    peer = {
        key: {name: row[f"peer_{name}"] for name in ("collectives", "brought", "gathered")} for key, row in rows.items()
    }
    ratio = {
        key: {name: round(ours[key][name] / peer[key][name], 4) for name in ("collectives", "brought")} for key in rows
    }
    units = {"collectives": "calls", "brought": "KiB per process", "payload": "KiB to process 0"}
    units["gathered"] = "KiB that each process receives"
    result = {"name": "world_scaling", "ours": ours, "peer": peer, "ratio": ratio, "units": units, "repeats": 1}
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
