"""Run a batch again whose gradient or loss was not finite, and say which module made it so.

found = replay("lwcallbacks_logs/version_3/nonfinite/step-12", Net())
print(found)                        # net.3 (Log): its output is the first that is not finite (Inf in 1 of 32) ...
found.batch, found.facts["samples"]
"""

from __future__ import annotations

import inspect
import json
import math
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.capture.tree import open_container, walk
from lwcallbacks.replaying.hooks import Hooked, described
from lwcallbacks.replaying.saved import LeftOut, read

Loss = Callable[[Any, Any], Tensor]


@dataclass(eq=False)
class Replay:
    """What was saved, and what was found when it was run again.

    Attributes:
        folder: where it is.
        facts: what is known: "process", "step", "epoch", "batch", "losses", "layers" in the order of backward,
            "samples", "weights" ("before" or "after" the step), "precision".
        batch: as the step was given it, on the CPU.
        weights: the module's `state_dict`.
        optimizers: the `state_dict` of each optimizer.
        found: sentences about what was found; none where it was not run.

    >>> facts = {"step": 12, "epoch": 0, "batch": 12, "process": 1}
    >>> print(Replay(Path("nonfinite/step-12"), facts, None, {}, [], ["the loss is nan"]))
    step 12, epoch 0, batch 12 of process 1
    the loss is nan
    """

    folder: Path
    facts: dict[str, Any]
    batch: Any
    weights: dict[str, Any]
    optimizers: list[Any]
    found: list[str]

    def __str__(self) -> str:
        facts = self.facts
        at = f"step {facts['step']}, epoch {facts['epoch']}, batch {facts['batch']} of process {facts['process']}"
        return "\n".join([at, *self.found])


def replay(
    path: str | os.PathLike[str],
    module: Any = None,
    *,
    process: int | None = None,
    batch: Any = None,
    loss: Loss | None = None,
) -> Replay:
    """Load what ``GradientHistogram(on_nonfinite="raise")`` has saved; with a module, run that batch again.

    The module gets the saved weights, and stays with them. Its ``training_step`` is called with the batch, in training
    mode and with the random state that it had, without a Trainer; then comes backward. Hooks find the first module
    whose output, or whose gradient, is not finite; of an output also which samples of the batch are not, where each
    row is one. If it is a gradient, it is done once more under ``torch.autograd.detect_anomaly``, which names the
    function and the line, if it made a NaN.

    Args:
        path: the folder that the error names.
        module: the LightningModule, made as it was; where it is (CPU or GPU), it is run. None only loads.
        process: whose batch; by default of the first process that had a loss that is not finite, else of the first.
        batch: run instead of the saved one, as where that could not be saved.
        loss: ``loss(module, batch)``, instead of ``training_step``, where that needs a Trainer.

    Returns:
        A `Replay`, which prints what was found.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: the batch could not be saved and none is given; the weights could not be saved; the module
            optimizes by hand, or its step takes ``optimizer_idx``, and no `loss` is given.
        RuntimeError: the module has other parameters than those that were saved.

    >>> replay("runs/none")
    Traceback (most recent call last):
    FileNotFoundError: replay: found no process-0.json in 'runs/none', expected the folder that the error names
    """
    folder = Path(path)
    of = {int(file.stem.partition("-")[2]): json.loads(file.read_text()) for file in folder.glob("process-*.json")}
    if not of or (process is not None and process not in of):
        wanted = process or 0
        raise FileNotFoundError(
            f"replay: found no process-{wanted}.json in {str(path)!r}, expected the folder that the error names"
        )
    bad = [rank for rank, facts in sorted(of.items()) if not all(map(math.isfinite, facts["losses"]))]
    rank = process if process is not None else (bad or sorted(of))[0]
    saved, state = read(folder, f"process-{rank}"), _state(folder)
    given = saved["batch"] if batch is None else batch
    found = Replay(folder, of[rank], given, state.get("weights", {}), state.get("optimizers", []), [])
    if module is not None:
        _run(found, module, saved, loss)
    return found


def _state(folder: Path) -> dict[str, Any]:
    return read(folder, "state") if (folder / "state.pt").is_file() else {}


def _run(found: Replay, module: Any, saved: Mapping[str, Any], loss: Loss | None) -> None:
    _check(found, module, loss)
    precision = str(found.facts["precision"])
    if (dtype := _WHOLE.get(precision)) is not None:
        module.to(dtype)
    try:
        module.load_state_dict({**found.weights, **saved["buffers"]})
    except RuntimeError as error:
        raise RuntimeError(f"replay: the module is not made as the one that was saved: {error}") from error
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    batch, say = _moved(found.batch, device), found.found.append
    of_batch = described(batch)
    if of_batch:
        say(f"the batch is not finite ({of_batch})")
    if odd := described(found.weights):
        say(f"the weights were not finite {found.facts['weights']} the step ({odd})")

    def compute() -> Tensor:
        with _autocast(device, precision):
            return _loss(module, batch, found.facts["batch"], loss)

    module.train()
    with _as_it_was(module, saved["random"]), Hooked(module, of_batch is None) as hooked:
        value = compute()
        told, number = hooked.of_forward(), float(value.detach())
        found.found += [told] if told else []
        if told and (where := _samples(hooked.rows, found)):
            say(where)
        if not math.isfinite(number):
            where = "" if told else ": the outputs of all modules are finite, so the step itself made it"
            say(f"the loss is {number}{where}")
            return
        say(f"the loss is finite, {number:.6g}")
        torch.autograd.backward(value)
        told = hooked.of_backward()
        odd_layers = [name for name, p in module.named_parameters() if p.grad is not None and described(p.grad)]
    if not odd_layers:
        say("all gradients are finite: with these weights, on this device, this batch alone does not do it")
        return
    say(told or f"the gradient of {odd_layers[-1]} is not finite")
    with _as_it_was(module, saved["random"]):
        found.found += _anomaly(compute)


_MOST_ROWS = 8
"""So many samples are named; of more it is said how many there are."""


def _samples(rows: tuple[int, list[int]] | None, found: Replay) -> str:
    """Which samples of the batch are not finite, where some rows are not and each row is one of its samples."""
    samples = found.facts.get("samples") or []
    first = next((x for x in walk(found.batch) if isinstance(x, Tensor) and x.ndim), None)
    if rows is None or first is None or rows[0] != len(first) or len(rows[1]) == rows[0]:
        return ""
    of, odd = rows
    named = [f"{row} (sample {samples[row]})" if len(samples) == of else str(row) for row in odd[:_MOST_ROWS]]
    more = f" and {len(odd) - _MOST_ROWS} more" if len(odd) > _MOST_ROWS else ""
    return f"of {of} rows of the batch, these are not finite there: {', '.join(named)}{more}"


def _check(found: Replay, module: Any, loss: Loss | None) -> None:
    if not found.weights:
        raise ValueError(f"replay: found no weights in {str(found.folder)!r}, expected state.pt of process 0 there")
    lost = next((x for x in walk(found.batch) if isinstance(x, LeftOut)), None)
    if lost is not None:
        raise ValueError(
            f"replay: {lost.what} of the batch could not be saved. Give the batch: replay(path, module, batch=...)"
        )
    step = getattr(module, "training_step", None)
    if loss is None and step is not None and "optimizer_idx" in inspect.signature(step).parameters:
        raise ValueError(
            f"replay: {type(module).__name__}.training_step takes optimizer_idx, and a batch has a loss for each "
            "optimizer. Give the one that was not finite: replay(path, module, loss=lambda module, batch: "
            "module.training_step(batch, 0, 1))"
        )
    if loss is None and not getattr(module, "automatic_optimization", True):
        raise ValueError(
            f"replay: {type(module).__name__} optimizes by hand, which needs a Trainer. Give the loss: "
            "replay(path, module, loss=lambda module, batch: ...)"
        )


def _loss(module: Any, batch: Any, batch_idx: int, loss: Loss | None) -> Tensor:
    if loss is not None:
        return loss(module, batch)
    several = len(inspect.signature(module.training_step).parameters) > 1
    try:
        output = module.training_step(*((batch, batch_idx) if several else (batch,)))
    except Exception as error:
        error.add_note("while lwcallbacks.replay ran training_step without a Trainer; loss=lambda module, batch: ... "
                       "gives the loss in another way")  # fmt: skip
        raise
    value = output["loss"] if isinstance(output, Mapping) else output
    if not isinstance(value, Tensor):
        raise ValueError(f"replay: training_step returned {type(output).__name__}, expected a loss")
    return value


def _anomaly(compute: Callable[[], Tensor]) -> list[str]:
    """The function that first gave a NaN in backward, and the line that called it; nothing where there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.autograd.detect_anomaly():
                torch.autograd.backward(compute())
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            told = [str(warning.message) for warning in caught]
            lines = [line for text in told for line in re.findall(r'File "(.+?)", line (\d+), in (.+)\n\s+(.+)', text)]
            own = [line for line in lines if f"{os.sep}torch{os.sep}" not in line[0]]
            where = f", at {own[-1][0]}:{own[-1][1]}: {own[-1][3]}" if own else ""
            return [f"where it first is NaN: {str(error).rstrip('.')}{where}"]
    return []


_WHOLE = {"16-true": torch.float16, "bf16-true": torch.bfloat16, "64-true": torch.float64, "64": torch.float64}
_MIXED = {"16-mixed": torch.float16, "16": torch.float16, "bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16}


def _autocast(device: torch.device, precision: str) -> Any:
    dtype = _MIXED.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


@contextmanager
def _as_it_was(module: Any, saved: Mapping[str, Any]) -> Iterator[None]:
    """With the random state of then and without a Trainer; both are as before afterwards, and gradients are None."""
    before, trainer = random_state(), getattr(module, "_trainer", None)
    module.zero_grad()
    set_random_state(saved)
    if trainer is not None:
        module._trainer = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*You are trying to `self.log.*")
            yield
    finally:
        set_random_state(before)
        module.zero_grad()
        if trainer is not None:
            module._trainer = trainer


def random_state() -> dict[str, Any]:
    """Of Python, NumPy and torch, as built-in values and tensors."""
    name, keys, *rest = np.random.get_state()
    state = {"python": random.getstate(), "numpy": (name, keys, *rest), "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: Mapping[str, Any]) -> None:
    """As `random_state` gave it. That of a GPU is left out where there is none."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    container = open_container(value)
    return value if container is None else container.build([_moved(part, device) for part in container.parts.values()])
