"""Importing the package costs little: a name is looked up when it is asked for; the command line needs no torch."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import lwcallbacks as lw
from lwcallbacks import public

HEAVY = ("torch", "torchmetrics", "pytorch_lightning", "lightning", "numpy", "PIL", "matplotlib", "wandb", "mlflow")
LOADED = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
COMMAND_LINE = "import sys; sys.argv = ['lwcallbacks', {}]; from runpy import run_module\n"
COMMAND_LINE += "try: run_module('lwcallbacks', run_name='__main__', alter_sys=True)\nexcept SystemExit: pass"


def printed(code: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "code",
    [
        "import lwcallbacks",
        "import lwcallbacks.readers",
        "from lwcallbacks import readers",
        "import lwcallbacks as lw; lw.readers.read_folder",
        "import lwcallbacks.cli",
        "import lwcallbacks as lw; hasattr(lw, '__wrapped__')",
        COMMAND_LINE.format("'--help'"),
        COMMAND_LINE.format("'--version'"),
        COMMAND_LINE.format("'view', '--help'"),
        COMMAND_LINE.format("'view', 'here is no run'"),
    ],
)
def test_it_starts_without_torch(code: str) -> None:
    """Nor anything else that is heavy: these are for machines that look at runs, too."""
    assert printed(f"{code}\n{LOADED}")[-1] == "[]"


def test_the_names_that_a_type_checker_sees_are_those_that_are_given() -> None:
    """One list. A re-export that mypy and editors know is `from x import name as name`, or a star."""
    tree = ast.parse(Path(public.__file__).read_text(encoding="utf-8"))
    aliases = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in aliases] == [alias.asname for alias in aliases]
    assert sorted(alias.name for alias in aliases) == lw.__all__
    body = ast.parse(Path(lw.__file__).read_text(encoding="utf-8")).body
    [checked] = [node for node in body if isinstance(node, ast.If)]
    assert [ast.unparse(checked.test), *map(ast.unparse, checked.body)] == [
        "TYPE_CHECKING",
        "from lwcallbacks.public import *",
    ]


@pytest.mark.parametrize("name", lw.__all__)
def test_a_name_is_the_thing_itself(name: str) -> None:
    """It is not wrapped: pickle, `inspect` and a debugger find where it is made."""
    value = getattr(lw, name)
    assert value is getattr(public, name)
    assert isinstance(value, ModuleType) or pickle.loads(pickle.dumps(value)) is value
    assert name in dir(lw)


def test_a_star_imports_the_public_names_and_nothing_else() -> None:
    """As before names were looked up late, in a fresh process."""
    code = "names = {}; exec('from lwcallbacks import *', names); print(*sorted(names.keys() - {'__builtins__'}))"
    assert printed(code)[-1].split() == lw.__all__


def test_modules_of_the_package_are_attributes_of_it() -> None:
    """Whatever was imported before."""
    code = "import lwcallbacks as lw\nprint(lw.presets.__name__, lw.state.core.StateCore is lw.StateCore)"
    assert printed(code) == ["lwcallbacks.presets True"]


def test_a_name_that_is_not_there_is_the_usual_error() -> None:
    """With the names that are there as suggestions, where Python makes some."""
    with pytest.raises(AttributeError, match="module 'lwcallbacks' has no attribute 'ConfusionMatri'") as caught:
        lw.ConfusionMatri  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("ConfusionMatri", lw)
    with pytest.raises(ImportError, match="cannot import name 'ConfusionMatri' from 'lwcallbacks'"):
        from lwcallbacks import ConfusionMatri  # noqa: F401
    assert not hasattr(lw, "__wrapped__")


def test_each_module_can_be_the_first_to_be_imported() -> None:
    """No module counts on another having been imported by the package before it."""
    code = """
import importlib, pkgutil, sys
import torch, torchmetrics, pytorch_lightning, hypothesis
import lwcallbacks
names = [module.name for module in pkgutil.walk_packages(lwcallbacks.__path__, "lwcallbacks.")]
for name in names:
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "lwcallbacks"]:
        del sys.modules[loaded]
    importlib.import_module(name)
print(len(names))
"""
    assert int(printed(code)[-1]) > 80


def test_the_kit_says_how_to_get_what_it_needs() -> None:
    """Where only the package itself is installed there is no hypothesis."""
    code = """
import sys
sys.modules["hypothesis"] = None
try:
    import lwcallbacks.testing
except ModuleNotFoundError as error:
    print(error)
"""
    told = 'lwcallbacks.testing needs hypothesis, which is not installed: pip install "lwcallbacks[testing]"'
    assert printed(code) == [told]


@pytest.mark.skipif(not find_spec("lightning"), reason="needs lightning.pytorch, and it is not installed here")
def test_the_program_may_import_its_lightning_after_lwcallbacks() -> None:
    """Which of the two packages is used is decided when the first callback is asked for."""
    code = "import lwcallbacks as lw\nimport lightning.pytorch\nprint(lw.ConfusionMatrix and lw.lightning.PACKAGE)"
    assert printed(code)[-1] == "lightning.pytorch"
