"""A life of a metric, as the state machine found it, written down as a program that runs without this package.

life = Life(MyMetric, strict=False, single=True)
life.step(life.update(0))
life.step("metric.compute()")
life.program([args], samples=[args])     # the last step prints what was found, the line below it what should be
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lwcallbacks.testing.program import written
from lwcallbacks.testing.samples import Args

COMPUTE = "metric.compute()"


class Life:
    """The steps of a life in plain calls.

    Args:
        factory: makes the metric.
        strict: whether torchmetrics' cache of computed values is on.
        single: whether the metric contains no other.
    """

    def __init__(self, factory: Callable[[], Any], *, strict: bool, single: bool) -> None:
        self.factory = factory
        self.strict = strict
        self.single = single
        self.on_gpu = False
        self.steps: list[str] = []

    def step(self, lines: str) -> None:
        """Go on by these lines, of which the last is an expression where it has a value."""
        self.steps.append(lines)

    def named(self, number: int) -> str:
        """A batch, on the device where the metric is."""
        return f"on_gpu(batches[{number}])" if self.on_gpu else f"batches[{number}]"

    def new(self, numbers: Sequence[int] = ()) -> str:
        """A new metric that saw these batches."""
        made = 'new().to("cuda")' if self.on_gpu else "new()"
        return f"updated({made}, [{', '.join(map(self.named, numbers))}])" if numbers else made

    def merge(self, numbers: Sequence[int], into_new: bool) -> str:
        """Merge a metric that saw these batches into this one, or this one into that."""
        if not into_new:
            return f"metric.merge_state({self.new(numbers)})"
        return f"before, metric = metric, {self.new(numbers)}\nmetric.merge_state(before)"

    def _keep(self) -> str:
        if self.single:
            return "metric.persistent(True)"
        return '[part.persistent(True) for part in metric.modules() if hasattr(part, "persistent")]'

    def save(self) -> str:
        """Write a checkpoint."""
        return f"{self._keep()}\ntorch.save(metric.state_dict(), path := tempfile.mktemp())"

    def load(self, into_new: bool) -> str:
        """Load the checkpoint."""
        made = f"metric = {self.new()}\n" if into_new else ""
        moved = self.on_gpu or any("cuda" in step for step in self.steps)
        to = f", map_location={'cuda' if self.on_gpu else 'cpu'!r}" if moved else ""
        return f"{made}{self._keep()}\nmetric.load_state_dict(torch.load(path, weights_only=True{to}))"

    def move(self, to: str) -> str:
        """Move a module that holds the metric."""
        if to not in ("half", "double"):
            self.on_gpu = to != "cpu"
            to = 'to("cuda")' if self.on_gpu else 'to("cpu")'
        return f"torch.nn.ModuleList([metric]).{to if '(' in to else f'{to}()'}"

    def sync(self, others: Sequence[Sequence[int]]) -> str:
        """Compute with processes that saw these batches."""
        return f"sync(metric, {', '.join(map(self.new, others))})"

    def program(
        self,
        batches: Sequence[Args],
        *,
        samples: Any = None,
        reference: Callable[..., Any] | None = None,
        precise: bool = False,
    ) -> str:
        """The program.

        Args:
            batches: those that the steps name.
            samples: batches of a new metric that has the expected value, or the arguments of the reference. Without
                them nothing is expected: the last step raises.
            reference: returns the expected value.
            precise: whether numbers are printed with all their digits.
        """
        lines = ["metric = new()", *self.steps]
        data: dict[str, Any] = {"batches": list(batches)}
        if samples is not None:
            first, _, last = lines[-1].rpartition("\n")
            told = '"one process:", ' if last.startswith("sync(") else ""
            lines[-1] = f"{first}\n" * bool(first) + (last if told else f"print({last})")
            data |= {"samples": samples} if samples else {}
            data |= {"reference": reference} if reference else {}
            alone = 'make().to("cuda")' if self.on_gpu else "make()"
            seen = f"updated({alone}, {'map(on_gpu, samples)' if self.on_gpu else 'samples'})" if samples else alone
            lines.append(f"print({told}{'reference(*samples)' if reference else f'{seen}.compute()'})")
        body = "\n".join(lines)
        remembers = any(step == COMPUTE or step.startswith("sync(") for step in self.steps[:-1])
        if self.strict or not remembers:
            body = body.replace("new()", "make()")
        helpers = [_NEW * ("new()" in body), _ON_GPU * ("on_gpu(" in body), _SYNC * ("sync(" in body)]
        helpers[2] = helpers[2].replace("FORGET", _FORGET if self.strict else "")
        return written(self.factory, "\n".join([*helpers, body]), data, precise=precise)


_NEW = """
def new():
    metric = make()
    for part in metric.modules():
        part.compute_with_cache = False  # what torchmetrics remembers is found with strict=True
    return metric
"""
_ON_GPU = """
def on_gpu(args):
    return [x.to("cuda") if isinstance(x, torch.Tensor) else x for x in args]
"""
_FORGET = """
        for part in metrics[rank].modules():
            part._computed = None  # real processes have computed equally often"""
_SYNC = """
def sync(*metrics):
    def process(rank):
        torch.distributed.init_process_group("gloo", file, datetime.timedelta(seconds=20), len(metrics), rank)FORGET
        print(f"process {rank}:", metrics[rank].compute(), flush=True)
        torch.distributed.destroy_process_group()

    file = f"file://{tempfile.mktemp()}"
    start = torch.multiprocessing.start_processes
    others = start(lambda i: process(i + 1), nprocs=len(metrics) - 1, join=False, start_method="fork")
    process(0)
    others.join()
"""
