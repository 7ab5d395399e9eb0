"""Which file of the package may import what, and who breaks that: a pure function of a folder.

    faults(Path(lwcallbacks.__file__).parent)      # [] or sentences: "media/charts.py imports lwcallbacks.writers"

Files are read and not imported, so a copy of the package with a fault in it can be looked at as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NAME = "lwcallbacks"

# The rooms: each file and folder at the top of the package, and the other rooms that it may import.
ROOMS: Mapping[str, set[str]] = {
    "__init__": {"public"},
    "__main__": {"cli"},
    "public": {"artifacts", "callbacks", "capture", "media", "parallel", "presets", "replaying", "state", "writers"},
    "lightning": set(),
    "capture": set(),
    "rates": set(),
    "reductions": {"rates"},
    "curves": {"media", "reductions"},
    "gradients": {"reductions"},
    "labels": {"reductions"},
    "media": {"rates", "warn"},
    "state": {"reductions", "warn"},
    "replaying": {"capture"},
    "html": set(),
    "disk": set(),
    "warn": set(),
    "readers": set(),
    "artifacts": {"disk", "readers", "warn"},
    "writers": {"artifacts", "disk", "html", "media", "readers", "warn"},
    "sharing": {"html", "readers"},
    "cli": {"artifacts", "html", "readers", "sharing"},
    "callbacks": {
        "artifacts",
        "capture",
        "curves",
        "disk",
        "gradients",
        "labels",
        "lightning",
        "media",
        "reductions",
        "replaying",
        "sharing",
        "state",
        "warn",
        "writers",
    },
    "presets": {"callbacks", "capture", "reductions"},
    "parallel": {"capture", "lightning", "state", "warn"},
    "testing": {"reductions", "state", "warn"},
    "pytest_plugin": {"testing"},
}  # fmt: skip
# What callbacks share: a callback imports these of its own room, and no other callback.
SHARED = {
    "__init__", "activations", "apart", "asked", "base", "batch", "boxes", "cost", "counting", "decisions",
    "delivery_bar", "drawn", "epoch", "examples", "facts", "finite_watch", "given", "gradient_arguments",
    "guard", "hearing", "history", "hub", "keys", "left", "life", "listening", "logged", "logged_fit", "names", "need",
    "nonfinite", "numbers", "offence", "outlet", "over_steps", "page", "reading", "receipt", "record", "refused",
    "replaced", "replicas", "report", "sample", "saves", "select", "shown", "size", "stateful", "steps",
    "trainer", "watching",
}  # fmt: skip
# Whoever edits the table above: these arrows are never allowed, whether the room is there by now or not.
NEVER: Mapping[str, set[str]] = {
    "readers": {"torch", f"{NAME}.callbacks"},
    "sharing": {"torch", f"{NAME}.callbacks"},
    "cli": {"torch", f"{NAME}.callbacks"},
    "artifacts": {"lightning", "pytorch_lightning", f"{NAME}.lightning"},
    "callbacks": {f"{NAME}.testing"},
    "media": {f"{NAME}.writers"},
}
# Heavy libraries, and the beginnings of the paths that may import them.
HEAVY: Mapping[str, tuple[str, ...]] = {
    "matplotlib": (),  # nothing of the package needs it
    "PIL": ("media/", "writers/"),
    "scipy": ("media/block.py",),
    "wandb": ("artifacts/wandb", "writers/wandb", "readers/wandb"),
    "hypothesis": ("testing/",),
    "tensorboard": ("writers/tensorboard.py",),
    "mlflow": ("writers/mlflow",),
    "pytorch_lightning": ("lightning.py",),
    "lightning": ("lightning.py",),
    "torchmetrics": (
        "state/",
        "callbacks/epoch.py",
        "callbacks/refused.py",
        "callbacks/scalar_metrics.py",
        "presets.py",
        "testing/",
    ),
    "torch.distributed": ("state/link.py", "testing/real_processes.py"),
}


BY_NAME = ("import_module", "__import__")  # functions that import what a string names


class Import(NamedTuple):
    """One module that a file imports, by its full name, and whether only a type checker does so."""

    module: str
    typing: bool


@dataclass(frozen=True)
class File:
    """A file of the package, with what it imports anywhere in it, in functions too."""

    path: str
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.path.partition("/")[0].removesuffix(".py")

    @property
    def runtime(self) -> set[str]:
        return {found.module for found in self.imports if not found.typing}


def read(package: Path) -> dict[str, File]:
    """The files of a package by their paths, as "state/core.py"."""
    paths = [path for path in sorted(package.rglob("*.py")) if "__pycache__" not in path.parts]
    names = [path.relative_to(package).as_posix() for path in paths]
    return {
        name: File(name, tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), _within(name))))
        for name, path in zip(names, paths, strict=True)
    }


def faults(package: Path, rooms: Mapping[str, set[str]] = ROOMS) -> list[str]:
    """Each arrow that must not be, each room that is not listed or not there, and each circle, in words."""
    files = read(package)
    return sorted(
        {
            *_rooms(files, rooms),
            *_arrows(files, rooms),
            *_beginning(files),
            *_libraries(files),
            *_callbacks(files),
            *_circles(files),
        }
    )


def _within(path: str) -> tuple[str, ...]:
    return (NAME, *path.split("/")[:-1])


def _imports(tree: ast.AST, within: tuple[str, ...], typing: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        yield from (Import(name, typing) for name in _named(node, within))
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(ast.Module(node.body, []), within, typing=True)
            yield from _imports(ast.Module(node.orelse, []), within, typing)
        else:
            yield from _imports(node, within, typing)


def _named(node: ast.AST, within: tuple[str, ...]) -> list[str]:
    """The modules that one node imports. `from a import b` gives a.b, which may be a module or a name in it."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = within[: len(within) - node.level + 1] if node.level else ()
        module = ".".join((*base, *filter(None, [node.module])))
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_NAME:
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    # `import torch` alone is enough to reach this one.
    reached = isinstance(node, ast.Attribute) and node.attr == "distributed" and ast.unparse(node.value) == "torch"
    return ["torch.distributed"] if reached else []


def _is_in(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def _rooms(files: Mapping[str, File], rooms: Mapping[str, set[str]]) -> Iterator[str]:
    there = {file.room for file in files.values()}
    yield from (f"{room} is a room that ROOMS does not list" for room in there - rooms.keys())
    yield from (f"{room} is listed in ROOMS and not there" for room in rooms.keys() - there)


def _arrows(files: Mapping[str, File], rooms: Mapping[str, set[str]]) -> Iterator[str]:
    for file in files.values():
        for module in {found.module for found in file.imports if _is_in(found.module, NAME)}:
            target = _file_of(module, files)
            room = files[target].room if target else module.split(".")[1]
            if file.room in rooms and room not in {file.room, *rooms[file.room]}:
                yield f"{file.path} imports {NAME}.{room}"


def _beginning(files: Mapping[str, File]) -> Iterator[str]:
    """The package's own `__init__` is loaded with any of its parts: readers and the command line, too."""
    for module in files["__init__.py"].runtime:
        if module.partition(".")[0] not in sys.stdlib_module_names:
            yield f"__init__.py imports {module}, which every part of the package then loads"


def _libraries(files: Mapping[str, File]) -> Iterator[str]:
    for file in files.values():
        direct = {found.module for found in file.imports}
        for heavy, places in HEAVY.items():
            if any(_is_in(module, heavy) for module in direct) and not file.path.startswith(places):
                yield f"{file.path} imports {heavy}"
        for never in NEVER.get(file.room, ()):
            if any(_is_in(module, never) for module in direct):
                yield f"{file.path} imports {never}"
            elif path := _way(file.path, never, files):
                yield f"{file.path} imports {never}, by way of {', '.join(path)}"


def _callbacks(files: Mapping[str, File]) -> Iterator[str]:
    for file in files.values():
        for module in {found.module for found in file.imports}:
            target = _file_of(module, files) or ""
            is_callback = target.startswith("callbacks/") and target[len("callbacks/") : -len(".py")] not in SHARED
            if file.room == "callbacks" and is_callback and target != file.path:
                yield f"{file.path} imports the callback {target}"


def _file_of(module: str, files: Mapping[str, File]) -> str | None:
    """The file that a name of the package is imported from: the longest part of it that is a module."""
    parts = module.split(".")
    if parts[0] != NAME:
        return None
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[1:end])
        for candidate in (f"{path}.py", f"{path}/__init__.py" if path else "__init__.py"):
            if candidate in files:
                return candidate
    return None


def _targets(path: str, files: Mapping[str, File]) -> set[str]:
    return {target for module in files[path].runtime if (target := _file_of(module, files))}


def _loaded(path: str, files: Mapping[str, File]) -> set[str]:
    """The files that importing one loads: its targets and the `__init__` of their folders.

    Not that of the package itself, which imports nothing but the standard library: see `_beginning`.
    """
    targets = _targets(path, files) - {"__init__.py"}
    folders = {f"{target.rpartition('/')[0]}/__init__.py" for target in targets}
    return targets | (folders & files.keys())


def _way(start: str, module: str, files: Mapping[str, File]) -> list[str]:
    """The files through which one comes to load a module that it does not import itself; none if it does not."""
    came: dict[str, str] = {start: ""}
    queue = [start]
    for path in queue:
        if path != start and any(_is_in(found, module) for found in files[path].runtime):
            way = [path]
            while came[way[0]] != start:
                way.insert(0, came[way[0]])
            return way
        for target in sorted(_loaded(path, files) - came.keys()):
            came[target] = path
            queue.append(target)
    return []


def _circles(files: Mapping[str, File]) -> Iterator[str]:
    arrows = {path: _targets(path, files) for path in files}
    reach = {path: _reachable(path, arrows) for path in files}
    for path in files:
        if path in reach[path]:
            circle = sorted(other for other in reach[path] if path in reach[other])
            yield f"a circle of imports: {', '.join(circle)}"


def _reachable(start: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    queue = [start]
    while queue:
        new = set(arrows[queue.pop()]) - seen
        seen |= new
        queue += new
    return seen
