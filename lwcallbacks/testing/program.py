"""Write a counterexample down as a program that runs without this package.

    written(make=factory, body="print(updated(make(), batches).compute())", data={"batches": [(preds, targets)]})

    # import torch
    # from torch import tensor
    # from torchmetrics.classification import MulticlassAccuracy
    # make = lambda: MulticlassAccuracy(3)
    # ...

What is used is imported where Python can import it, and written out where it cannot: a lambda, a class or a function
that is local to another or to a script, with what they use themselves. What cannot be written down is a line to be
filled in, which says what belongs there.
"""

from __future__ import annotations
import __future__

import ast
import base64
import dataclasses
import functools
import inspect
import sys
import textwrap
import types
import zlib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.testing.same import difference

_WRITTEN_OUT = 2000  # numbers; more are packed
_UPDATED = """
def updated(metric, batches):
    for args in batches:
        metric.update(*args)
    return metric
"""
PRINTED: dict[str, Any] = {"precision": 9, "threshold": 10**6}
"""Options of `torch.set_printoptions` under which no two floats of 32 bits look the same."""
FILL_IN = "fill in"
"""What a line says that cannot be written down."""


def written(make: Any, body: str, data: Mapping[str, Any], *, precise: bool = False) -> str:
    """The program.

    Args:
        make: the factory of the metric.
        body: statements that use `make()`, `updated(metric, batches)` and the names of the data.
        data: what they name.
        precise: whether numbers are printed with all their digits.
    """
    source = _Source()
    source.bind("make", make)
    for name, value in data.items():
        source.bind(name, value)
    body = _UPDATED * ("updated(" in body) + textwrap.dedent(body)
    for name in sorted(_bound_by(body) & source.names):
        source.definitions.append(
            f"# {FILL_IN}: another name for what {name} is here, which means something else below"
        )
    if precise:
        options = ", ".join(f"{name}={value}" for name, value in PRINTED.items())
        source.definitions.insert(0, f"torch.set_printoptions({options})")
    text = "\n".join([*source.definitions, body])
    source.modules |= {module for module in ("datetime", "pickle", "tempfile", "torch") if f"{module}." in text}
    lines = [*source.lines(), *text.splitlines()]
    return "\n".join(_spaced(lines)) + "\n"


def _spaced(lines: list[str]) -> Iterator[str]:
    """Blank lines at the ends of blocks, and nowhere else at the outermost level."""
    before = ""
    for i, line in enumerate(lines):
        if not line.strip():
            following = next((other for other in lines[i:] if other.strip()), "")
            if before[:1].isspace() and following[:1].isspace():
                yield ""
            continue
        starts = line.startswith(("def ", "class ", "@")) and not before.startswith("@")
        if (starts and before) or (before[:1].isspace() and not line[:1].isspace()):
            yield ""
        yield line
        before = line


class _Source:
    """What a program needs ahead of its body, in the order in which it is needed.

    Attributes:
        modules: imported modules, by the names that they have.
        members: what is imported from modules that are installed: by module and name, the name that it gets.
        own: the same of the user's modules.
        paths: folders of these.
        definitions: assignments, functions and classes.
        postponed: whether annotations must not be evaluated.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.members: dict[str, dict[str, str]] = {}
        self.own: dict[str, dict[str, str]] = {}
        self.paths: set[str] = set()
        self.definitions: list[str] = []
        self.postponed = False
        self._names: dict[str, Any] = {}

    @property
    def names(self) -> set[str]:
        """All that mean something."""
        return set(self._names)

    def lines(self) -> Iterator[str]:
        """All imports."""
        if self.postponed:
            yield "from __future__ import annotations"
        if self.modules:
            yield f"import {', '.join(sorted(self.modules))}"
        yield from _from(self.members)
        if self.paths:
            yield f"sys.path[:0] = {sorted(self.paths)!r}"
        yield from _from(self.own)

    def bind(self, name: str, value: Any) -> None:
        """Make a name mean this value. Where it means another one already, the program says so."""
        if name in self._names:
            if _differ(self._names[name], value):
                self.definitions.append(f"# {FILL_IN}: here {name} is one thing, and elsewhere {_on_a_line(value)}")
            return
        self._names[name] = value
        if isinstance(value, types.ModuleType):
            self._from(value)
            self.modules.add(value.__name__ + (f" as {name}" if name != value.__name__ else ""))
        elif (found := _home(value)) is not None:
            module, own = found
            self._from(module).setdefault(module.__name__, {})[name] = own
        elif isinstance(value, type) or _is_function(value):
            self._define(name, value)
        else:
            self.definitions.append(f"{name} = {self.expression(value)}")

    def _from(self, module: types.ModuleType) -> dict[str, dict[str, str]]:
        """Where imports from this module are noted."""
        if _is_installed(module):
            return self.members
        self.modules.add("sys")
        self.paths.add(str(_root(module)))
        return self.own

    def expression(self, value: Any) -> str:
        """Python that makes this value."""
        if isinstance(value, Enum):
            return f"{self._named(type(value))}.{value.name}"
        if value is None or isinstance(value, bool | int | str | bytes) or value is ...:
            return repr(value)
        if isinstance(value, float):
            return self._float(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return f"{self._tensor(torch.from_numpy(np.array(value)))}.numpy()"
        if isinstance(value, torch.dtype):
            return repr(value)
        if isinstance(value, torch.device):
            return f"torch.device({str(value)!r})"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.expression(k)}: {self.expression(v)}" for k, v in value.items()) + "}"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return f"{self._named(type(value))}({', '.join(map(self.expression, value))})"
        if isinstance(value, tuple):
            return "(" + ", ".join(map(self.expression, value)) + ("," if len(value) == 1 else "") + ")"
        if isinstance(value, list):
            return "[" + ", ".join(map(self.expression, value)) + "]"
        if isinstance(value, set | frozenset):
            return f"{type(value).__name__}([{', '.join(sorted(map(self.expression, value)))}])"
        if isinstance(value, functools.partial):
            self.members.setdefault("functools", {})["partial"] = "partial"
            arguments = [*map(self.expression, value.args)]
            arguments += [f"{name}={self.expression(v)}" for name, v in value.keywords.items()]
            return f"partial({', '.join([self.expression(value.func), *arguments])})"
        if isinstance(value, type) or _is_function(value):
            return self._named(value)
        if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value) if field.init]
            told = ", ".join(f"{name}={self.expression(getattr(value, name))}" for name in fields)
            return f"{self._named(type(value))}({told})"
        return self._unknown(value)

    def _named(self, value: Any) -> str:
        """The name of a class or function, which is imported or written out under it; a lambda itself."""
        if _is_lambda(value):
            return self._lambda(value)
        name: str = value.__name__
        while self._names.get(name, value) is not value:
            name += "_"
        self.bind(name, value)
        return name

    def _float(self, value: float) -> str:
        text = repr(value)
        if (name := text.lstrip("-")) in ("inf", "nan"):
            self.members.setdefault("math", {})[name] = name
        return text

    def _tensor(self, x: Tensor) -> str:
        x = x.detach().cpu()
        if x.numel() > _WRITTEN_OUT or (x.is_complex() and x.numel()):
            return self._packed(x)
        self.members.setdefault("torch", {})["tensor"] = "tensor"
        dtype = "" if x.dtype in (torch.float32, torch.int64, torch.bool) and x.numel() else f", dtype={x.dtype}"
        shape = f".reshape({tuple(x.shape)})" if x.numel() == 0 and x.ndim != 1 else ""
        return f"tensor({self.expression(x.tolist() if not shape else [])}{dtype}){shape}"

    def _packed(self, x: Tensor) -> str:
        self.modules |= {"base64", "zlib"}
        data = base64.b64encode(zlib.compress(x.contiguous().flatten().view(torch.uint8).numpy().tobytes())).decode()
        unpacked = f'bytearray(zlib.decompress(base64.b64decode("{data}")))'
        return f"torch.frombuffer({unpacked}, dtype={x.dtype}).reshape({tuple(x.shape)})"

    def _unknown(self, value: Any) -> str:
        return f"...  # {FILL_IN}: {type(value).__module__}.{type(value).__qualname__}, {_on_a_line(value)}"

    # What is written out.

    def _define(self, name: str, value: Any) -> None:
        if _is_lambda(value):
            self.definitions.append(f"{name} = {self._lambda(value)}")
            return
        own = value.__name__
        if name.rstrip("_") != own.rstrip("_"):
            self.definitions.append(f"{name} = {self._named(value)}")
            return
        try:
            text = textwrap.dedent(inspect.getsource(value)).rstrip()
        except (OSError, TypeError):
            self.definitions.append(f"{name} = {self._unknown(value)}")
            return
        self._uses(ast.parse(text), value)
        self.definitions.append(_renamed(text, own, name) if name != own else text)

    def _lambda(self, value: Any) -> str:
        node = _node_of(value)
        if node is None:
            return self._unknown(value)
        self._uses(node, value)
        return ast.unparse(node)

    def _uses(self, node: ast.AST, value: Any) -> None:
        """Make the names that a piece of source uses mean what they mean there."""
        functions = [value] if _is_function(value) else list(_methods(value))
        there = dict(vars(sys.modules[value.__module__])) if value.__module__ in sys.modules else {}
        for function in functions:
            there |= function.__globals__
        for function in functions:
            there |= {name: v for name, v in inspect.getclosurevars(function).nonlocals.items() if name != "__class__"}
        self.postponed |= not _is_lambda(value) and there.get("annotations") is __future__.annotations
        own = value.__name__
        for name in _names(node):
            if name in there and name != own:
                self.bind(name, there[name])


def _from(members: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for module, names in sorted(members.items()):
        told = [own if own == name else f"{own} as {name}" for name, own in sorted(names.items())]
        yield f"from {module} import {', '.join(told)}"


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType | types.BuiltinFunctionType)


def _is_lambda(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and value.__name__ == "<lambda>"


def _methods(cls: Any) -> Iterator[Callable[..., Any]]:
    for member in vars(cls).values():
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        function = inspect.unwrap(function) if callable(function) else function
        if isinstance(function, types.FunctionType):
            yield function


def _renamed(text: str, old: str, new: str) -> str:
    """The source of a function or class under another name, which it uses of itself, too."""
    tree = ast.parse(text)
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == old]
    # A parameter or a variable of that name is what is meant inside.
    of_its_own = any(isinstance(node, ast.arg) and node.arg == old for node in ast.walk(tree))
    if not of_its_own and all(isinstance(node.ctx, ast.Load) for node in uses):
        for node in uses:
            node.id = new
    tree.body[0].name = new  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _differ(a: Any, b: Any) -> bool:
    """Whether two values are not one, as far as that can be told."""
    try:
        return a is not b and difference(a, b) is not None
    except Exception:
        return True


def _bound_by(body: str) -> set[str]:
    """The names that statements give a meaning, but for those inside of functions."""
    found = {node.name for node in ast.parse(body).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    outside = [node for node in ast.parse(body).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    every = [inner for node in outside for inner in ast.walk(node)]
    return found | {node.id for node in every if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _names(node: ast.AST) -> list[str]:
    """Names that are read, once each; those in quoted annotations too, if they are plain."""
    found = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return list(dict.fromkeys(found))


def _node_of(function: Any) -> ast.Lambda | None:
    """The lambda in its file: the one on its line that compiles to its code."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, TypeError):
        return None
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno]
    if len(nodes) == 1:
        return nodes[0]
    columns = [column for _, _, column, _ in code.co_positions() if column]
    inside = [n for n in nodes if columns and n.body.col_offset <= min(columns) and n.col_offset <= min(columns)]
    return max(inside, key=lambda n: n.col_offset, default=None)


def _home(value: Any) -> tuple[types.ModuleType, str] | None:
    """The module that a class or function can be imported from, the shortest that has it, and its name there."""
    name = getattr(value, "__name__", None)
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if not isinstance(name, str) or module is None or getattr(module, name, None) is not value:
        return None
    if module.__name__ == "builtins":
        return module, name
    if not _can_be_imported(module):
        return None
    parts = module.__name__.split(".")
    for end in range(1, len(parts)):
        shorter = sys.modules.get(".".join(parts[:end]))
        if shorter is not None and getattr(shorter, name, None) is value:
            return shorter, name
    return module, name


def _can_be_imported(module: types.ModuleType) -> bool:
    """Whether another program can import it. A script would run, and a file of tests wants this package."""
    if module.__name__ == "__main__":
        return False
    if _is_installed(module):
        return True
    if not getattr(module, "__file__", None):
        return False
    used = (
        v.__name__ if isinstance(v, types.ModuleType) else getattr(v, "__module__", "") for v in vars(module).values()
    )
    return not any(str(name).startswith(("lwcallbacks.testing", "hypothesis", "pytest")) for name in used)


def _is_installed(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    path = Path(file)
    standard = Path(inspect.__file__).parent
    return bool({"site-packages", "dist-packages"}.intersection(path.parts)) or standard in path.parents


def _root(module: types.ModuleType) -> Path:
    """The folder that has to be on Python's path for an import of this module."""
    path = Path(str(module.__file__))
    parents = module.__name__.count(".") + (path.name == "__init__.py")
    return path.parents[parents]


def _on_a_line(value: Any, most: int = 200) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]} ..."
