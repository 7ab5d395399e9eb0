"""What one step saw: inputs, predictions, targets and loss, found where users leave them.

    calls = ForwardCalls()
    calls.start(module); outputs = module.training_step(batch, 0); calls.stop()
    seen = Step(outputs, batch, {None: calls.calls})
    seen.find("preds", Source())                  # [N, ...], detached

Looks at structure, shapes and dtypes only, never at values, so a device is not waited for.
"""

from __future__ import annotations

import functools
import pkgutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

# In this order, and with Any, for jsonargparse: it takes the first member that fits, and would look for callables that
# return a Tensor among the subclasses of Tensor.
Extract: TypeAlias = str | int | Callable[..., Any]
"""A key (or field, or attribute) of the step's output or else of the batch, an index into the batch, or a function:
`f(outputs, batch) -> tensor`, or `f(outputs, batch, returned) -> tensor` with what the forward call returned.

A function may also be given by its name: "package.module.function" is imported where it is no such key."""


class CaptureError(ValueError):
    """A field was not found in what the step saw. The message tells where it was looked for and what was there."""


@dataclass(frozen=True)
class Source:
    """Where to find each field, if not in the usual places.

    `forward` is the name of the submodule whose calls return the predictions; None is the module itself.
    """

    inputs: Extract | None = None
    preds: Extract | None = None
    targets: Extract | None = None
    forward: str | None = None

    def asks_forward(self, names: Sequence[str]) -> bool:
        """Whether one of the fields `names` is taken from the forward calls."""
        extracts = {name: getattr(self, name, None) for name in names}
        usual = "preds" in names and extracts["preds"] is None
        return usual or any(_takes_returned(_function(extract)) for extract in extracts.values())


KEYS: Mapping[str, tuple[str, ...]] = {
    "inputs": ("inputs", "input", "images", "image", "pixel_values", "x"),
    "preds": ("preds", "logits", "outputs", "output"),
    "targets": ("targets", "target", "labels", "label", "y"),
    "loss": ("loss",),
}
_BATCH_INDEX = {"inputs": 0, "targets": 1}

Call: TypeAlias = tuple[Any, Any]
"""First argument and output of a forward call."""


class Step:
    """One step of the user's module, to be asked for its fields.

    Args:
        outputs: what the step returned.
        batch: the batch that it was given.
        calls: the forward calls during the step, by the submodule's name as in `Source.forward`.
    """

    def __init__(self, outputs: Any, batch: Any, calls: Mapping[str | None, Sequence[Call]] | None = None) -> None:
        self.outputs = outputs
        self.batch = batch
        self.calls = calls or {}

    def find(self, field: str, source: Source) -> Tensor | None:
        """Return `field` ("inputs", "preds", "targets" or "loss"), detached, or None where it is nowhere to be found.

        Looked for, in this order: where `source` says, then in the step's output by name, in what `self(x)` returned
        (for preds), in an output that is one tensor (for preds), and in the batch (for inputs and targets).

        Raises:
            CaptureError: `source` says where it is, and it is not a tensor there.
        """
        extract = getattr(source, field, None)
        if extract is not None:
            return self._extract(field, extract, source.forward)
        found = self._preds(source.forward) if field == "preds" else _by_name(self.outputs, KEYS[field])
        if found is None and field == "loss" and isinstance(self.outputs, Tensor) and self.outputs.ndim == 0:
            found = self.outputs
        if found is None and field in _BATCH_INDEX:
            found = self._in_batch(field)
        return None if found is None else found.detach()

    def _extract(self, field: str, extract: Extract, forward: str | None) -> Tensor:
        found: Any
        if callable(extract):
            found = self._made_by(extract, f"{field}={extract!r}", forward)
        elif isinstance(extract, str):
            found = _by_name(self.outputs, (extract,))
            found = _by_name(self.batch, (extract,)) if found is None else found
            # Batches of graphs and the like have their own classes.
            found = getattr(self.batch, extract, None) if found is None else found
            if found is None and "." in extract:
                found = self._made_by(_imported(field, extract), f"{field}={extract!r}", forward)
        else:
            parts = (self.batch,) if isinstance(self.batch, Tensor) else self.batch
            inside = isinstance(parts, (tuple, list)) and -len(parts) <= extract < len(parts)
            found = parts[extract] if inside else None
        if not isinstance(found, Tensor):
            raise CaptureError(f"{field}={extract!r} gives {_describe(found)}, expected a tensor; {self.describe()}")
        return found.detach()

    def _made_by(self, function: Callable[..., Any], told: str, forward: str | None) -> Any:
        if not _takes_returned(function):
            return function(self.outputs, self.batch)
        returned = self._returned(forward)
        if returned is None:
            raise CaptureError(f"{told} takes what a forward call returned, and no call was seen; {self.describe()}")
        return function(self.outputs, self.batch, returned)

    def _preds(self, forward: str | None) -> Tensor | None:
        if forward is not None:
            return self._returned_by(forward)
        found = _by_name(self.outputs, KEYS["preds"])
        found = self._returned_by(None) if found is None else found
        return _only_tensor(self.outputs) if found is None else found

    def _returned_by(self, forward: str | None) -> Tensor | None:
        found = _first_tensor(self._returned(forward))
        return found if found is not None and found.ndim else None

    def _returned(self, forward: str | None) -> Any:
        """The output of the last call, preferring one with predictions and then one on this batch's inputs."""
        # Under DDP the step itself runs as a `forward`; its scalar or loss dict holds no samples.
        calls = [call for call in reversed(self.calls.get(forward, ())) if _holds_samples(call[1])]
        calls = [call for call in calls if (t := _first_tensor(call[1])) is not None and t.ndim] or calls
        inputs = self._in_batch("inputs")
        of_inputs = [call for call in calls if call[0] is inputs and inputs is not None]
        return next((output for _, output in of_inputs + calls), None)

    def _in_batch(self, field: str) -> Tensor | None:
        batch = self.batch
        if isinstance(batch, Tensor):
            return batch if field == "inputs" else None
        found = _by_name(batch, KEYS[field])
        if found is None and isinstance(batch, (tuple, list)):
            index = _BATCH_INDEX[field]
            found = batch[index] if index < len(batch) else None
        return found if isinstance(found, Tensor) else None

    def describe(self) -> str:
        """What was there, in words."""
        told = []
        for name, calls in self.calls.items():
            outputs = ", ".join(_describe(output) for _, output in calls)
            told.append(f"self{'' if name is None else f'.{name}'}(x) returned {outputs}")
        forward = "; ".join(told) or "no self(x) was seen"
        return f"the step returned {_describe(self.outputs)}; {forward}; batch is {_describe(self.batch)}"

    def missing(self, field: str, source: Source) -> CaptureError:
        """The error for a field that is needed and not there."""
        keys = " or ".join(repr(key) for key in KEYS[field][:2])
        ways = {
            "preds": f"return a dict with {keys} from the step, call self(x) in it, name the submodule that is called"
            " (forward='net' for self.net(x)), or pass preds=",
            "targets": f"return a dict with {keys} from the step, let the batch be (x, y), or pass targets=",
            "inputs": f"let the batch be (x, y) or a dict with {keys}, or pass inputs=",
            "loss": "return the loss, or a dict with 'loss', from the step",
        }
        how = "" if field == "loss" else " (a key, an index into the batch, or a function of outputs and batch)"
        if field == "preds" and source.forward is not None:
            ways["preds"] = f"let forward={source.forward!r} name a submodule that the step calls, or pass preds="
        return CaptureError(f"no {field} found: {self.describe()}. To fix it, {ways[field]}{how}")


def _function(extract: Extract | None) -> Callable[..., Any] | None:
    """The function that is meant, or may be: a name can still turn out to be a key of the batch."""
    if isinstance(extract, str) and "." in extract:
        with suppress(CaptureError):
            return _imported("", extract)
    return extract if callable(extract) else None


def _takes_returned(function: Callable[..., Any] | None) -> bool:
    """Whether it is a function of three: outputs, batch and what the forward call returned."""
    if function is None:
        return False
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # as of some functions written in C
        return False
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is Parameter.empty for p in parameters) == 3


def _named(container: Any) -> Mapping[Any, Any]:
    """The parts that have names: a mapping's, a named tuple's or a dataclass's."""
    if isinstance(container, Mapping):
        return container
    if isinstance(container, tuple):
        return dict(zip(getattr(container, "_fields", ()), container, strict=False))
    if is_dataclass(container):
        return {f.name: getattr(container, f.name, None) for f in fields(container)}
    return {}


def _by_name(container: Any, names: Sequence[str]) -> Tensor | None:
    parts = _named(container)
    return next((parts[name] for name in names if isinstance(parts.get(name), Tensor)), None)


def _imported(field: str, name: str) -> Callable[..., Any]:
    told = f"{field}={name!r} is no key of the step's output or of the batch, and no function to import"
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CaptureError(f"{told}: {error}") from error
    if not callable(found):
        raise CaptureError(f"{told}: it is a {type(found).__name__}")
    return found


def _first_tensor(output: Any) -> Tensor | None:
    found = _by_name(output, KEYS["preds"])
    if found is None and isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if found is None and isinstance(output, Tensor) else found


def _holds_samples(output: Any) -> bool:
    parts = output if isinstance(output, (tuple, list)) else [output, *_named(output).values()]
    return any(isinstance(part, Tensor) and part.ndim for part in parts)


def _only_tensor(output: Any) -> Tensor | None:
    """The one tensor with dimensions that a step returned, alone or beside a loss; None where there are several."""
    parts = output if isinstance(output, (tuple, list)) else [output]
    found = [part for part in parts if isinstance(part, Tensor) and part.ndim]
    return found[0] if len(found) == 1 else None


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if named := _named(value):
        inside = "{" + ", ".join(f"{k!r}: {_describe(v)}" for k, v in named.items()) + "}"
        return inside if isinstance(value, Mapping) else f"{type(value).__name__}{inside}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_describe(v) for v in value) + ")"
    return "None" if value is None else type(value).__name__


class ForwardCalls:
    """Record what `module(x)` returns between `start` and `stop`; nothing stays on the module outside of that."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._handle: Any = None
        self._opened: _OpenForward | None = None
        self._told = False

    def start(self, module: nn.Module, *, direct: bool = False) -> None:
        """Listen to `module`.

        Args:
            module: whose calls to record.
            direct: also record calls of `module.forward` that do not go through `module(...)`.
        """
        self.stop()
        self.calls.clear()
        self._told = False
        self._handle = module.register_forward_hook(self.record)
        if direct:
            self._opened = _OpenForward(module)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The hook; DataParallel puts another one's in its place in each replica."""
        if self._told:
            # The same call, seen on its way out of `forward`; other hooks may have changed the output since.
            self.calls.pop()
        self.calls.append((args[0] if args else None, _detached(output)))
        self._told = False

    def tell(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The same, from within `forward`; it is the hook's turn next, if the module was called."""
        self._told = False
        self.record(module, args, output)
        self._told = True


class _OpenForward:
    """Makes `forward` of a module's class tell the `ForwardCalls` among the hooks of the instance, until closed.

    torch calls no hook for `self.forward(x)`. It is the class's method that is replaced and not the instance's: that
    would be copied along into deep copies and replicas, and call the original there.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _open: ClassVar[dict[type[nn.Module], tuple[Any, Any, int]]] = {}
    """The class's own method (None if it inherits it), what replaces it, and by how many it is wanted."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._class = type(module)
        with self._lock:
            own, telling, count = self._open.get(self._class) or (
                vars(self._class).get("forward"),
                _telling(self._class.forward),
                0,
            )
            self._open[self._class] = own, telling, count + 1
            self._class.forward = telling
        self._uncover(telling.__wrapped__)

    def close(self) -> None:
        with self._lock:
            own, telling, count = self._open.pop(self._class)
            if count > 1:
                self._open[self._class] = own, telling, count - 1
            elif own is None:
                del self._class.forward
            else:
                self._class.forward = own
        self._uncover(telling)

    def _uncover(self, function: Any) -> None:
        # Lightning's DDP leaves the method on the instance, bound as it found it: there it would hide the class's.
        if getattr(self._module.__dict__.get("forward"), "__func__", None) is function:
            del self._module.__dict__["forward"]


@functools.cache
def _telling(forward: Callable[..., Any]) -> Any:
    # One and the same for each batch: torch.compile would trace the step again for another.
    @functools.wraps(forward)
    def telling(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = forward(module, *args, **kwargs)
        for hook in module._forward_hooks.values():
            recorder = getattr(hook, "__self__", None)
            if isinstance(recorder, ForwardCalls):
                recorder.tell(module, args, output)
        return output

    return telling


def _detached(value: Any) -> Any:
    # Only the containers that `_first_tensor` looks into; the graph must not live longer than the user's step.
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_detached, value))
    if isinstance(value, (tuple, list)):
        return [_detached(v) for v in value]
    return {k: _detached(v) for k, v in _named(value).items()} or None
