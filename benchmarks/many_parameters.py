"""A model of 3,000 parameters whose gradients are logged at each of 25 steps: time, memory and files.

    python benchmarks/many_parameters.py            # a table; a minute or two
    python benchmarks/many_parameters.py --json     # one JSON object: name, ours, peer, ratio, units and more

1,500 linear layers of 32 x 32 one after the other, with residuals; batches of 32, SGD. No logger: histograms and norms
go to the run's folder alone.

    ours      GradientHistogram(1)
    peer      the same training without callbacks

`fit` is processor time of all threads from the first batch to the end of `Trainer.fit`, everything written; `wall` is
time on the clock. `growth` is the most physical memory of the process in the second half of the steps from the fifth
on, beyond the most in the first half of them; `files` are those of the run. `parts` is thread time of ours: `hook` on
the training thread; `render` and `folder` behind it.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

from _common import cpu_seconds, finish, measure, medians, options
from gradients import timed_callback

VARIANTS = ("peer", "ours")
UNITS = {"fit": "CPU s", "wall": "s", "growth": "MiB", "files": "", "folder": "MiB"}
LAYERS, WIDTH, STEPS, FIFTH, MIDDLE = 1500, 32, 25, 4, 15


def resident_mib() -> float:
    """Physical memory of this process now; 0 where there is no `/proc`."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def run(variant: str, layers: int) -> dict[str, float]:
    """Train once in this process and return what it took."""
    warnings.filterwarnings("ignore")
    import pytorch_lightning as pl
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds = defaultdict(float)

    class Deep(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))

        def training_step(self, x, batch_idx):
            for layer in self.layers:
                x = x + 0.01 * torch.tanh(layer(x))
            return x.square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    class Watches(pl.Callback):
        start, began, memory = 0.0, 0.0, {}

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 0:
                self.start, self.began = cpu_seconds(), time.perf_counter()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.memory[batch_idx] = resident_mib()

    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=STEPS,
        logger=False,
        default_root_dir=".",
        callbacks=[watches := Watches(), *([timed_callback(1, seconds)] if variant == "ours" else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Deep(), torch.utils.data.DataLoader(torch.randn(STEPS * 32, WIDTH), 32))
    written = [path for path in Path().rglob("*") if path.is_file()]
    return {
        "fit": cpu_seconds() - watches.start,
        "wall": time.perf_counter() - watches.began,
        "growth": max(watches.memory[step] for step in range(MIDDLE, STEPS))
        - max(watches.memory[step] for step in range(FIFTH, MIDDLE)),
        "files": len(written),
        "folder": sum(path.stat().st_size for path in written) / 2**20,
        **{f"part_{name}": took for name, took in seconds.items()},
    }


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--layers", type=int, default=LAYERS, help="each has two parameters; 1,500 by default")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.layers = 1, 100
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.layers)
        print(json.dumps(measured))
        return
    runs = measure(__file__, VARIANTS, args.repeats, "--layers", str(args.layers))
    found = {variant: medians(runs[variant]) for variant in VARIANTS}
    parts = {name.removeprefix("part_"): took for name, took in found["ours"].items() if name.startswith("part_")}
    ratio = {
        name: round(statistics.median(a[name] / b[name] for a, b in zip(runs["ours"], runs["peer"], strict=True)), 3)
        for name in ("fit", "wall")
    }
    result = {
        "name": "many_parameters",
        **{variant: {name: found[variant][name] for name in UNITS} for variant in VARIANTS},
        "ratio": ratio,
        "units": UNITS,
        "parts": parts,
        "parameters": 2 * args.layers,
        "repeats": args.repeats,
    }
    lines = [f"{'':<16}{'ours':>12}{'no callback':>14}{'ratio':>10}"]
    for name, unit in UNITS.items():
        values = f"{found['ours'][name]:>12.2f}{found['peer'][name]:>14.2f}"
        lines.append(f"{name + f' [{unit}]' * bool(unit):<16}{values}{ratio.get(name, ''):>10}")
    lines += ["", "of ours: " + ", ".join(f"{name} {took:.2f} s" for name, took in parts.items())]
    finish(result, args.json, lines)


if __name__ == "__main__":
    main()
