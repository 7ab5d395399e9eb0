"""What it takes to show the hardest 32 of 50,000 samples of 3x64x64.

    python benchmarks/hardest.py            # a table; a minute
    python benchmarks/hardest.py --json     # one JSON object: name, ours, peer, ratio, units, versions

Each variant has a process of its own, and makes the same batches of 256 float32 images with scores of 100 classes.

    nothing   the batches alone
    ours      what `PredictionGrid(32, select="hardest", logits=True)` remembers, and its value at the end
    matrix    the same for `ConfusionMatrix(100, examples_per_cell=3, logits=True)`
    peer      all images, scores and targets kept, then the 32 of the largest `cross_entropy`, as a tutorial has it
"""

import argparse
import json
import time

from _common import finish, measure, options, peak_memory_mib

NUMBER, CLASSES, SIZE, SHOWN, BATCH = 50_000, 100, 64, 32, 256
VARIANTS = ("nothing", "ours", "matrix", "peer")


def run(variant: str, number: int) -> dict[str, float]:
    """Memory above that of the imports and one batch, in MiB, and processor seconds beyond making the batches."""
    import torch

    import lwcallbacks as lw

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    callbacks = {
        "ours": lw.PredictionGrid(SHOWN, select="hardest", logits=True),
        "matrix": lw.ConfusionMatrix(CLASSES, examples_per_cell=3, logits=True),
    }
    needs = callbacks[variant].remembered("val") if variant in callbacks else {}
    core = lw.StateCore({name: need.entry for name, need in needs.items()})
    kept: list[tuple[torch.Tensor, ...]] = []
    start_memory, seconds = 0.0, 0.0
    for start in range(0, number, BATCH):
        inputs = torch.rand(BATCH, 3, SIZE, SIZE, generator=generator)
        preds = torch.randn(BATCH, CLASSES, generator=generator)
        targets = torch.randint(0, CLASSES, (BATCH,), generator=generator)
        fields = {"ids": torch.arange(start, start + BATCH), "inputs": inputs, "preds": preds, "targets": targets}
        start_memory = start_memory or peak_memory_mib()
        before = time.process_time()
        made = {n: tuple(fields[name] for name in need.names) for n, need in needs.items()}
        made = {n: needs[n].prepare(*args) if needs[n].prepare else args for n, args in made.items()}
        core.update(made, values=False)
        if variant == "peer":
            kept.append((inputs, preds, targets))
        seconds += time.process_time() - before
    before = time.process_time()
    core.epoch_end()
    if kept:
        images, scores, truth = (torch.cat(parts) for parts in zip(*kept, strict=True))
        losses = torch.nn.functional.cross_entropy(scores, truth, reduction="none")
        images[losses.topk(SHOWN).indices].clone()
    seconds += time.process_time() - before
    return {"memory": peak_memory_mib() - start_memory, "seconds": seconds}


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=NUMBER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        print(json.dumps(run(args.variant, args.number)))
        return
    number = 2_000 if args.quick else args.number
    repeats = 1 if args.quick else args.repeats
    runs = measure(__file__, VARIANTS, repeats, "--number", str(number))
    middle = {
        variant: {name: sorted(one[name] for one in of_variant)[len(of_variant) // 2] for name in of_variant[0]}
        for variant, of_variant in runs.items()
    }
    for variant in middle:
        middle[variant]["memory above nothing"] = middle[variant]["memory"] - middle["nothing"]["memory"]
    state = SHOWN * (3 * SIZE * SIZE + CLASSES) * 4 / 2**20
    lines = [f"the hardest {SHOWN} of {number} samples; a state of {SHOWN} takes {state:.1f} MiB", ""]
    lines.append(f"{'':<12}{'MiB above nothing':>20}{'processor s':>14}")
    lines += [f"{v:<12}{m['memory above nothing']:>20.1f}{m['seconds']:>14.2f}" for v, m in middle.items()]
    ours, peer = middle["ours"], middle["peer"]
    ratio = {name: ours[name] / peer[name] for name in ("memory above nothing", "seconds")}
    result = {"name": "hardest", "ours": ours, "peer": peer, "ratio": ratio, "matrix": middle["matrix"]}
    units = {"memory": "MiB", "seconds": "s"}
    finish({**result, "state": state, "units": units, "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
