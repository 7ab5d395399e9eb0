"""The example that users copy passes as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "property_tests"


def test_the_example_to_copy_passes(tmp_path: Path) -> None:
    """Run by pytest in a folder of its own, with nothing of this project's configuration."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", str(EXAMPLE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
