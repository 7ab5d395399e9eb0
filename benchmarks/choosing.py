"""What it costs to keep 32 of all validation images, a batch of which none is chosen and one of which some are.

    python benchmarks/choosing.py            # a table; half a minute
    python benchmarks/choosing.py --json     # one JSON object: name, ours, peer, ratio, units, versions

Batches of 64 images 3x224x224 float32 on the CPU. Processor time, on one thread.

    ours    `state = choice.accumulate(state, ids, images)`, with scores for `TopK`; and the same in a `StateCore`, as
            the callbacks have it
    peer    `images.clone()`: one copy of the batch, which anything that holds on to it pays at least
"""

import itertools
import sys
import time
from collections.abc import Callable

from _common import finish, interleaved, median_ratio, median_times, options


def cases() -> dict[str, Callable[[], object]]:
    """A call for each row, with its state; the first is one copy of the batch."""
    import torch

    import lwcallbacks as lw
    from lwcallbacks.reductions import First, RandomSample, TopK

    images = torch.rand(64, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ids, scores = torch.arange(100_000, 100_064), torch.rand(64)
    calls: dict[str, Callable[[], object]] = {"one copy": images.clone}
    for choice in (RandomSample(32), First(32), TopK(32)):
        fields = (scores, ids, images) if isinstance(choice, TopK) else (ids, images)
        # Seen before, so the state is full: the same images under smaller ids, with better scores.
        seen = [(scores + 1, ids - start, images) for start in range(64, 20_000, 64)]
        core, held = lw.StateCore({"chosen": choice}), {"state": choice.empty()}
        for better, earlier, _ in seen if isinstance(choice, RandomSample) else seen[-2:]:
            before = (better, earlier, images) if isinstance(choice, TopK) else (earlier, images)
            held["state"] = choice.accumulate(held["state"], *before)
            core.update({"chosen": before}, values=False)
        # Of the draws, those that stay: of 64 new ids one may be among the best.
        if isinstance(choice, RandomSample):
            held["state"] = choice.accumulate(held["state"], *fields)
            core.update({"chosen": fields}, values=False)
            others = [i for i in range(200_000, 220_000) if _stays(choice, held["state"], i)][:64]
            fields = (torch.tensor(others), images)
        calls[f"{type(choice).__name__}, none chosen"] = _accumulating(choice, held, fields)
        calls[f"{type(choice).__name__}, none chosen, StateCore"] = _updating(core, fields)
    worst, rising, best = TopK(32), itertools.count(1), {}
    best["state"] = worst.lift(scores, ids, images)

    def four_chosen() -> None:
        step = next(rising)
        better = torch.where(torch.arange(64) < 4, scores + step, scores - 1)
        best["state"] = worst.accumulate(best["state"], better, ids + 64 * step, images)

    calls["TopK, 4 of 64 chosen"] = four_chosen
    return calls


def _stays(choice: object, state: dict[str, object], number: int) -> bool:
    import torch

    key, _, _ = choice.split(torch.tensor([number]))
    return bool(key < state["key"].min())


def _accumulating(choice: object, held: dict[str, object], fields: tuple[object, ...]) -> Callable[[], None]:
    def call() -> None:
        held["state"] = choice.accumulate(held["state"], *fields)

    return call


def _updating(core: object, fields: tuple[object, ...]) -> Callable[[], object]:
    return lambda: core.update({"chosen": fields}, values=False)


def main() -> None:
    args = options(__doc__, repeats=15).parse_args()
    import torch

    torch.set_num_threads(1)
    repeats = 3 if args.quick else args.repeats
    calls = cases()
    print(f"{len(calls)} cases", file=sys.stderr, flush=True)
    times = interleaved(calls, repeats, clock=time.process_time)
    microseconds = median_times(times, 1e-6)
    copy = microseconds.pop("one copy")
    ratio = {name: round(median_ratio(times, name, "one copy"), 5) for name in microseconds}
    lines = ["microseconds per batch", "", f"{'':<40}{'ours':>10}{'one copy':>12}{'ours / copy':>14}"]
    lines += [f"{name:<40}{microseconds[name]:>10.1f}{copy:>12.1f}{ratio[name]:>14.4f}" for name in ratio]
    result = {"name": "choosing", "ours": microseconds, "peer": copy, "ratio": ratio}
    finish({**result, "units": "us", "repeats": repeats}, args.json, lines)


if __name__ == "__main__":
    main()
