"""Callbacks for a PyTorch Lightning Trainer that show what a model does, the same for any batch size and processes.

A name is looked up in `lwcallbacks.public` when it is first asked for (PEP 562), so that readers and the command line
start without torch.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lwcallbacks.public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """A public name, `__all__`, or a module of the package, which need not be imported before."""
        if name == "__all__" or not name.startswith("_"):
            if _find_spec(f"{__name__}.{name}"):
                return _import_module(f"{__name__}.{name}")
            globals().update(_public())
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=_import_module(__name__))

    def __dir__() -> list[str]:
        return sorted({*globals(), *_public()})

    def _public() -> dict[str, object]:
        found = vars(_import_module("lwcallbacks.public")).items()  # pytest adds names such as "@py_builtins"
        names = {k: v for k, v in found if k.isidentifier() and not k.startswith("_")}
        return {"__all__": sorted(names), **names}
