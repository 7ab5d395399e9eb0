"""What it costs at every step to see whether all gradients are finite, and at a logged one to compare replicas.

    python benchmarks/nonfinite.py            # a table; a minute
    python benchmarks/nonfinite.py --json     # one JSON object: name, ours, peer, ratio, units and more

A network of ResNet-50's layout, as in `gradients.py`: 161 parameters, 25.6 million values, a batch of 8 images of
3x96x96. Its gradients are handed to every step of a Trainer, and what is measured is the thread time of all that
`GradientHistogram` does at a step that is not logged, with on_nonfinite="ignore", "warn" and "raise"; `peer` is
`torch._foreach_norm` of the same gradients in float32, which reads them once. `digest` is one digest of all
parameters, behind each logged step with `check_replicas`. `forward_backward` is one forward and one backward pass. All
of it is processor time.
"""

import statistics
import time
import warnings

from _common import finish, interleaved, options
from gradients import one_pass, replayed, resnet50_layout

WAYS = ("ignore", "warn", "raise")
HOOKS = ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "watch_step",
         "on_train_batch_end")  # fmt: skip


def step_time(network, way: str, steps: int) -> float:
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

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        callbacks=[Timed(10**9, on_nonfinite=way)],
        fast_dev_run=False,
        **quiet,
    )
    trainer.fit(replayed(network), torch.utils.data.DataLoader(torch.zeros(steps), 1))
    return sum(spent) / steps


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of a run, 10 by default")
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.steps = 1, 2
    warnings.filterwarnings("ignore")
    import logging

    import torch

    from lwcallbacks.gradients.digest import digests_of

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = resnet50_layout()
    one_pass(network)
    passes, times = [], {way: [] for way in WAYS}
    for _ in range(args.repeats):
        passes.append(one_pass(network))
        for way in WAYS:
            times[way].append(step_time(network, way, args.steps))
    parameters = list(network.parameters())
    gradients = [p.grad for p in parameters]
    alone = interleaved(
        {
            "peer": lambda: torch._foreach_norm(gradients, 2, torch.float32),
            "digest": lambda: digests_of(parameters),
        },
        args.repeats,
        seconds=0.05,
        clock=time.process_time,
    )
    found = {name: statistics.median(of) * 1e3 for name, of in {**times, **alone, "passes": passes}.items()}
    ours = found["warn"] - found["ignore"]
    shares = {name: found[name] / found["passes"] for name in (*WAYS, "digest")}
    result = {
        "name": "nonfinite",
        "ours": round(ours, 3),
        "peer": round(found["peer"], 3),
        "ratio": round(ours / found["peer"], 3),
        "units": "ms per step that is not logged, of the training thread",
        **{way: round(found[way], 3) for way in (*WAYS, "digest")},
        "forward_backward": round(found["passes"], 1),
        "shares": {name: round(share, 4) for name, share in shares.items()},
        "repeats": args.repeats,
    }
    lines = [f"{'ms of the training thread':<44}{'ms':>9}{'of the passes':>16}"]
    lines += [f"{f'on_nonfinite={way!r}, a step':<44}{found[way]:>9.2f}{shares[way]:>16.2%}" for way in WAYS]
    lines += [f"{'check_replicas, digests at a logged step':<44}{found['digest']:>9.2f}{shares['digest']:>16.2%}"]
    lines += [
        f"{'torch._foreach_norm':<44}{found['peer']:>9.2f}",
        f"{'forward and backward':<44}{found['passes']:>9.1f}",
    ]
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
