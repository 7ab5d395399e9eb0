"""What metrics of regression, aggregation and distributions take: floats.

regression_batches()          # (preds float32 [N], target float32 [N])
value_batches(weights=True)   # (values float32 [N], weights float32 [N])
distribution_batches(3)       # (p float32 [N, 3], q float32 [N, 3]), each row sums to 1
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lwcallbacks.testing.samples import Args
from lwcallbacks.testing.strategies.numbers import grid, tensors
from lwcallbacks.testing.strategies.splitting import batches_of

Batches: TypeAlias = SearchStrategy[list[tuple[Tensor, ...]]]

_KINDS = (*["ordinary"] * 4, "constant preds", "constant target", "both constant", "equal")


def regression_batches(
    *,
    shape: tuple[int, ...] = (),
    low: float = -5.0,
    high: float = 5.0,
    step: float = 0.1,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of floats, both float32 [N, *shape].

    Args:
        shape: of a sample, as (2,) for two outputs.
        low, high: the range, both ends included.
        step: values are multiples of it. Sums of the default round, as those of real data; those of 1/8 do not.
        nan: whether preds may be NaN.
        degenerate: whether there are data sets with constant preds, a constant target, both, or equal ones.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from torchmetrics import MeanAbsoluteError
        >>> from lwcallbacks.testing import check_metric
        >>> check_metric(MeanAbsoluteError, regression_batches(), exact=False, rtol=1e-5, laws=["order"], examples=10)
    """

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from(_KINDS)) if degenerate else "ordinary"
        preds, target = (draw(grid((n, *shape), low=low, high=high, step=step)) for _ in range(2))
        if kind in ("constant preds", "both constant"):
            preds = preds[:1].expand_as(preds).clone()
        if kind in ("constant target", "both constant"):
            target = target[:1].expand_as(target).clone()
        if kind == "equal":
            preds = target.clone()
        if nan:
            preds[draw(tensors(preds.shape, torch.int64, max_value=7)) == 7] = float("nan")
        return preds, target

    return batches_of(samples, **sizes)


def value_batches(
    *,
    shape: tuple[int, ...] = (),
    weights: bool = False,
    low: float = -5.0,
    high: float = 5.0,
    step: float = 0.1,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (values,) of floats, or (values, weights); float32 [N, *shape].

    Args:
        shape: of a sample.
        weights: whether there are weights, in 0 to 2.
        low, high: the range of values, both ends included.
        step: values are multiples of it.
        nan: whether values may be NaN.
        degenerate: whether there are data sets of one value, and of two.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from torchmetrics import MaxMetric
        >>> from lwcallbacks.testing import check_metric
        >>> check_metric(MaxMetric, value_batches(), laws=["batch_size", "order", "shards"], examples=10)
    """

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from([*["ordinary"] * 4, "two values", "constant"])) if degenerate else "ordinary"
        values = draw(grid((n, *shape), low=low, high=high, step=step))
        if kind == "two values":  # ties, which a grid of a hundred levels hardly has
            values = values[draw(tensors(n, torch.int64, max_value=min(1, max(n - 1, 0))))]
        if kind == "constant":
            values = values[:1].expand_as(values).clone()
        if nan:
            values[draw(tensors(values.shape, torch.int64, max_value=7)) == 7] = float("nan")
        return (values, draw(grid(values.shape, low=0, high=2, step=0.5))) if weights else (values,)

    return batches_of(samples, **sizes)


def distribution_batches(
    num_classes: int = 3, *, zeros: bool = False, degenerate: bool = True, **sizes: int
) -> Batches:
    """Batches (p, q) of probability distributions, both float32 [N, C]; each row sums to 1.

    Args:
        num_classes: C.
        zeros: whether a probability may be 0, where the logarithm of it is no number.
        degenerate: whether there are data sets with p equal to q, with uniform q, or with the same p in each sample.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(distribution_batches(4))
        ... def test(batches):
        ...     for p, q in batches:
        ...         assert p.shape == q.shape and torch.allclose(p.sum(1), torch.ones(len(q))) and (p > 0).all()
        >>> test()
    """

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from([*["ordinary"] * 4, "equal", "uniform", "constant"])) if degenerate else "ordinary"
        p, q = (_shares(draw, (n, num_classes), zeros) for _ in range(2))
        if kind == "equal":
            q = p.clone()
        if kind == "uniform":
            q = torch.full_like(q, 1 / num_classes)
        if kind == "constant":
            p = p[:1].expand_as(p).clone()
        return p, q

    return batches_of(samples, **sizes)


def _shares(draw: DrawFn, size: tuple[int, ...], zeros: bool) -> Tensor:
    drawn = draw(tensors(size, torch.int64, min_value=0 if zeros else 1, max_value=20))
    drawn[..., 0] += drawn.sum(-1) == 0  # at least one is more than zero
    return drawn.float() / drawn.sum(-1, keepdim=True)
