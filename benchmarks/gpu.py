"""What only an accelerator shows: the same bits as the CPU, no wait in batch hooks, replicas on devices, and costs.

    python benchmarks/gpu.py            # at most 8 minutes on one CUDA device; a smaller form on the CPU without one
    python benchmarks/gpu.py --json     # one JSON object: name, ours, peer, ratio, units, and the checks

Needs torch, torchmetrics, pytorch-lightning and this repository (`PYTHONPATH=.`), and nothing to be installed. The exit
code is 1 where a check fails. Checks:

    laws        every reduction: one lift of all samples on the CPU has the bits of any split of them on the device
    names       `content_ids`: a sample has the same id on every device, in every batch and layout
    results     all public callbacks in a Trainer: the same results on the CPU and on the device
    waits       no batch hook of theirs waits for the device: every wait is an error, by
                `torch.cuda.set_sync_debug_mode("error")`
    places      where they wait, by the "warn" mode, which shows all waits. Those of Lightning's own inside of such a
                hook are shown, and are no failure
    replicas    the same results from DataParallelStrategy on two devices; on the CPU from two replicas there

Rows are milliseconds by CUDA events (on the CPU by the clock): gradients beside forward + backward and beside
`torch._foreach_norm`; counts beside torchmetrics without its checks; choices beside one copy of the batch.
"""

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from _common import finish, options
from _gpu_laws import LAWFUL, broken_laws, broken_names, broken_orders, plain
from _gpu_rows import choices, counts, gradients
from _gpu_runs import EVERYONE, OURS, forbid_waits, results, waits

import lwcallbacks as lw

Check = dict[str, Any]
CPU = torch.device("cpu")


def check(name: str, look: Callable[[], list[str] | str]) -> Check:
    """Run a check: a list says what is wrong, a text why it was not made. An exception is a failure, too."""
    start = time.perf_counter()
    try:
        found = look()
    except Exception:
        found = [traceback.format_exc()]
    passed = None if isinstance(found, str) else not found
    text = found if isinstance(found, str) else "; ".join(found[:5]) + (f"; {len(found)} in all" if found[5:] else "")
    word = "not run" if passed is None else "passed" if passed else "FAILED"
    print(f"{word:<8}{name}{': ' if text else ''}{text}", file=sys.stderr, flush=True)
    return {"name": name, "passed": passed, "found": text, "seconds": round(time.perf_counter() - start, 1)}


def checks(device: torch.device, seeds: int, samples: int) -> Iterator[Check]:
    devices = [CPU] if device == CPU else [CPU, device]
    for name in LAWFUL:
        yield check(f"laws, {name}", lambda name=name: list(broken_laws(name, devices, seeds, samples)))
    yield check("names", lambda: list(broken_names(devices, seeds, samples)))
    yield check("orders", lambda: list(broken_orders(devices, seeds, samples)))
    cuda = device.type == "cuda"
    no_device = "needs a CUDA device"
    for order, shuffle in (("in order", False), ("shuffled", True)):
        yield check(f"results, {order}", lambda shuffle=shuffle: unlike_results(shuffle) if cuda else no_device)
        yield check(f"waits, {order}", lambda shuffle=shuffle: forbidden(shuffle) if cuda else no_device)
        yield check(f"places, {order}", lambda shuffle=shuffle: waiting(shuffle) if cuda else no_device)
    several = torch.cuda.device_count() > 1
    replicas = {"accelerator": "gpu", "devices": 2, "strategy": lw.DataParallelStrategy()} if several else {}
    if not cuda:
        replicas = {"accelerator": "cpu", "strategy": lw.DataParallelStrategy(replicas=2)}
    yield check("replicas", lambda: unlike_results(False, **replicas) if replicas else "needs two CUDA devices")


def unlike_results(shuffle: bool, **where: Any) -> list[str]:
    """Which results of the callbacks are other ones than on one CPU."""
    expected = results([make() for make in EVERYONE.values()], shuffle, accelerator="cpu", devices=1)
    where = where or {"accelerator": "gpu", "devices": 1}
    found = results([make() for make in EVERYONE.values()], shuffle, **where)
    if found.keys() != expected.keys():
        return [f"results {sorted(found)}, expected {sorted(expected)}"]
    return [
        f"{key}: {found[key]}, expected {expected[key]}" for key in found if plain(found[key]) != plain(expected[key])
    ]


def forbidden(shuffle: bool) -> list[str]:
    """Raises at the first wait in a batch hook."""
    watch = forbid_waits([make() for make in EVERYONE.values()], shuffle, accelerator="gpu", devices=1)
    return [] if watch.num_hooks else ["no batch hook was looked at"]


def waiting(shuffle: bool) -> list[str]:
    """Where batch hooks wait."""
    seen = waits([make() for make in EVERYONE.values()], shuffle, accelerator="gpu", devices=1)
    for when, counted in (("at the first call", seen.at_first), ("later", seen.later)):
        for (whose, where), count in counted.items():
            print(f"        {whose} waits {when}, {count} times: {where}", file=sys.stderr)
    found = seen.at_first + seen.later
    return [f"{where}, {count} times" for (whose, where), count in found.items() if whose == OURS]


def main() -> None:
    args = options(__doc__, repeats=20).parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    device = torch.device("cuda", 0) if torch.cuda.is_available() else CPU
    small = args.quick or device == CPU
    card = torch.cuda.get_device_name(device) if device != CPU else "no CUDA device: the small form, on the CPU"
    print(card, file=sys.stderr)
    args.repeats = min(args.repeats, 3) if small else args.repeats
    made = list(checks(device, *((1, 200) if small else (5, 2000))))
    rows = dict(
        [
            *gradients(device, args.repeats, *((2, 64) if small else (32, 224))),
            *counts(device, args.repeats),
            *choices(device, args.repeats, *((16, 64) if small else (64, 224))),
        ]
    )
    failed = [one for one in made if one["passed"] is False]
    result = {
        "name": "gpu",
        "device": card,
        "repeats": args.repeats,
        "checks": made,
        "failed": len(failed),
        "ours": {row: round(times["ours"], 4) for row, times in rows.items()},
        "peer": {row: round(times["peer"], 4) for row, times in rows.items()},
        "ratio": {row: round(times["ours"] / times["peer"], 4) for row, times in rows.items()},
        "units": dict.fromkeys(rows, "ms"),
    }
    lines = [f"{card}; {len(made)} checks, {len(failed)} failed", ""]
    lines += [f"{'milliseconds':<70}{'ours':>10}{'peer':>10}{'ratio':>9}"]
    lines += [f"{row:<70}{t['ours']:>10.3f}{t['peer']:>10.3f}{t['ours'] / t['peer']:>9.3f}" for row, t in rows.items()]
    finish(result, args.json, lines)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
