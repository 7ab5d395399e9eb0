"""What is tested is the built wheel, it is complete, and importing it is cheap."""

import re
import subprocess
import sys
from importlib.metadata import files, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import lwcallbacks

EXTRAS = ("wandb", "tensorboard", "mlflow", "order", "testing")
REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = Path(lwcallbacks.__file__).resolve().parent


def test_the_tests_import_the_installed_wheel():
    """No test passes thanks to a file that is in the source tree and not in the wheel."""
    assert PACKAGE != REPOSITORY / "lwcallbacks"
    assert PACKAGE.parent.name == "site-packages"


@pytest.mark.parametrize("name", ["py.typed", "writers/page/index.html", "writers/page/uplot/LICENSE"])
def test_the_wheel_carries_its_data_files(name):
    """The type marker, the local page, and the licence of what draws its curves are in the package."""
    assert (PACKAGE / name).is_file()


def test_the_wheel_has_every_source_file_and_nothing_else():
    """The installed files are those of the source tree, and uPlot's: nothing forgotten, nothing stale."""
    source = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "lwcallbacks").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    installed = {
        path.as_posix() for path in files("lwcallbacks") if path.parts[0] == "lwcallbacks" and path.suffix != ".pyc"
    }
    built = {f"lwcallbacks/writers/page/uplot/{name}" for name in ("LICENSE", "uPlot.css", "uPlot.js")}
    assert installed == source | built


def test_the_licence_of_uplot_is_in_the_wheel_with_its_copyright():
    """The text of the MIT licence, and who it is from."""
    text = (PACKAGE / "writers/page/uplot/LICENSE").read_text()
    assert "Leon Sorokin" in text
    assert "to deal in the Software without" in text


def test_the_metadata_shut_out_the_releases_that_stole_credentials():
    """pytorch-lightning 2.6.2 and 2.6.3 cannot be installed along with lwcallbacks, nor lightning with [dev]."""
    for name in ("pytorch-lightning", "lightning"):
        (requirement,) = [r for r in metadata("lwcallbacks").get_all("Requires-Dist") if r.startswith(name)]
        assert "!=2.6.2" in requirement
        assert "!=2.6.3" in requirement


def test_the_core_needs_no_logger_and_no_plotting_library():
    """Pictures take Pillow and numpy, the ledger of checkpoints a file lock; each logger is an extra."""
    requirements = [Requirement(line) for line in metadata("lwcallbacks").get_all("Requires-Dist")]
    core = {requirement.name for requirement in requirements if requirement.marker is None}
    assert core == {"torch", "pytorch-lightning", "torchmetrics", "numpy", "pillow", "filelock"}


def test_the_oldest_environment_has_the_lowest_version_of_every_requirement():
    """What is declared is what is tested: each lower bound is a pin of tests/matrix/oldest.txt."""
    pins = dict(re.findall(r"^([a-z-]+)==(\S+)$", (REPOSITORY / "tests/matrix/oldest.txt").read_text(), re.MULTILINE))
    for line in metadata("lwcallbacks").get_all("Requires-Dist"):
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in EXTRAS):
            (lowest,) = [s.version for s in requirement.specifier if s.operator == ">="]
            assert Version(pins[requirement.name]) == Version(lowest), requirement.name


def test_importing_lwcallbacks_imports_no_logger_and_no_matplotlib():
    """A heavy library that only some callbacks need is imported when one of them needs it.

    torchmetrics imports matplotlib where it is installed, and Lightning imports torchmetrics. What they bring is
    taken away first, so that an import of our own would bring it back.
    """
    code = """
import sys
import pytorch_lightning, torchmetrics
heavy = {"wandb", "mlflow", "tensorboard", "matplotlib"}
for name in [name for name in sys.modules if name.partition(".")[0] in heavy]:
    del sys.modules[name]
from lwcallbacks import *
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
