"""What histograms and norms of all gradients cost at a logged step, beside `wandb.watch` and beside the step itself.

    python benchmarks/gradients.py            # a table; a few minutes
    python benchmarks/gradients.py --json     # one JSON object: name, ours, peer, ratio, units and more
    python benchmarks/gradients.py --layout gpt2

A network of ResNet-50's layout: 161 parameters, 25.6 million values; gradients of a batch of 8 images of 3x96x96. Or of
GPT-2 small, 148 and 124.4 million, of 128 tokens; `norms` are of the first in any case. They
are worked out once by a forward and a backward pass and then handed to every step of a Trainer, so that what is
measured is not lost beside the passes. Processor time of all threads and of the processes that were started (W&B's,
too), from the third step to the end of the run, everything written; that of `none` is taken off, and what is left is
divided by the steps.

    none      no callback; an offline W&B run, as in the other variants
    ours      GradientHistogram(1): bins, norms, update ratios, at every tenth step a table; in W&B and in the folder
    cheap     the same without histograms
    unlogged  GradientHistogram that logs no step, and looks at each
    unseen    the same with on_nonfinite="ignore"
    peer      `wandb.watch(model, log="gradients", log_freq=1)`: bins in W&B, no norms, no page

`of_the_process` is the same without the processes that were started. `forward_backward` is one forward and one backward
pass. `parts` says where ours spends it: `hook` on the training thread, `render` and the writers in the background,
`rest` in W&B's process and elsewhere. `norms` is wall time, one thread, call by call: the callback's way to each norm
and their total as Python floats, against `torch._foreach_norm`. `unlogged_hooks` is the thread time of all hooks
of a step that is not logged, the look whether gradients are finite among them, in microseconds. `every_50th` is what a
step costs if every 50th is logged: a 50th of a logged step and of 49 such hooks; `every_50th_ignore` is the same with
`on_nonfinite="ignore"`, which does not look.
"""

import argparse
import contextlib
import functools
import json
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict

from _common import cpu_seconds, finish, interleaved, measure, median_ratio, options
from _networks import gpt2_layout, one_pass, replayed, resnet50_layout

VARIANTS = ("none", "ours", "cheap", "unlogged", "unseen", "peer")
WARM_UP = 2
LAYOUTS = {"resnet50": resnet50_layout, "gpt2": gpt2_layout}
HOOKS = ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "watch_step",
         "on_train_batch_end")  # fmt: skip
"""Of GradientHistogram at every step, but for those on the optimizer itself."""


def timed_callback(cadence: int, seconds: dict[str, float], **options):
    """GradientHistogram that says where its time goes: thread time by part."""
    import lwcallbacks as lw
    from lwcallbacks.callbacks.hub import Hub

    def timed(part, call):
        @functools.wraps(call)  # the hook of a user might change gradients, and the callback looks at whose it is
        def wrapped(*args, **kwargs):
            start = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                seconds[part] += time.thread_time() - start

        return wrapped

    class Timed(lw.GradientHistogram):
        def on_fit_start(self, trainer, pl_module):
            super().on_fit_start(trainer, pl_module)
            for writer in Hub.of(trainer).outlet.publisher.writers:
                part = type(writer).__name__.removesuffix("Writer").lower()
                writer.write = timed(part, writer.write)
                writer.write_scalars = timed(part, writer.write_scalars)

        def on_train_start(self, *args):
            for hook in HOOKS:
                setattr(self, hook, timed("hook", getattr(self, hook)))
            super().on_train_start(*args)
            steps = self._fit.steps
            steps._calls = timed("hook", steps._calls[0]), timed("hook", steps._calls[1]), steps._calls[2]
            steps.remove()  # the optimizers are watched again, with these calls
            self._fit.watch()

        def publish(self, trainer, render, step, *args, **kwargs):
            super().publish(trainer, timed("render", render), step, *args, **kwargs)

    return Timed(cadence, **options)


def run(variant: str, steps: int, layout: str) -> dict[str, float]:
    """Train once in this process and return what a step took."""
    os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_SILENT", "true")
    warnings.filterwarnings("ignore")
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import WandbLogger

    from lwcallbacks.callbacks.hub import Hub

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LAYOUTS[layout]()
    passes = [one_pass(network) for _ in range(4)][1:]
    seconds = defaultdict(float)

    class Clock(pl.Callback):
        start = own = 0.0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == WARM_UP:
                if Hub.of(trainer).outlet.publisher is not None:
                    Hub.of(trainer).outlet.publisher.flush()
                seconds.clear()
                self.start, self.own = cpu_seconds(), time.process_time()

    class Watch(pl.Callback):
        def on_fit_start(self, trainer, pl_module):
            trainer.logger.experiment.watch(pl_module, log="gradients", log_freq=1)

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            trainer.logger.log_metrics({}, step=trainer.global_step)  # ends the row: no other metric is logged here

    made = {
        "ours": (1, {}),
        "cheap": (1, {"histograms": False}),
        "unlogged": (10**9, {}),
        "unseen": (10**9, {"on_nonfinite": "ignore"}),
    }
    callbacks = []
    if variant in made:
        cadence, options = made[variant]
        callbacks = [timed_callback(cadence, seconds, **options)]
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=WARM_UP + steps,
        logger=WandbLogger(project="lwcallbacks-bench", save_dir="."),
        callbacks=[clock := Clock(), *([Watch()] if variant == "peer" else callbacks)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(replayed(network), torch.utils.data.DataLoader(range(WARM_UP + steps)))
    trainer.logger.experiment.finish()
    total, own = cpu_seconds() - clock.start, time.process_time() - clock.own
    parts = {f"part_{name}": took / steps for name, took in seconds.items()}
    return {
        "step": total / steps,
        "own": own / steps,
        "passes": statistics.median(passes),
        "hooks": seconds["hook"] / steps + hooks_of_a_step(),
        **parts,
    }


def hooks_of_a_step(number: int = 10_000) -> float:
    """Seconds that the two hooks on the optimizer take at a step that is not logged."""
    import torch

    from lwcallbacks.callbacks.steps import Steps

    steps = Steps(10**9, before=print, behind=print)
    steps.watch([optimizer := torch.optim.SGD([torch.zeros(1)], 0.0)])
    hooks = *optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()
    start = time.thread_time()
    for _ in range(number):
        for hook in hooks:
            hook(optimizer, (), {})
    return (time.thread_time() - start) / number


def norm_times(repeats: int) -> dict[str, list[float]]:
    """Seconds of the callback's way to the norms and of `torch._foreach_norm`, in turns."""
    import torch

    from lwcallbacks.gradients.norms import in_float64, joined, norms_of

    torch.set_num_threads(1)
    network = resnet50_layout()
    one_pass(network)
    gradients = [p.grad for p in network.parameters()]

    def ours() -> float:
        return float(joined(in_float64(norms_of(gradients).numpy())))

    return interleaved({"ours": ours, "peer": lambda: torch._foreach_norm(gradients)}, repeats, seconds=0.05)


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=20, help="logged steps of a run, 20 by default")
    parser.add_argument("--layout", choices=LAYOUTS, default="resnet50", help="of the network, resnet50 by default")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.steps = 1, 4
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.steps, args.layout)
        print(json.dumps(measured))
        return
    runs = measure(__file__, VARIANTS, args.repeats, "--steps", str(args.steps), "--layout", args.layout)
    bare = [r["step"] for r in runs["none"]]
    added = {v: [r["step"] - base for r, base in zip(runs[v], bare, strict=True)] for v in ("ours", "cheap", "peer")}
    for name, between in (("cadence", "unlogged"), ("cadence_ignore", "unseen")):
        added[name] = [(a + 49 * r["hooks"]) / 50 for a, r in zip(added["ours"], runs[between], strict=True)]
    passes = [statistics.median(r["passes"] for v in VARIANTS for r in turn[v]) for turn in turns(runs)]
    parts = {
        name.removeprefix("part_"): statistics.median(run[name] for run in runs["ours"])
        for name in runs["ours"][0]
        if name.startswith("part_")
    }
    alone = {v: [r["own"] - n["own"] for r, n in zip(runs[v], runs["none"], strict=True)] for v in ("ours", "peer")}
    norms = norm_times(3 if args.quick else 31)
    milliseconds = {v: round(statistics.median(times) * 1e3, 2) for v, times in added.items()}
    rest = statistics.median(added["ours"]) - sum(parts.values())
    result = {
        "name": "gradients",
        "layout": args.layout,
        "ours": milliseconds["ours"],
        "peer": milliseconds["peer"],
        "ratio": round(median_ratio(added, "ours", "peer"), 4),
        "of_the_process": {v: round(statistics.median(times) * 1e3, 2) for v, times in alone.items()},
        "ratio_of_the_process": round(median_ratio(alone, "ours", "peer"), 4),
        "units": "CPU ms per logged step",
        "cheap": milliseconds["cheap"],
        "ratio_cheap": round(median_ratio(added, "cheap", "peer"), 4),
        "every_50th": milliseconds["cadence"],
        "every_50th_ignore": milliseconds["cadence_ignore"],
        "forward_backward": round(statistics.median(passes) * 1e3, 2),
        "ratio_forward_backward": round(statistics.median(map(divide, added["ours"], passes)), 4),
        "ratio_forward_backward_every_50th": round(statistics.median(map(divide, added["cadence"], passes)), 5),
        "ratio_forward_backward_every_50th_ignore": round(
            statistics.median(map(divide, added["cadence_ignore"], passes)), 5
        ),
        "parts": {name: round(took * 1e3, 2) for name, took in {**parts, "rest": rest}.items()},
        "unlogged_hooks": {
            name: round(statistics.median(r["hooks"] for r in runs[name]) * 1e6, 2) for name in ("unlogged", "unseen")
        },
        "norms": {name: round(statistics.median(times) * 1e3, 3) for name, times in norms.items()},
        "ratio_norms": round(median_ratio(norms, "ours", "peer"), 3),
        "repeats": args.repeats,
    }
    table = [
        ("histograms, by wandb.watch", result["ours"], result["peer"], result["ratio"]),
        ("no histograms, by wandb.watch", result["cheap"], result["peer"], result["ratio_cheap"]),
        ("without W&B's own process", *result["of_the_process"].values(), result["ratio_of_the_process"]),
        ("histograms, by the passes", result["ours"], result["forward_backward"], result["ratio_forward_backward"]),
        ("every 50th step, by the passes", milliseconds["cadence"], result["forward_backward"],
         result["ratio_forward_backward_every_50th"]),
        ('the same with on_nonfinite="ignore"', milliseconds["cadence_ignore"], result["forward_backward"],
         result["ratio_forward_backward_every_50th_ignore"]),
        ("norms, by torch._foreach_norm", result["norms"]["ours"], result["norms"]["peer"], result["ratio_norms"]),
    ]  # fmt: skip
    lines = [f"{'CPU ms per step':<36}{'ours':>10}{'peer':>10}{'ratio':>10}"]
    lines += [f"{what:<36}{ours:>10.2f}{peer:>10.2f}{ratio:>10.4f}" for what, ours, peer, ratio in table]
    lines += ["", "of ours: " + ", ".join(f"{name} {took:.1f}" for name, took in result["parts"].items())]
    looks, ignores = result["unlogged_hooks"].values()
    lines += [f'hooks at a step that is not logged: {looks:.1f} us, {ignores:.1f} us with on_nonfinite="ignore"']
    finish(result, args.json, lines)


def turns(runs):
    """The runs turn by turn, each a dict of lists of one run."""
    number = len(runs["none"])
    return [{variant: [runs[variant][i]] for variant in runs} for i in range(number)]


def divide(a: float, b: float) -> float:
    return a / b


if __name__ == "__main__":
    main()
