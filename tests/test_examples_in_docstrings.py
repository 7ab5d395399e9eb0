"""The `>>>` examples of the installed package give what they say, and every public name has one."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

import lwcallbacks

MODULES = sorted(module.name for module in pkgutil.walk_packages(lwcallbacks.__path__, "lwcallbacks."))
# Modules whose names are public: what each exports, but for other modules.
PUBLIC = ("lwcallbacks", "lwcallbacks.presets", "lwcallbacks.reductions", "lwcallbacks.testing")
# What registers something for the rest of the process, and the least torch that it needs.
OWN_PROCESS = {"simulated_device": (2, 9)}


@cache
def examples() -> dict[str, doctest.DocTest]:
    """Each docstring of the package that has an example, by its place, as "lwcallbacks.state.core.StateCore"."""
    finder, parser, found = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestParser(), {}
    for name in ["lwcallbacks", *MODULES]:
        module = importlib.import_module(name)
        found |= {test.name: test for test in finder.find(module, name) if test.examples}
        # Decorators, such as hypothesis' `composite`, hide a function from the finder.
        for function in filter(callable, vars(module).values()):
            place = f"{name}.{getattr(function, '__name__', '')}"
            if getattr(function, "__module__", "") == name and place not in found and ">>>" in (function.__doc__ or ""):
                found[place] = parser.get_doctest(inspect.getdoc(function), dict(vars(module)), place, name, 0)
    return found


def public_names() -> dict[str, Any]:
    """What is exported, by its public place, without submodules."""
    found = {}
    for name in PUBLIC:
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]
        found |= {f"{name}.{key}": getattr(module, key) for key in exported}
    return {place: value for place, value in found.items() if not inspect.ismodule(value)}


def has_example(place: str, value: Any) -> bool:
    """A class or function in its docstring or a method's, another value wherever an example uses it."""
    name = place.rpartition(".")[2]
    if inspect.isclass(value) or inspect.isroutine(value):
        own = f"{value.__module__}.{value.__name__}"
        return any(found == own or found.startswith(f"{own}.") for found in examples())
    return any(re.search(rf"\b{name}\b", step.source) for test in examples().values() for step in test.examples)


def is_apart(test_name: str) -> bool:
    return test_name.rpartition(".")[2] in OWN_PROCESS


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name: str) -> None:
    """Alone, without one that comes before it in the package."""
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", [name for name in examples() if not is_apart(name)])
def test_an_example_gives_what_it_says(name: str) -> None:
    """Run as it stands, with the names of its module."""
    written: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed, tried = runner.run(examples()[name], out=written.append, clear_globs=False)
    assert tried
    assert not failed, "".join(written)


@pytest.mark.parametrize("name", [name for name in examples() if is_apart(name)])
def test_an_example_for_a_process_of_its_own_gives_what_it_says(name: str) -> None:
    """In a new one."""
    import torch
    from packaging.version import Version

    needed = OWN_PROCESS[name.rpartition(".")[2]]
    if Version(torch.__version__).release[:2] < needed:
        pytest.skip(f"needs torch {needed}")
    module = examples()[name].globs["__name__"]
    code = f"import doctest, {module} as m\ndoctest.run_docstring_examples(m.{name.rpartition('.')[2]}, vars(m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("place", sorted(public_names()))
def test_every_public_name_has_an_example(place: str) -> None:
    """In its docstring or in that of a method."""
    assert has_example(place, public_names()[place])


def test_no_example_is_skipped() -> None:
    """An example that is not run proves nothing."""
    for name, test in examples().items():
        for step in test.examples:
            assert doctest.SKIP not in step.options, name
            ast.parse(step.source)
