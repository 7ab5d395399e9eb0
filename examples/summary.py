"""What a run has logged, read back from the files it wrote, as a short table."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lwcallbacks.readers import read_run

BOOKKEEPING = {"_step", "_runtime", "_timestamp", "epoch", "trainer/global_step"}


def print_summary(trainer: pl.Trainer, output: Path, score: str = "val/acc") -> None:
    """Print how good the last epoch was, each logged key with its kind, how often and when, and where to look."""
    found = trainer.callback_metrics.get(score)
    if found is not None:
        name = "Validation accuracy" if score == "val/acc" else score
        print(f"\n{name} after the last epoch: {float(found):.3f}")
    if trainer.logger is not None:
        experiment = trainer.logger.experiment
        run_dir = Path(experiment.dir).parent
        experiment.finish()
        run = read_run(run_dir)
        print(f"\nLogged to the offline W&B run {run.run_id}:\n")
        print_table([("key", "kind", "times", "first step", "last step"), *logged(run.history)])
        print()
        for name in sorted({artifact.name for artifact in run.artifacts if artifact.type == "model"}):
            versions = [artifact for artifact in run.artifacts if artifact.name == name]
            holders = {alias: version.metadata for version in versions for alias in version.aliases}  # the last wins
            aliases = ", ".join(f"{alias} from step {metadata['step']}" for alias, metadata in sorted(holders.items()))
            print(f"  artifact {name} of type model, versions: {len(versions)}, aliases: {aliases}")
        print(f"\nW&B run     {run_dir}\n            send it to W&B with: wandb sync {run_dir}")
    pages = sorted(output.rglob("media/index.html"), key=lambda page: page.stat().st_mtime)
    if pages:
        print(f"Local page  {pages[-1].resolve()}\n            open it in a browser; no server, no account")


def logged(history: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One row per key; the many keys of the parameters' gradients, logged at the same steps, share a row."""
    steps: dict[tuple[str, str], list[int]] = {}
    for row in history:
        for key in row.keys() - BOOKKEEPING:
            kind = row[key].get("_type", "dict") if isinstance(row[key], dict) else "number"
            steps.setdefault((key, kind), []).append(row["trainer/global_step"])
    alike: dict[tuple[str, ...], list[str]] = {}
    for (key, kind), at in sorted(steps.items()):
        prefix = key.partition("/")[0]
        name = f"{prefix}/<parameter>" if prefix.startswith("gradients") and not key.endswith("/total") else key
        alike.setdefault((name, kind, str(len(at)), str(min(at)), str(max(at))), []).append(key)
    return [(name if len(keys) == 1 else f"{name}, {len(keys)} keys", *rest) for (name, *rest), keys in alike.items()]


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows of text in columns: the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        print("  " + "  ".join(cells).rstrip())
