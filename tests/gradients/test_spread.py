"""Gradients that are spread over processes are counted once, and are those of the whole tensor."""

from __future__ import annotations

from typing import Any

import pytest
from support import spread
from support.processes import run_processes

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
