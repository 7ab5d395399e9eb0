"""What GradientHistogram adds to training, by how often it logs, beside what Cockpit has published of itself.

    python benchmarks/gradient_intervals.py            # a table; about ten minutes
    python benchmarks/gradient_intervals.py --json     # one JSON object: name, ours, peer, ratio, units and more

Two layouts: ResNet-50 (161 parameters, 25.6 million values, 8 images of 3x96x96) and GPT-2 small (148 parameters, 124.4
million values, 128 tokens). Both batches are small, and what is read of gradients and parameters does not grow with the
batch: larger ones make each factor smaller. Processor time of the process, in milliseconds; one thread.

    passes      a forward and a backward pass
    step        a step of a Trainer with AdamW, without the callback
    logged      what a logged step adds with the defaults, whose gradients are handed to it: norms, update ratios,
                histograms, the look whether gradients are finite, a table at every tenth, drawn and written
    everything  the same with weights, moments, updates and activations
    ignore, warn, raise    what a step that is not logged adds, by on_nonfinite=: thread time of all hooks; the peer is
                `torch._foreach_norm` of the same gradients in float32, which reads them once
    digest      one digest of all parameters, behind each logged step with check_replicas
    clipping    a call of `torch.nn.utils.clip_grad_norm_`, for comparison

A factor is the time of a step with the callback by that without, with one in n steps logged and the others looked at,
`digest` included. Those of Cockpit (Schneider, Dangel and Hennig, 2021, the economy configuration on ResNet-50, CPU)
are of other machines and batches: they say what is usual, and are no measurement.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
import warnings

from _common import finish, interleaved, measure, options
from _networks import batch_for, gpt2_layout, one_pass, replayed, resnet50_layout
from gradients import HOOKS

LAYOUTS = {"resnet50": resnet50_layout, "gpt2": gpt2_layout}
INTERVALS = (1, 4, 16, 64, 256)
COCKPIT = {"CPU": (5.7, 2.4, 1.34, 1.08, 1.02), "GPU": (3.70, 1.93, 1.24, 1.07, 1.03)}
WAYS = ("ignore", "warn", "raise")
EVERYTHING = {"weights": True, "moments": True, "updates": True, "activations": True}
QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False,
         "enable_checkpointing": False, "logger": False}  # fmt: skip


def trained(module, steps: int, callbacks: list) -> float:
    """Processor seconds of a step in a Trainer, from the second step to the end of the run."""
    import pytorch_lightning as pl
    import torch

    class Clock(pl.Callback):
        start = 0.0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 1:
                self.start = time.process_time()

    trainer = pl.Trainer(max_steps=steps + 1, callbacks=[clock := Clock(), *callbacks], **QUIET)
    trainer.fit(module, torch.utils.data.DataLoader(range(steps + 1)))
    return (time.process_time() - clock.start) / steps


def passing(network):
    """A LightningModule whose steps make both passes."""
    import pytorch_lightning as pl
    import torch

    class Passing(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network

        def training_step(self, batch, batch_idx):
            inputs, targets = batch_for(network)
            return torch.nn.functional.cross_entropy(self.network(inputs), targets)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-6)

    return Passing()


def looked_at(network, way: str, steps: int) -> float:
    """Thread time of the callback in one step that is not logged."""
    import pytorch_lightning as pl
    import torch

    import lwcallbacks as lw

    spent = []

    def timed(call):
        def wrapped(*args, **kwargs):
            start = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent.append(time.thread_time() - start)

        return wrapped

    class Timed(lw.GradientHistogram):
        def on_train_start(self, *args):
            for hook in HOOKS:
                setattr(self, hook, timed(getattr(self, hook)))
            super().on_train_start(*args)

    trainer = pl.Trainer(max_steps=steps, callbacks=[Timed(10**9, on_nonfinite=way)], **QUIET)
    trainer.fit(replayed(network), torch.utils.data.DataLoader(torch.zeros(steps), 1))
    return sum(spent) / steps


def run(layout: str, steps: int, blocks: int) -> dict[str, float]:
    """All quantities of a layout, in seconds."""
    import logging

    import torch

    import lwcallbacks as lw
    from lwcallbacks.gradients.digest import digests_of

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = gpt2_layout(blocks) if layout == "gpt2" else resnet50_layout()
    found = {"passes": statistics.median([one_pass(network) for _ in range(4)][1:])}
    found |= {way: looked_at(network, way, 2 * steps) for way in WAYS}
    parameters = list(network.parameters())
    gradients = [p.grad for p in parameters]
    alone = interleaved(
        {
            "peer": lambda: torch._foreach_norm(gradients, 2, torch.float32),
            "clipping": lambda: torch.nn.utils.clip_grad_norm_(parameters, 1e9),
            "digest": lambda: digests_of(parameters),
        },
        5,
        seconds=0.05,
        clock=time.process_time,
    )
    found |= {name: statistics.median(times) for name, times in alone.items()}
    # Without the passes, beside which a few milliseconds would be lost; outputs are there only with them.
    bare = trained(replayed(network, adam=True), steps, [])
    found["logged"] = trained(replayed(network, adam=True), steps, [lw.GradientHistogram(1)]) - bare
    found["step"] = trained(passing(network), steps, [])
    found["everything"] = trained(passing(network), steps, [lw.GradientHistogram(1, **EVERYTHING)]) - found["step"]
    return found


def factors(found: dict[str, float], logged: str) -> list[float]:
    """By interval."""
    added = ((found[logged] + found["digest"] + (n - 1) * found["warn"]) / n for n in INTERVALS)
    return [round(1 + more / found["step"], 3) for more in added]


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, default=10, help="logged steps of a run, 10 by default")
    parser.add_argument("--blocks", type=int, default=12, help="of the transformer, 12 by default")
    parser.add_argument("--variant", choices=LAYOUTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.steps, args.blocks = 1, 1, 1
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.steps, args.blocks)
        print(json.dumps(measured))
        return
    runs = measure(__file__, tuple(LAYOUTS), args.repeats, "--steps", str(args.steps), "--blocks", str(args.blocks))
    found = {
        layout: {name: statistics.median(r[name] for r in of) for name in of[0]} for layout, of in runs.items()
    }  # fmt: skip
    by_interval = {
        layout: {kind: factors(of, kind) for kind in ("logged", "everything")} for layout, of in found.items()
    }
    resnet = found["resnet50"]
    result = {
        "name": "gradient_intervals",
        "ours": by_interval["resnet50"]["logged"],
        "peer": list(COCKPIT["CPU"]),
        "ratio": [round(a / b, 3) for a, b in zip(by_interval["resnet50"]["logged"], COCKPIT["CPU"], strict=True)],
        "units": f"factor of the time of a step, with one in {', '.join(map(str, INTERVALS))} steps logged",
        "factors": by_interval,
        "milliseconds": {layout: {k: round(v * 1e3, 2) for k, v in of.items()} for layout, of in found.items()},
        "warn_by_passes": {layout: round(of["warn"] / of["passes"], 4) for layout, of in found.items()},
        "looking_by_foreach_norm": round((resnet["warn"] - resnet["ignore"]) / resnet["peer"], 3),
        "repeats": args.repeats,
    }
    lines = [f"{'factor of a step, one logged in':<40}" + "".join(f"{n:>9}" for n in INTERVALS)]
    for layout, of in by_interval.items():
        lines += [f"{f'{layout}, {kind}':<40}" + "".join(f"{x:>9.3f}" for x in row) for kind, row in of.items()]
    lines += [
        f"{f'Cockpit, ResNet-50, {where}, published':<40}" + "".join(f"{x:>9.2f}" for x in row)
        for where, row in COCKPIT.items()
    ]
    lines += ["", f"{'ms':<40}" + "".join(f"{layout:>12}" for layout in found)]
    lines += [f"{name:<40}" + "".join(f"{of[name] * 1e3:>12.2f}" for of in found.values()) for name in resnet]
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
