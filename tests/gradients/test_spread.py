"""Gradients that are spread over processes are counted once, and are those of the whole tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import spread
from support.processes import run_processes
from support.versions import needs_fsdp2

from lwcallbacks.testing.same import Closeness, difference

ROUNDED = Closeness(rtol=2e-7)
"""A shard's norm is rounded to float32."""

FSDP = {name: ["0"] for name in spread.SHAPES}
MIXED: dict[str, list[str]] = {"even": ["R", "0"], "uneven": ["0", "R"], "single": ["R", "R"], "whole": ["0", "0"]}
MIXED |= {"none": ["R", "0"]}
PARALLEL = {"even": ["1"], "uneven": ["0"], "whole": ["R"], "none": ["0"]}
"""Tensor parallelism: column-wise, row-wise, repeated; on the last dimension of a mesh whose first repeats all."""


@pytest.mark.parametrize(
    ("processes", "mesh", "placements"),
    [
        pytest.param(1, (1,), FSDP, id="1 process"),
        pytest.param(2, (2,), FSDP, id="FSDP2 on 2"),
        pytest.param(3, (3,), FSDP, id="FSDP2 on 3"),
        pytest.param(2, (2,), PARALLEL, id="tensor parallel on 2"),
        pytest.param(4, (2, 2), MIXED, id="mixed on 2x2"),
        pytest.param(4, (2, 2), PARALLEL, id="tensor parallel beside DDP on 2x2"),
    ],
)
@pytest.mark.parametrize("mantissa_bits", [3, 0])
def test_it_is_what_one_process_finds(
    processes: int, mesh: tuple[int, ...], placements: dict[str, Any], mantissa_bits: int
) -> None:
    """Counts and largest values are equal, norms but for the rounding of a shard; on every process, by one sum."""
    expected = spread.alone(mantissa_bits)
    assert expected is not None
    found = run_processes(processes, spread.together, mesh, placements, mantissa_bits)
    for layers, num_calls in found:
        assert num_calls == (processes > 1)
        assert layers.names == ("even", "uneven", "single", "whole", "plain")
        assert difference(layers.elements, expected.elements) is None
        assert difference(layers.largest, expected.largest) is None
        assert difference(layers.seen(), expected.seen()) is None
        for which in ("norms", "before", "changes", "weights"):
            found_norms, norms = getattr(layers, which), getattr(expected, which)
            assert difference(found_norms, norms, ROUNDED) is None, which
        assert [row[5:] for row in layers.rows()] == [row[5:] for row in expected.rows()]


@pytest.mark.parametrize(
    ("processes", "strategy"),
    [(1, "auto"), (2, "ddp"), (3, "ddp"), pytest.param(2, "fsdp2", marks=needs_fsdp2)],
)
def test_a_fit_has_the_numbers_of_the_whole_gradient(tmp_path: Path, processes: int, strategy: str) -> None:
    """On every process; by one sum a logged step where there are shards, whether it is drawn or not, else by none."""
    found = run_processes(processes, spread.fitted, strategy, str(tmp_path))
    of_row = spread.INPUTS.norm()
    for results, _, num_calls in found:
        weight = results["net.weight"]
        assert (weight.num_finite, weight.num_zero, results["net.bias"].num_finite) == (30, 6, 6)
        assert weight.counts.nonzero()[0].size == 4
        assert weight.counts.max() == 6
        assert num_calls == (12 // processes // 2 if strategy == "fsdp2" else 0)
    row = found[0][1]
    assert row["gradients/norm/net.weight"] == pytest.approx(6**0.5 * float(of_row))
    assert row["gradients/norm/total"] == pytest.approx((6 * float(of_row) ** 2 + 6) ** 0.5)
