"""The same weights and samples give the same results, on one process or on two, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import scenarios
from support.processes import run_processes


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return scenarios.validate(999, 32, str(tmp_path_factory.mktemp("alone")))


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 100), (2, 32), (3, 32), (4, 100)])
def test_several_processes_give_the_matrix_of_one(world_size: int, batch_size: int, alone: Any, tmp_path: Path) -> None:
    """999 samples: on 2 and 4 processes the sampler repeats one, and it is not counted; choices are the same, too."""
    for there in run_processes(world_size, scenarios.validate, 999, batch_size, str(tmp_path)):
        assert int(there["matrix"].sum()) == 999
        assert torch.equal(there["matrix"], alone["matrix"])
        assert there["acc"] == alone["acc"]
        assert torch.equal(there["ids"], alone["ids"])
        assert torch.equal(there["grid"], alone["grid"])


def test_only_process_0_has_the_images(alone: Any, tmp_path: Path) -> None:
    """The winners' pixels travel to process 0 and nowhere else, unchanged."""
    first, second = run_processes(2, scenarios.validate, 999, 100, str(tmp_path))
    assert torch.equal(first["pixels"], alone["pixels"])
    assert second["pixels"] is None


def test_a_process_without_data_takes_part(tmp_path: Path) -> None:
    """One sample on two processes: the second has only a repeat of it, and the total is one."""
    for there in run_processes(2, scenarios.validate, 1, 4, str(tmp_path)):
        assert int(there["matrix"].sum()) == 1
