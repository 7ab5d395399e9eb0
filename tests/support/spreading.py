"""What spreads tensors over processes, from where this torch has it: 2.4 has the same under names of its own."""

from __future__ import annotations

try:
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
except ImportError:
    from torch.distributed._tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

try:
    from torch.distributed.fsdp import fully_shard
except ImportError:
    from torch.distributed._composable.fsdp import fully_shard

__all__ = ["DTensor", "Partial", "Replicate", "Shard", "distribute_tensor", "fully_shard"]
