"""What is changed on the class of a module while its calls are listened to, and put back afterwards.

Two methods of the class, never of the instance: what is on the instance is copied along into deep copies and replicas,
and calls the original there.

- `forward` tells the recorders among the instance's hooks, for torch calls no hook for `self.forward(x)`.
- `__getstate__` leaves those hooks out, so that copies and pickles that are made in a step have none.
"""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from torch import nn


class Recorder(ABC):
    """Whoever listens, by hooks that are methods of it."""

    @abstractmethod
    def tell(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """`forward` of the module was called and returned `output`."""


class OpenClass:
    """Holds the class of `module` open for a recorder; closed by as many `close` as there were openings."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _open: ClassVar[dict[tuple[type[nn.Module], str], tuple[Any, Any, int]]] = {}
    """By class and method: the class's own (None if it inherits it), what replaces it, and by how many it is wanted."""

    def __init__(self, module: nn.Module, *, direct: bool) -> None:
        self._module = module
        self._makers = {"__getstate__": _clean, **({"forward": telling} if direct else {})}
        with self._lock:
            for name, maker in self._makers.items():
                self._replace(type(module), name, maker)
        if direct:
            self._uncover(_original(type(module).forward))

    def _replace(self, cls: type[nn.Module], name: str, maker: Callable[..., Any]) -> None:
        new = (vars(cls).get(name), maker(_original(getattr(cls, name))), 0)
        own, replacement, count = self._open.get((cls, name)) or new
        self._open[cls, name] = own, replacement, count + 1
        setattr(cls, name, replacement)

    def close(self) -> None:
        cls = type(self._module)
        replacement = vars(cls).get("forward")
        with self._lock:
            for name in self._makers:
                self._put_back(cls, name)
        if "forward" in self._makers:
            self._uncover(replacement)

    def _put_back(self, cls: type[nn.Module], name: str) -> None:
        own, replacement, count = self._open.pop((cls, name))
        if count > 1:
            self._open[cls, name] = own, replacement, count - 1
        elif own is None:
            delattr(cls, name)
        else:
            setattr(cls, name, own)

    def _uncover(self, function: Any) -> None:
        # Lightning's DDP leaves the method on the instance, bound as it found it: there it would hide the class's.
        if getattr(self._module.__dict__.get("forward"), "__func__", None) is function:
            del self._module.__dict__["forward"]


@functools.cache
def telling(forward: Callable[..., Any]) -> Any:
    """A `forward` that reports to the recorders of its instance.

    One and the same for each batch: torch.compile would trace the step again for another.
    """

    @functools.wraps(forward)
    def told(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = forward(module, *args, **kwargs)
        for recorder in recorders(module._forward_hooks.values()):
            recorder.tell(args, kwargs, output)
        return output

    return told


def is_telling(method: Any) -> bool:
    """Whether it is a bound method that `telling` made."""
    return _is_told(getattr(method, "__func__", None))


def _original(function: Any) -> Any:
    # A base class may be open, too, for a module of its own.
    return function.__wrapped__ if _is_told(function) else function


def _is_told(function: Any) -> bool:
    return getattr(function, "__code__", None) is _TOLD


def recorders(hooks: Iterable[Any]) -> list[Recorder]:
    """Whoever listens by one of these hooks."""
    return [hook.__self__ for hook in hooks if isinstance(getattr(hook, "__self__", None), Recorder)]


_TOLD = telling(lambda module: None).__code__
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@functools.cache
def _clean(getstate: Callable[[nn.Module], Any]) -> Any:
    def __getstate__(module: nn.Module) -> Any:
        state = getstate(module)
        return _without_recorders(state) if isinstance(state, dict) else state

    return __getstate__


def _without_recorders(state: dict[str, Any]) -> dict[str, Any]:
    # With the tables of what hooks are called with, which go by the same numbers.
    ours = {key for name in _HOOKS for key, hook in state.get(name, {}).items() if recorders([hook])}
    clean = {name: _without(value, ours) if "_hooks" in name else value for name, value in state.items()}
    if is_telling(clean.get("forward")):
        del clean["forward"]
    return clean


def _without(hooks: Any, keys: set[int]) -> Any:
    if not isinstance(hooks, dict) or not keys & hooks.keys():
        return hooks
    return OrderedDict((key, hook) for key, hook in hooks.items() if key not in keys)
