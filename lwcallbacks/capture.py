"""What one step saw: inputs, predictions, targets and loss, found where users leave them.

    calls = ForwardCalls()
    calls.start(module); outputs = module.training_step(batch, 0); calls.stop()
    seen = Step(outputs, batch, calls.calls)
    seen.find("preds", Source())                  # [N, ...], detached

Looks at structure, shapes and dtypes only, never at values, so a device is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

Extract: TypeAlias = str | int | Callable[[Any, Any], Tensor]
"""A key of the step's output or else of the batch, an index into the batch, or `f(outputs, batch) -> tensor`."""


class CaptureError(ValueError):
    """A field was not found in what the step saw. The message tells where it was looked for and what was there."""


@dataclass(frozen=True)
class Source:
    """Where to find each field, if not in the usual places."""

    inputs: Extract | None = None
    preds: Extract | None = None
    targets: Extract | None = None


KEYS: Mapping[str, tuple[str, ...]] = {
    "inputs": ("inputs", "input", "images", "image", "pixel_values", "x"),
    "preds": ("preds", "logits", "outputs", "output"),
    "targets": ("targets", "target", "labels", "label", "y"),
    "loss": ("loss",),
}
_BATCH_INDEX = {"inputs": 0, "targets": 1}


class Step:
    """One step of the user's module, to be asked for its fields.

    Args:
        outputs: what the step returned.
        batch: the batch that it was given.
        calls: (first argument, output) of each `self(x)` during the step.
    """

    def __init__(self, outputs: Any, batch: Any, calls: Sequence[tuple[Any, Any]] = ()) -> None:
        self.outputs = outputs
        self.batch = batch
        self.calls = calls

    def find(self, field: str, source: Source) -> Tensor | None:
        """Return `field` ("inputs", "preds", "targets" or "loss"), detached, or None where it is nowhere to be found.

        Looked for, in this order: where `source` says, then in the step's output, in what `self(x)` returned (for
        preds), and in the batch (for inputs and targets).

        Raises:
            CaptureError: `source` says where it is, and it is not a tensor there.
        """
        extract = getattr(source, field, None)
        if extract is not None:
            return self._extract(field, extract)
        found = _by_key(self.outputs, KEYS[field])
        if found is None and field == "loss" and isinstance(self.outputs, Tensor) and self.outputs.ndim == 0:
            found = self.outputs
        if found is None and field == "preds":
            found = self._forward_output()
        if found is None and field in _BATCH_INDEX:
            found = self._in_batch(field)
        return None if found is None else found.detach()

    def _extract(self, field: str, extract: Extract) -> Tensor:
        found: Tensor | None
        if callable(extract):
            found = extract(self.outputs, self.batch)
        elif isinstance(extract, str):
            found = _by_key(self.outputs, (extract,))
            found = _by_key(self.batch, (extract,)) if found is None else found
        else:
            inside = isinstance(self.batch, (tuple, list)) and -len(self.batch) <= extract < len(self.batch)
            found = self.batch[extract] if inside else None
        if not isinstance(found, Tensor):
            raise CaptureError(f"{field}={extract!r} gives {_describe(found)}, expected a tensor; {self.describe()}")
        return found.detach()

    def _forward_output(self) -> Tensor | None:
        """The output of the last `self(x)`, preferring a call on this batch's inputs."""
        inputs = self._in_batch("inputs")
        # Under DDP the step itself runs as a `forward`; its scalar or loss dict holds no predictions.
        found = [(first, t) for first, output in reversed(self.calls) if (t := _first_tensor(output)) is not None]
        found = [(first, t) for first, t in found if t.ndim]
        of_inputs = [t for first, t in found if first is inputs and inputs is not None]
        return next(iter([*of_inputs, *(t for _, t in found)]), None)

    def _in_batch(self, field: str) -> Tensor | None:
        batch = self.batch
        if isinstance(batch, Tensor):
            return batch if field == "inputs" else None
        if isinstance(batch, (tuple, list)):
            index = _BATCH_INDEX[field]
            found = batch[index] if index < len(batch) else None
            return found if isinstance(found, Tensor) else None
        return _by_key(batch, KEYS[field])

    def describe(self) -> str:
        """What was there, in words."""
        calls = ", ".join(_describe(output) for _, output in self.calls) or "no call"
        return (
            f"the step returned {_describe(self.outputs)}; self(x) returned {calls}; batch is {_describe(self.batch)}"
        )

    def missing(self, field: str) -> CaptureError:
        """The error for a field that is needed and not there."""
        keys = " or ".join(repr(key) for key in KEYS[field][:2])
        ways = {
            "preds": f"return a dict with {keys} from the step, call self(x) in it, or pass preds=",
            "targets": f"return a dict with {keys} from the step, let the batch be (x, y), or pass targets=",
            "inputs": f"let the batch be (x, y) or a dict with {keys}, or pass inputs=",
            "loss": "return the loss, or a dict with 'loss', from the step",
        }
        how = "" if field == "loss" else " (a key, an index into the batch, or a function of outputs and batch)"
        return CaptureError(f"no {field} found: {self.describe()}. To fix it, {ways[field]}{how}")


def _by_key(container: Any, keys: Sequence[str]) -> Tensor | None:
    if isinstance(container, Mapping):
        return next((container[k] for k in keys if isinstance(container.get(k), Tensor)), None)
    return None


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if isinstance(output, Tensor) else _by_key(output, KEYS["preds"])


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_describe(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_describe(v) for v in value) + ")"
    return "None" if value is None else type(value).__name__


class ForwardCalls:
    """Record what `module(x)` returns between `start` and `stop`; nothing stays on the module outside of that."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any]] = []
        self._handle: Any = None

    def start(self, module: nn.Module) -> None:
        self.stop()
        self.calls.clear()
        self._handle = module.register_forward_hook(self.record)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The hook; DataParallel puts another one's in its place in each replica."""
        self.calls.append((args[0] if args else None, _detached(output)))


def _detached(value: Any) -> Any:
    # Only the containers that `_first_tensor` looks into; the graph must not live longer than the user's step.
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {k: _detached(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_detached(v) for v in value]
    return None
