"""Fields that are spread over processes: a whole copy is taken here, a part is refused."""

from __future__ import annotations

import torch
from support import tensors
from support.processes import run_processes


def test_a_replicated_tensor_is_taken_here_and_a_part_is_refused() -> None:
    """On 2 processes: the whole values as a plain tensor; sharded or partial, the message says `full_tensor()`."""
    for told in run_processes(2, tensors.distributed_fields):
        assert torch.equal(told["replicated"], torch.arange(8.0))
        assert type(told["replicated"]) is torch.Tensor
        for kind in ("sharded", "partial"):
            assert "targets: it is a DTensor placed as (" in told[kind]
            assert "take .full_tensor() of it, on every process" in told[kind]
        assert torch.equal(told["full"], torch.arange(8.0))
