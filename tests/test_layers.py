"""Imports run downwards, and heavy packages stay in the rooms that are made for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lwcallbacks

PACKAGE = Path(lwcallbacks.__file__).parent

# Each room and what it may import of the package.
ROOMS = {
    "capture": set(),
    "lightning": set(),
    "rates": set(),
    "reductions": {"reductions", "rates"},
    "media": {"media", "rates"},
    "readers": {"readers"},
    "state": {"state", "reductions"},
    "writers": {"writers", "media"},
    "callbacks": {"callbacks", "capture", "lightning", "reductions", "state", "media", "writers"},
    "presets": {"callbacks", "capture", "reductions"},
    "parallel": {"parallel", "capture", "lightning", "state"},
    "testing": {"testing", "reductions", "state"},
}
# Each heavy package and the files that may import it.
HEAVY = {
    "matplotlib": {"media/"},
    "PIL": {"media/", "writers/"},
    "wandb": {"writers/wandb.py", "readers/wandb_file.py"},
    "hypothesis": {"testing/"},
    "tensorboard": {"writers/tensorboard.py"},
    "mlflow": {"writers/mlflow.py"},
    "pytorch_lightning": {"lightning.py"},
    "lightning": {"lightning.py"},
    "torchmetrics": {"state/", "callbacks/scalar_metrics.py", "presets.py", "testing/"},
}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, at any depth of it, as absolute names."""
    package = ("lwcallbacks", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join((*base, *filter(None, [node.module])))


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_no_import_runs_upwards() -> None:
    """The ground floor knows nothing of what stands on it; only callbacks know all."""
    wrong = []
    for path in files():
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == "lwcallbacks" and room in ROOMS and rest.split(".")[0] not in ROOMS[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_heavy_imports_stay_in_their_rooms() -> None:
    """Plotting in media, wandb in its writer, hypothesis in the kit."""
    wrong = []
    for path in files():
        place = path.relative_to(PACKAGE).as_posix()
        for name in imports(path):
            allowed = HEAVY.get(name.split(".")[0])
            if allowed is not None and not any(place.startswith(prefix) for prefix in allowed):
                wrong.append(f"{place} imports {name}")
    assert not wrong


def test_every_file_was_looked_at() -> None:
    """The two tests above see the files, and see their imports."""
    seen = {name.split(".")[0] for path in files() for name in imports(path)}
    assert {"lwcallbacks", "torch", "wandb", "matplotlib", "pytorch_lightning", "torchmetrics"} <= seen
