"""What delivering checkpoints to W&B costs: seconds that training waits, and bytes on disk.

    python benchmarks/checkpoints.py            # a table; about ten minutes, 10 GB of disk
    python benchmarks/checkpoints.py --json     # one JSON object: name, ours, peer, ratio, units, versions

A Trainer saves a checkpoint of so many MB after each epoch, all of them kept or the best two, and the real client of
W&B uploads them to a server on this machine, in a process of its own, which answers at once or after 500 ms.

    ours    CheckpointArtifact
    peer    WandbLogger(log_model="all")
    none    neither: what the Trainer itself needs is subtracted from both

`blocked` is the time from the end of validation to the next batch, less that in which the CheckpointIO writes: the
median over the saves, less that of `none`. `end` is how long `fit` takes after its last batch, `finish` how long W&B's
`finish` takes then. `stored` are the bytes on disk when both are over, hard links once, by those of the checkpoints
that ModelCheckpoint keeps; the server's are not counted.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _common import finish, measure, medians, options

TESTS = Path(__file__).resolve().parent.parent / "tests"
VARIANTS = ("ours", "peer", "none")
UNITS = {"blocked": "s", "end": "s", "finish": "s", "stored": "times what ModelCheckpoint keeps"}
SERVER = """
import sys
sys.path.insert(0, {tests!r})
import json
from support.wandb_server import WandbServer
with WandbServer() as server:
    server.delay = {delay}
    print(json.dumps(server.env), flush=True)
    sys.stdin.read()
"""


def run(variant: str, megabytes: int, epochs: int, keep: int) -> dict[str, float]:
    """Fit in this process, in this folder."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.loggers import WandbLogger
    from pytorch_lightning.plugins.io import TorchCheckpointIO

    import lwcallbacks as lw

    writing: list[float] = []

    def timed(self: TorchCheckpointIO, *args: object, **kwargs: object) -> None:
        start = time.perf_counter()
        whole(self, *args, **kwargs)
        writing.append(time.perf_counter() - start)

    whole = TorchCheckpointIO.save_checkpoint
    TorchCheckpointIO.save_checkpoint = timed  # of the class: our callback takes it for Lightning's own, which it is

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 1)
            self.bulk = torch.nn.Parameter(torch.rand(megabytes * 250_000), requires_grad=False)
            self.waits: list[float] = []
            self.validated = self.last = 0.0

        def training_step(self, batch, _):
            if self.validated:
                self.waits.append(time.perf_counter() - self.validated)
                self.validated = 0.0
            self.last = time.perf_counter()
            return self.layer(batch).square().mean()

        def validation_step(self, batch, _):
            with torch.no_grad():
                self.bulk[:1000] += 1  # so that no two checkpoints are the same
            self.log("score", float(self.current_epoch))
            self.validated = time.perf_counter()

        def configure_optimizers(self):
            return torch.optim.SGD(self.layer.parameters(), lr=0.1)

    logger = WandbLogger(project="bench", log_model="all" if variant == "peer" else False)
    kept = ModelCheckpoint("checkpoints", monitor="score", mode="max", save_top_k=keep)
    more = [lw.CheckpointArtifact()] if variant == "ours" else []
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=logger,
        callbacks=[*more, kept],
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,  # a validation without a save
    )
    data = torch.utils.data.DataLoader(torch.rand(4, 8), batch_size=4)
    net = Net()
    trainer.fit(net, data, data)
    ended = time.perf_counter()
    logger.experiment.finish()
    finished = time.perf_counter()
    ours = sum(path.stat().st_size for path in Path("checkpoints").rglob("*.ckpt"))
    there = {found.st_ino: found.st_size for path in Path().rglob("*") if (found := path.lstat()) and path.is_file()}
    blocked = [wait - wrote for wait, wrote in zip(net.waits, writing, strict=False)]
    return {
        "blocked": statistics.median(blocked),
        "end": ended - net.last - writing[-1],
        "finish": finished - ended,
        "stored": sum(there.values()) / ours,
    }


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--fit", nargs=3, type=int, metavar=("MB", "EPOCHS", "KEEP"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, *args.fit)
        print(json.dumps(measured))
        return
    rows = {
        "100 MB, 10 epochs, best 2": ((100, 10, 2), 0.0),
        "100 MB, 10 epochs, best 2, 500 ms": ((100, 10, 2), 0.5),
        "1 GB, 3 epochs, all": ((1000, 3, -1), 0.0),
        "1 GB, 3 epochs, all, 500 ms": ((1000, 3, -1), 0.5),
    }
    if args.quick:
        rows, args.repeats = {"10 MB, 3 epochs, best 2": ((10, 3, 2), 0.0)}, 1
    found = {}
    for name, (fit, delay) in rows.items():
        with served(delay):
            runs = measure(__file__, VARIANTS, args.repeats, "--fit", *map(str, fit))
        of = {variant: medians(runs[variant]) for variant in VARIANTS}
        blocked = {v: of[v]["blocked"] - of["none"]["blocked"] for v in ("ours", "peer")}
        ratio = {"blocked": round(blocked["ours"] / blocked["peer"], 3)}
        ratio |= {key: round(of["ours"][key] / of["peer"][key], 3) for key in ("end", "finish", "stored")}
        found[name] = {**of, "ratio": ratio}
    first = next(iter(found.values()))
    result = {"name": "checkpoints", **first, "units": UNITS, "repeats": args.repeats, "rows": found}
    finish(result, args.json, table(found))


def table(found):
    """A row for each quantity of each fit."""
    yield f"{'':<36}{'':<10}{'none':>9}{'ours':>9}{'peer':>9}{'ours / peer':>14}"
    for name, of in found.items():
        for quantity in UNITS:
            values = "".join(f"{of[variant][quantity]:>9.3f}" for variant in ("none", "ours", "peer"))
            yield f"{name:<36}{quantity:<10}{values}{of['ratio'][quantity]:>14.3f}"


@contextlib.contextmanager
def served(delay: float):
    """A W&B server in a process of its own; what is started in the block talks to it."""
    program = SERVER.format(tests=str(TESTS), delay=delay)
    server = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    before = dict(os.environ)
    try:
        os.environ |= json.loads(server.stdout.readline()) | {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
        for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
            os.environ[f"WANDB_{name}"] = "."  # of the run's own folder
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stdin.close()
        server.wait(30)


if __name__ == "__main__":
    main()
