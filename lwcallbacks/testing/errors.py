"""What the kit raises. All are AssertionErrors: in a test, they are failures and not errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lwcallbacks.testing.law import Finding


class _Found(AssertionError):
    """A failure that knows what was found."""

    finding: Finding | None = None

    def program(self) -> str:
        """A program that shows what was found, with torch, torchmetrics and the metric alone.

        Empty where there is none.
        """
        return self.finding.program() if self.finding else ""

    @property
    def in_short(self) -> str:
        """The law and the first line of the message, for a list of failures."""
        first = str(self).partition("\n")[0].replace(" could not be examined on this data", " not examined")
        return f"{self.finding.law}: {first}" if self.finding and self.finding.law else first


class LawViolation(_Found):
    """A law does not hold. The message has what a user sees of it, the law, and a smallest counterexample.

    Attributes:
        finding: the `Finding`, where a law was examined.
        words: what a user sees, where the message does not begin with that.

    Examples:
        >>> import torch
        >>> from torchmetrics.aggregation import RunningMean
        >>> from lwcallbacks.testing import check_metric, tensors
        >>> from hypothesis import strategies as st
        >>> batches = st.lists(st.tuples(tensors(2, torch.int64)), min_size=1)
        >>> try:
        ...     check_metric(RunningMean, batches, laws=["state_dict_round_trip"])
        ... except LawViolation as violation:
        ...     print(str(violation).partition("\\n")[0])
        ...     print("from torchmetrics import RunningMean" in violation.program())
        RunningMean: after a resume you report ... where without one you report ...
        True
    """

    words = ""


class NotExaminable(_Found):
    """A metric could not be examined on the data that it was given: update and compute alone raise.

    No law is broken thereby. The message has the first exception, its place and what to change.

    Examples:
        >>> import torch
        >>> from torchmetrics import MeanMetric
        >>> from lwcallbacks.testing import check_metric
        >>> from hypothesis import strategies as st
        >>> try:
        ...     check_metric(MeanMetric, st.just([(["a word"],)]))
        ... except NotExaminable as problem:
        ...     print(str(problem).partition(":")[0])
        MeanMetric could not be examined on this data
    """


class WouldHang(LawViolation):
    """Real processes would wait for each other forever, or ask for collectives that do not belong together.

    Examples:
        >>> import torch
        >>> from lwcallbacks.state.link import AllReduce
        >>> from lwcallbacks.testing import World
        >>> def steps(rank):
        ...     if rank == 0:
        ...         yield AllReduce(torch.ones(1), "sum")
        >>> try:
        ...     World(2).run(steps)
        ... except WouldHang as error:
        ...     print("process 1: ends" in str(error))
        True
    """


class WouldAbort(LawViolation):
    """Real processes would exchange tensors of unlike sizes in bytes: gloo aborts one of them.

    Examples:
        >>> import torch
        >>> from torchmetrics import MetricCollection
        >>> from torchmetrics.classification import BinaryAUROC
        >>> from lwcallbacks.testing import World
        >>> try:
        ...     World(2).compute(BinaryAUROC, [[(torch.tensor([0.5]), torch.tensor([1]))], []])
        ... except WouldAbort as error:
        ...     print("process 1" in str(error))
        True
    """


class Ended(Exception):
    """Real processes have not come to a value; the message says how each ended."""


class HostSync(AssertionError):
    """An operation that makes the host wait for the device, where none is allowed.

    Examples:
        >>> import torch
        >>> from lwcallbacks.testing import forbid_host_sync
        >>> try:
        ...     with forbid_host_sync():
        ...         bool(torch.ones(()))
        ... except HostSync as error:
        ...     print(str(error).partition(":")[0])
        Tensor.__bool__ waits for the device
    """
