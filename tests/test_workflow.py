"""The workflow for a public repository runs what the Makefile and tests/matrix have, and leaves none of it out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*)(?= *[a-z-]*:)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
ENVIRONMENTS = {path.stem for path in (REPOSITORY / "tests" / "matrix").glob("*.txt")}


def jobs() -> dict[str, Any]:
    return {name: job for path in WORKFLOWS for name, job in yaml.safe_load(path.read_text())["jobs"].items()}


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", jobs())
def test_a_job_runs_make_targets_that_are_there(name: str) -> None:
    """Nothing but make: what runs there can be run here."""
    ran = commands(jobs()[name])
    assert ran
    for command in ran:
        make, target, *_ = command.split()
        assert make == "make"
        assert target in TARGETS, command


def test_the_versions_are_those_of_the_matrix() -> None:
    """One job for each environment, and each environment by its name."""
    job = jobs()["versions"]
    assert set(job["strategy"]["matrix"]["environment"]) == ENVIRONMENTS
    assert commands(job) == ["make test-matrix MATRIX=${{ matrix.environment }}"]


def test_every_python_from_the_lowest_on_is_tested() -> None:
    """The lowest is the one that the package declares."""
    [lowest] = re.findall(r'^requires-python = ">=(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert jobs()["test"]["strategy"]["matrix"]["python"][0] == lowest
