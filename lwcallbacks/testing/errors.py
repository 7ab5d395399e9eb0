"""What the kit raises. All are AssertionErrors: in a test, they are failures and not errors."""

from __future__ import annotations


class LawViolation(AssertionError):
    """A law does not hold; the message has the law, what that means for a training, and a smallest counterexample.

    Examples:
        >>> from torchmetrics import CatMetric
        >>> from lwcallbacks.testing import check_metric, floats32
        >>> from hypothesis import strategies as st
        >>> try:
        ...     check_metric(CatMetric, st.lists(st.tuples(floats32(2)), min_size=1), laws=["order"])
        ... except LawViolation as violation:
        ...     print(str(violation).partition(":")[0], "breaks a law")
        CatMetric breaks a law
    """


class WouldHang(LawViolation):
    """Real processes would wait for each other forever, or exchange what does not fit together.

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
