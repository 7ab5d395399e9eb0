"""Listening to the forward calls of a module while a step runs.

calls = ForwardCalls()
calls.start(module, direct=True)
module.training_step(batch, 0)
calls.stop()
calls.calls                                   # [(first argument, output), ...], detached
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lwcallbacks.capture.patch import OpenClass, Recorder, is_telling
from lwcallbacks.capture.tree import detached

Call: TypeAlias = tuple[Any, Any]
"""First argument and output of a forward call."""


class ForwardCalls(Recorder):
    """Record what `module(x)` returns between `start` and `stop`; nothing stays on the module outside of that."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._handles: list[Any] = []
        self._opened: OpenClass | None = None
        self._direct = False
        self._own: Any = None
        self._told = False
        self._raw = False
        self._depth = 0
        self._redirected: int | None = None

    def start(self, module: nn.Module, *, direct: bool = False) -> None:
        """Listen to `module`.

        Args:
            module: whose calls to record.
            direct: also record calls of `module.forward` that do not go through `module(...)`.
        """
        self.stop()
        self.calls.clear()
        self._told, self._depth, self._redirected = False, 0, None
        self._opened = OpenClass(module, direct=direct)
        self._direct = direct
        self._own = module.__dict__.get("forward")
        self._handles = [
            module.register_forward_pre_hook(self.begin),
            module.register_forward_hook(self.record, with_kwargs=True),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        if self._raw:
            self.calls[:] = [(first, detached(output)) for first, output in self.calls]
            self._raw = False

    def begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """The hook before a call, to know it again after it."""
        if torch.compiler.is_compiling():
            return  # what is redirected is the call around the compiled step
        if self._redirected is None and self._is_redirected(module):
            self._redirected = self._depth
        self._depth += 1

    def _is_redirected(self, module: nn.Module) -> bool:
        # Lightning runs a step as a call of the module, for DDP and FSDP to see it, with another `forward` for so long.
        forward = module.__dict__.get("forward")
        changed = forward is not None and forward is not self._own and not is_telling(forward)
        return self._direct and changed

    def record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """The hook after a call; DataParallel puts another one's in its place in each replica."""
        if not torch.compiler.is_compiling():
            self._depth -= 1
            if self._depth == self._redirected:
                self._redirected, self._told = None, False
                return  # this was the step
        if self._told:
            # The same call, seen on its way out of `forward`; other hooks may have changed the output since.
            self.calls.pop()
        self._append(args, kwargs, output)
        self._told = False

    def tell(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """The same, from within `forward`; it is the hook's turn next, if the module was called."""
        self._append(args, kwargs, output)
        self._told = True

    def _append(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        first = args[0] if args else next(iter(kwargs.values()), None)
        if torch.compiler.is_compiling():
            self.calls.append((first, output))  # detached at the end: what walks through it cannot be compiled
            self._raw = True
        else:
            # The graph must not live longer than the user's step.
            if isinstance(first, Tensor) and first.requires_grad:
                first = first.detach()
            self.calls.append((first, detached(output)))


def listen_apart(replica: nn.Module) -> dict[ForwardCalls, ForwardCalls]:
    """Record the calls of a replica, which shares its original's hooks, apart from those of others.

    Returns:
        the replica's own recorder by that of the original.
    """
    own: dict[ForwardCalls, ForwardCalls] = {}

    def of_replica(hook: Callable[..., Any]) -> Callable[..., Any]:
        recorder = getattr(hook, "__self__", None)
        if not isinstance(recorder, ForwardCalls):
            return hook
        mine: Callable[..., Any] = getattr(own.setdefault(recorder, ForwardCalls()), hook.__name__)
        return mine

    for module in replica.modules():
        for name in ("_forward_pre_hooks", "_forward_hooks"):
            if hooks := getattr(module, name):
                setattr(module, name, OrderedDict((key, of_replica(hook)) for key, hook in hooks.items()))
    return own
