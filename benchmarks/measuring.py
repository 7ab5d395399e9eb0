"""What the callbacks' own measuring costs: the clock is read around each of their parts, beside one training step.

    python benchmarks/measuring.py            # a table; a few seconds
    python benchmarks/measuring.py --json     # one JSON object: name, ours, peer, ratio, units, versions

    ours    what is measured at each batch with six callbacks: a block of all together, and one of each inside of it
    peer    a training step of the demo's network, 64 images of 28 x 28: forward, backward, optimizer

Wall time of one thread.
"""

import sys

from _common import EXAMPLES, finish, interleaved, median_ratio, median_times, options


def measured(repeats: int) -> dict[str, list[float]]:
    """Seconds per batch of each, in turns."""
    sys.path.insert(0, str(EXAMPLES))
    import torch
    from demo import DigitClassifier

    from lwcallbacks.callbacks.cost import Meter

    torch.set_num_threads(1)
    meter, callbacks = Meter(), [object() for _ in range(6)]
    network = DigitClassifier().net
    optimizer = torch.optim.AdamW(network.parameters())
    images, labels = torch.rand(64, 1, 28, 28), torch.randint(0, 10, (64,))

    def ours() -> None:
        with meter.of(None):
            for callback in callbacks:
                with meter.of(callback):
                    pass

    def peer() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return interleaved({"ours": ours, "peer": peer}, repeats, seconds=0.01)


def main() -> None:
    args = options(__doc__, repeats=31).parse_args()
    times = measured(3 if args.quick else args.repeats)
    microseconds, ratio = median_times(times, 1e-6), round(median_ratio(times, "ours", "peer"), 6)
    lines = [f"{name:<6}{value:>10.1f} us a batch" for name, value in microseconds.items()]
    lines.append(f"{'':<6}{100 * ratio:>10.3f} % of the step")
    finish(
        {"name": "measuring", **microseconds, "ratio": ratio, "units": "us", "repeats": args.repeats}, args.json, lines
    )


if __name__ == "__main__":
    main()
