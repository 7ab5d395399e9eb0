"""Whether processes that hold copies of the same parameters and buffers hold the same bits.

    replicas = Replicas(module, rank=0, world_size=4, buffers=True)
    check = run(replicas.checking(), link)   # behind a step: one small reduction, without a wait
    check()                                  # in the background: a `Drift`, or None where all are equal

Each process puts a digest of each tensor into one pack, and all find the largest and the smallest of each: where these
differ, a copy differs. Digests of all that a process holds stand side by side in it, and say which process it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from lwcallbacks.gradients.digest import digests_of
from lwcallbacks.gradients.names import buffers_of, names_of
from lwcallbacks.gradients.shards import local_of, place_of
from lwcallbacks.media import Table
from lwcallbacks.reductions.to_host import soon_on_host
from lwcallbacks.state.link import AllReduce

_LEAST = -(2**63)
FEW = 12


@dataclass(frozen=True)
class Drift:
    """Copies that differ, the same on every process.

    Attributes:
        tensors: those that differ, in the order of the module, parameters first.
        num_compared: how many tensors were.
        processes: those that differ from most others, in parameters if any of these differs, else in buffers; empty
            where there is no majority.
    """

    tensors: tuple[str, ...]
    num_compared: int
    processes: tuple[int, ...]

    def words(self, step: int, world_size: int) -> str:
        who = "no majority of the processes agrees, so it is not known which are right"
        if self.processes:
            several = len(self.processes) > 1
            names = ", ".join(map(str, self.processes[:FEW])) + (" ..." if len(self.processes) > FEW else "")
            who = f"process{'es' if several else ''} {names} differ{'' if several else 's'} from the others"
        found = f"at step {step} {len(self.tensors)} of {self.num_compared} parameters and buffers are not equal on all"
        return f"{found} {world_size} processes, first {self.tensors[0]}; {who}"

    def table(self, step: int) -> Table:
        who = ", ".join(map(str, self.processes)) or "no majority"
        return Table(("tensor", "found at step", "processes that differ"), [[name, step, who] for name in self.tensors])


class Replicas:
    """See the module's synopsis.

    Args:
        module: whose parameters and buffers; the same names on every process.
        rank, world_size: of this process.
        buffers: whether to compare buffers.

    Raises:
        ValueError: no two processes hold the same parameter.
    """

    def __init__(self, module: nn.Module, *, rank: int, world_size: int, buffers: bool) -> None:
        self._module = module
        self._rank = rank
        self._world_size = world_size
        self._buffers = buffers
        parameters = self._compared(list(self._parameters().items()))
        if not parameters:
            raise ValueError(
                "check_replicas=True, and each parameter is spread over all processes (FSDP2), so that no two hold the "
                "same. Expected copies, as under DDP, or a mesh that repeats shards (HSDP): leave check_replicas out"
            )
        named = self._all()
        self._names = tuple(name for name, _ in named)
        held = [place_of(tensor) for _, tensor in named]
        starts = [sum(number for _, number in held[:i]) for i in range(len(held))]
        self._slots = [(start, start + number) for start, (_, number) in zip(starts, held, strict=True)]
        self._size = self._slots[-1][1]
        self._num_parameters = len(parameters)
        self._key = hash(tuple(held))
        self._device = local_of(named[0][1].detach(), named[0][1]).device
        self._places = torch.tensor([s + place for s, (place, _) in zip(starts, held, strict=True)]).to(self._device)

    def checking(self) -> Generator[AllReduce, Tensor, Callable[[], Drift | None]]:
        """A process that can't read its tensors has no part in the result, and raises behind the reduction."""
        failure: Exception | None = None
        nothing = torch.full((2 * self._size + 3 * self._world_size,), _LEAST, dtype=torch.int64, device=self._device)
        pack = nothing
        try:
            pack = self._pack(nothing.clone())
        except Exception as error:
            failure = error
        largest = yield AllReduce(pack, "max", stays=True)
        if failure is not None:
            raise failure
        return partial(self._drift, soon_on_host(largest))

    # ----------------------------------------------------------------------------------------------------------------

    def _parameters(self) -> dict[str, Tensor]:
        tensors = {id(p): p for p in self._module.parameters()}
        return {name: tensors[key] for key, name in names_of(self._module).items()}

    def _all(self) -> list[tuple[str, Tensor]]:
        buffers = list(buffers_of(self._module).items()) if self._buffers else []
        return self._compared([*self._parameters().items(), *buffers])

    def _compared(self, named: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """Dense ones that more processes hold than there are different shards."""
        return [(n, x) for n, x in named if x.layout is torch.strided and place_of(x)[1] < self._world_size]

    @torch.no_grad()
    def _pack(self, pack: Tensor) -> Tensor:
        named = self._all()
        if tuple(name for name, _ in named) != self._names:
            raise RuntimeError("the module has other parameters and buffers than when training started")
        tensors = [local_of(x.detach(), x) for _, x in named]
        digests = torch.cat([digests_of(part).to(self._device, non_blocking=True) for part in _of_one_device(tensors)])
        pack.index_copy_(0, self._places, digests)
        pack.index_copy_(0, self._places + self._size, ~digests)
        own = pack[2 * self._size :].view(3, self._world_size)[:, self._rank]
        own[:2] = digests_of([digests[: self._num_parameters], digests[self._num_parameters :]])
        own[2].fill_(self._key)
        return pack

    def _drift(self, largest: Callable[[], Tensor]) -> Drift | None:
        values = largest()
        most, least = values[: self._size], ~values[self._size : 2 * self._size]
        differ = ((most != least) & (most != _LEAST)).tolist()
        names = tuple(n for n, (start, stop) in zip(self._names, self._slots, strict=True) if any(differ[start:stop]))
        if not names:
            return None
        parameters, buffers, keys = values[2 * self._size :].view(3, self._world_size).tolist()
        totals = parameters if names[0] in self._names[: self._num_parameters] else buffers
        return Drift(names, len(self._names), _minority(totals, keys))


def _of_one_device(tensors: list[Tensor]) -> list[list[Tensor]]:
    """In their order, those that follow each other on one device together."""
    return [list(part) for _, part in groupby(tensors, key=lambda x: x.device)]


def _minority(totals: list[int], keys: list[int]) -> tuple[int, ...]:
    """The processes that differ from most of those that hold the same shards; none where these have no majority."""
    of_key: dict[int, list[int]] = {}
    for rank, key in enumerate(keys):
        if totals[rank] != _LEAST:  # one that could not read its tensors has no part
            of_key.setdefault(key, []).append(rank)
    found: list[int] = []
    for ranks in of_key.values():
        [(total, number)] = Counter(totals[rank] for rank in ranks).most_common(1)
        if 2 * number <= len(ranks):
            return ()
        found += [rank for rank in ranks if totals[rank] != total]
    return tuple(sorted(found))
