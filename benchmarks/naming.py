"""What it costs to name the samples of a shuffled batch by what they hold, beside one copy of the batch.

    python benchmarks/naming.py            # a table; a few seconds
    python benchmarks/naming.py --json     # one JSON object: name, ours, peer, ratio, units, versions

A batch of 32 images 3x224x224 with labels on the CPU, and small images. Processor time, on one thread.

    ours    `content_ids(images, labels)`: the same ids on every process, for every batch size and order
    peer    `images.clone()`, which anything that holds on to the batch pays at least

Ours reads at most 1,024 numbers of an image, however large it is; so it is dear for a batch that is small in memory.
"""

import sys
import time

from _common import finish, interleaved, median_ratio, median_times, options


def measured(images: object, repeats: int) -> dict[str, list[float]]:
    """Seconds per batch, in turns."""
    import torch

    from lwcallbacks.reductions import content_ids

    labels = torch.arange(len(images))
    return interleaved(
        {"ours": lambda: content_ids(images, labels), "peer": images.clone},
        repeats,
        seconds=0.01,
        clock=time.process_time,
    )


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    import torch

    torch.set_num_threads(1)
    repeats = 3 if args.quick else args.repeats
    large = torch.rand(32, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    batches = {"32 x 3x224x224 float32": large}
    if not args.quick:
        batches["32 x 3x224x224 float32, channels last"] = large.contiguous(memory_format=torch.channels_last)
        batches["32 x 3x224x224 uint8"] = (large * 255).to(torch.uint8)
        batches["64 x 1x28x28 float32"] = large[:, :2, :28, :28].reshape(64, 1, 28, 28).contiguous()
    microseconds, ratio = {"ours": {}, "peer": {}}, {}
    for key, images in batches.items():
        print(key, file=sys.stderr, flush=True)
        times = measured(images, repeats)
        for variant, taken in median_times(times, 1e-6).items():
            microseconds[variant][key] = taken
        ratio[key] = round(median_ratio(times, "ours", "peer"), 4)
    lines = ["microseconds per batch", "", f"{'':<40}{'ours':>10}{'one copy':>12}{'ours / copy':>14}"]
    lines += [
        f"{key:<40}{microseconds['ours'][key]:>10.1f}{microseconds['peer'][key]:>12.1f}{ratio[key]:>14.3f}"
        for key in ratio
    ]
    result = {"name": "naming", **microseconds, "ratio": ratio}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
