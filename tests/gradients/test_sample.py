"""Some elements stand for all of a large tensor."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import pytest
import torch
from torch import nn

from lwcallbacks.gradients.sample import SAMPLE, Samples, sample_of, weight_of


@pytest.mark.parametrize("shape", [(), (0,), (1,), (SAMPLE,), (64, 128), (3, 5, 7)])
def test_small_tensors_are_taken_whole(shape: tuple[int, ...]) -> None:
    """All elements once, of any shape."""
    x = torch.arange(torch.Size(shape).numel()).reshape(shape).float()
    assert sample_of(x).sort().values.tolist() == x.flatten().tolist()
    assert weight_of(x) == (1 if x.numel() else 0)


@pytest.mark.parametrize("shape", [(2 * SAMPLE + 1,), (1024, 1024), (512, 512, 3, 3), (30522, 768), (1000, 1000)])
def test_large_tensors_are_sampled_over_all_rows_and_columns(shape: tuple[int, ...]) -> None:
    """At least 4,096 elements, and not many more; the stride has no factor in common with any dimension."""
    x = torch.empty(shape, device="meta")
    chosen = sample_of(x)
    assert SAMPLE <= len(chosen) <= 3 * SAMPLE
    assert all(gcd(chosen.stride(0), size) == 1 for size in shape)
    assert weight_of(x) == pytest.approx(x.numel() / len(chosen))


def test_the_error_is_as_it_is_said() -> None:
    """About 1 % of a norm for a normal distribution; more where few elements are not zero."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2048, 1024, generator=generator)
    few = x * (torch.rand(2048, 1, generator=generator) < 0.05)
    for values, bound in ((x, 0.03), (few, 3 * 0.9 / (0.05 * SAMPLE) ** 0.5)):
        estimate = sample_of(values).norm() * weight_of(values) ** 0.5
        assert float(estimate / values.norm()) == pytest.approx(1, abs=bound)


def test_memory_of_any_order_is_sampled_as_a_view() -> None:
    """Transposed and channels-last tensors are not copied as a whole, complex ones are pairs."""
    x = torch.randn(64, 8, 16, 16).to(memory_format=torch.channels_last)
    for dense in (x, x.transpose(0, 1), torch.randn(300, 200).T):
        assert sample_of(dense).untyped_storage().data_ptr() == dense.untyped_storage().data_ptr()
    assert sample_of(torch.tensor([1 + 2j])).tolist() == [1.0, 2.0]


def test_a_sample_is_made_once() -> None:
    """The same view is given again; it shows what the parameter has become."""
    samples, parameters = Samples(), [nn.Parameter(torch.ones(300, 300)), nn.Parameter(torch.ones(3))]
    first = samples.of(parameters)
    with torch.no_grad():
        parameters[0].mul_(2)
    again = samples.of(parameters)
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert not again[0].requires_grad
    assert torch.equal(again[0], sample_of(parameters[0].detach()))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda p: torch.full_like(p, 2), id="other memory"),
        pytest.param(lambda p: p.detach()[1:], id="a part of it"),
        pytest.param(lambda p: p.detach()[:-1], id="the first part of it"),
        pytest.param(lambda p: p.detach().float(), id="another dtype"),
        pytest.param(lambda p: p.detach().view(torch.bfloat16), id="the same bits of another dtype"),
        pytest.param(lambda p: p.detach()[:, ::2], id="with gaps"),
        pytest.param(lambda p: p.detach().as_strided(p.shape, (402, 1)), id="rows further apart"),
    ],
)
def test_a_parameter_that_has_moved_is_sampled_anew(other: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Whatever `.data` has become, and again at the next change of its elements."""
    samples, memory = Samples(), torch.arange(400 * 201).to(torch.float16).reshape(400, 201)
    parameter = nn.Parameter(memory[:200])
    samples.of([parameter])
    parameter.data = other(parameter)
    for _ in range(2):
        assert torch.equal(samples.of([parameter])[0], sample_of(parameter.detach()))
        parameter.data.add_(1)
