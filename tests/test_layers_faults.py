"""The rules about imports find a fault: each is planted in a copy of the package, and nothing else is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.layers import HEAVY, ROOMS, faults

import lwcallbacks

PACKAGE = Path(lwcallbacks.__file__).parent
TODAY = faults(PACKAGE)
LOWEST = "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    "

# What is planted: lines at the end of files that are there, or new files; and what must be found of it.
PLANTED: dict[str, tuple[dict[str, str], list[str]]] = {
    "readers -> torch": (
        {"readers/planted.py": "import torch"},
        ["readers/planted.py imports torch"],
    ),
    "readers -> torch, by way of another room": (
        {"readers/planted.py": "from lwcallbacks import planted", "planted.py": "from torch import nn"},
        ["readers/planted.py imports torch, by way of planted.py"],
    ),
    "readers -> torch, by way of a folder's __init__": (
        {
            "readers/planted.py": "from lwcallbacks.planted.light import LIGHT",
            "planted/__init__.py": "import torch",
            "planted/light.py": "LIGHT = 1",
        },
        ["readers/planted.py imports torch, by way of planted/__init__.py"],
    ),
    "readers -> callbacks": (
        {"readers/planted.py": "from lwcallbacks.callbacks import Planted"},
        ["readers/planted.py imports lwcallbacks.callbacks"],
    ),
    "cli -> torch": (
        {"cli/planted.py": "def start():\n    import torch"},
        ["cli/planted.py imports torch"],
    ),
    "cli -> callbacks": (
        {"cli/planted.py": "import lwcallbacks.callbacks"},
        ["cli/planted.py imports lwcallbacks.callbacks"],
    ),
    "artifacts -> Lightning": (
        {"artifacts/planted.py": "import lwcallbacks.lightning"},
        ["artifacts/planted.py imports lwcallbacks.lightning"],
    ),
    "artifacts -> Lightning, past our own file for it": (
        {"artifacts/planted.py": "from pytorch_lightning import Callback"},
        ["artifacts/planted.py imports pytorch_lightning"],
    ),
    "callbacks -> testing": (
        {"callbacks/planted.py": "from lwcallbacks.testing import World"},
        ["callbacks/planted.py imports lwcallbacks.testing"],
    ),
    "callbacks -> testing, to a type checker only": (
        {"callbacks/planted.py": f"{LOWEST}from lwcallbacks.testing import World"},
        ["callbacks/planted.py imports lwcallbacks.testing"],
    ),
    "a relative import upwards": (
        {"reductions/planted.py": "from ..state import link"},
        ["reductions/planted.py imports lwcallbacks.state"],
    ),
    "media -> writers": (
        {"media/planted.py": "from lwcallbacks.writers.base import Writer"},
        ["media/planted.py imports lwcallbacks.writers"],
    ),
    "a callback -> another callback": (
        {"callbacks/planted.py": "from lwcallbacks.callbacks.mask_grid import MaskGrid"},
        ["callbacks/planted.py imports the callback callbacks/mask_grid.py"],
    ),
    "what callbacks share -> a callback": (
        {"callbacks/planted.py": "", "callbacks/trainer.py": "from lwcallbacks.callbacks.planted import Planted"},
        ["callbacks/trainer.py imports the callback callbacks/planted.py"],
    ),
    "torch.distributed": (
        {"callbacks/planted.py": "import torch.distributed as dist"},
        ["callbacks/planted.py imports torch.distributed"],
    ),
    "torch.distributed, from torch": (
        {"state/planted.py": "from torch import distributed"},
        ["state/planted.py imports torch.distributed"],
    ),
    "torch.distributed, a name in it": (
        {"parallel/planted.py": "from torch.distributed.tensor import DTensor"},
        ["parallel/planted.py imports torch.distributed"],
    ),
    "torch.distributed, as an attribute": (
        {"state/planted.py": "import torch\n\ntorch.distributed.barrier()"},
        ["state/planted.py imports torch.distributed"],
    ),
    "a heavy library, by its name in a string": (
        {"reductions/planted.py": "import importlib\n\nimportlib.import_module('matplotlib.pyplot')"},
        ["reductions/planted.py imports matplotlib"],
    ),
    "a circle of two in a room": (
        {"state/planted.py": "from lwcallbacks.state import planted2", "state/planted2.py": "from . import planted"},
        ["a circle of imports: state/planted.py, state/planted2.py"],
    ),
    "a circle of three in a room, through a function": (
        {
            "media/one.py": "from lwcallbacks.media.two import a",
            "media/two.py": "def f():\n    from lwcallbacks.media.three import a",
            "media/three.py": "import lwcallbacks.media.one",
        },
        ["a circle of imports: media/one.py, media/three.py, media/two.py"],
    ),
    "a circle over two rooms": (
        {"planted/a.py": "import lwcallbacks.planted2.b", "planted2/b.py": "import lwcallbacks.planted.a"},
        ["a circle of imports: planted/a.py, planted2/b.py"],
    ),
    "a file that imports itself": (
        {"media/planted.py": "import lwcallbacks.media.planted"},
        ["a circle of imports: media/planted.py"],
    ),
    "a circle through the package": (
        {"presets2.py": "import lwcallbacks", "__init__.py": "from lwcallbacks import presets2"},
        [
            "__init__.py imports lwcallbacks.presets2, which every part of the package then loads",
            "a circle of imports: __init__.py, presets2.py",
        ],
    ),
    "torch, with every part of the package": (
        {"__init__.py": "def f():\n    import torch"},
        ["__init__.py imports torch, which every part of the package then loads"],
    ),
}
# Rooms that are not there without what is planted in them, and what each may import for its fault to be the only one.
ADDED = {
    "readers": {"planted"},
    "artifacts": set(),
    "planted": {"planted2"},
    "planted2": {"planted"},
    "presets2": {"__init__"},
}


def planted(files: dict[str, str], folder: Path) -> Path:
    """A copy of the package with lines added to its files."""
    package = folder / "lwcallbacks"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, lines in files.items():
        (package / path).parent.mkdir(exist_ok=True)
        with (package / path).open("a") as file:
            file.write(f"\n{lines}\n")
    return package


def rooms_with(files: dict[str, str]) -> dict[str, set[str]]:
    """The table of rooms, with those that the planted files make."""
    made = {path.partition("/")[0].removesuffix(".py") for path in files}
    rooms = {name: set(may) for name, may in ROOMS.items()}
    for name in made & ADDED.keys():
        rooms[name] = rooms.get(name, set()) | ADDED[name]
    if "presets2" in made:
        rooms["__init__"].add("presets2")
    return rooms


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    """That fault, by name, and no other."""
    files, expected = PLANTED[fault]
    found = faults(planted(files, tmp_path), rooms_with(files))
    assert [sentence for sentence in found if sentence not in TODAY] == expected


def test_every_heavy_library_is_found_in_a_wrong_place(tmp_path: Path) -> None:
    """One file that imports them all, in a room that may import none."""
    files = {"reductions/planted.py": "\n".join(f"import {library}" for library in HEAVY)}
    found = [sentence for sentence in faults(planted(files, tmp_path)) if sentence not in TODAY]
    assert found == sorted(f"reductions/planted.py imports {library}" for library in HEAVY)


def test_a_type_checkers_import_makes_no_circle(tmp_path: Path) -> None:
    """It is not run, so nothing waits for itself."""
    files = {"state/planted.py": f"{LOWEST}from lwcallbacks.state import planted2"}
    files |= {"state/planted2.py": "from lwcallbacks.state import planted"}
    assert faults(planted(files, tmp_path)) == TODAY


@pytest.mark.parametrize("path", ["planted.py", "planted/__init__.py", "planted/deep.py"])
def test_a_room_that_nobody_listed_is_found(path: str, tmp_path: Path) -> None:
    """A file or a folder."""
    assert set(faults(planted({path: ""}, tmp_path))) == {*TODAY, "planted is a room that ROOMS does not list"}


def test_a_listed_room_that_is_not_there_is_found(tmp_path: Path) -> None:
    """The table has no line too many."""
    found = faults(planted({}, tmp_path), {**ROOMS, "planted": set()})
    assert set(found) == {*TODAY, "planted is listed in ROOMS and not there"}
