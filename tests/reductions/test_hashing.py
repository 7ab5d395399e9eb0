"""Hashes are the same on every machine and in every release: checkpoints and runs refer to them."""

from __future__ import annotations

import pytest
import torch

from lwcallbacks.reductions.hashing import content_ids, splitmix64

MASK = 2**64 - 1


def mixed(z: int) -> int:
    """SplitMix64's output function in Python's own integers, as it is published."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def signed(z: int) -> int:
    return z - 2**64 if z >= 2**63 else z


def test_it_is_splitmix64() -> None:
    """The published sequence of seed 1234567: the generator adds the golden gamma before each output."""
    sequence = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    gamma = 0x9E3779B97F4A7C15
    states = torch.tensor([signed((1234567 + i * gamma) & MASK) for i in range(4)])
    assert splitmix64(states, 0).tolist() == [signed(value) for value in sequence]


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63])
def test_a_seed_is_another_step_of_the_generator(seed: int) -> None:
    """Ids of either sign, against Python's integers."""
    ids = [0, 1, -1, 2**63 - 1, -(2**63), 42]
    expected = [signed(mixed((i + (seed + 1) * 0x9E3779B97F4A7C15) & MASK)) for i in ids]
    assert splitmix64(torch.tensor(ids), seed).tolist() == expected


def reference(words: list[int]) -> int:
    """`content_ids` of one sample, word by word."""
    gamma = 0x9E3779B97F4A7C15
    total = 0
    for position, word in enumerate(words):
        factor = mixed((position * gamma + gamma) & MASK) | 1
        product = ((word + 1) * factor) & MASK
        total += product ^ (product >> 29)
    return signed(mixed((total + 2 * gamma) & MASK))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.tensor([[1.0, -2.0], [0.0, -0.0]]), [[0x3F800000, -0x40000000], [0, -(2**31)]]),
        (torch.tensor([[1, 2], [3, -4]]), [[1, 2], [3, -4]]),
        (torch.tensor([[7], [255]], dtype=torch.uint8), [[7], [255]]),
        (torch.tensor([[True, False], [False, False]]), [[1, 0], [0, 0]]),
        (torch.tensor([[1.0], [-1.0]], dtype=torch.bfloat16), [[0x3F80], [0xBF80 - 0x10000]]),
        (torch.tensor([[1.0 + 2.0j], [0.0 + 0.0j]]), [[0x3F800000, 0x40000000], [0, 0]]),
    ],
    ids=["float32", "int64", "uint8", "bool", "bfloat16", "complex64"],
)
def test_content_ids_are_of_the_bits(samples: torch.Tensor, words: list[list[int]]) -> None:
    """Each sample by its own bits, whatever its dtype and shape."""
    assert content_ids(samples).tolist() == [reference(row) for row in words]
    assert content_ids(samples.reshape(2, -1, 1)).tolist() == [reference(row) for row in words]


def test_content_ids_do_not_depend_on_the_memory_layout() -> None:
    """A transposed view, a slice and a sample that requires grad."""
    x = torch.rand(3, 4, 5)
    strided = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(content_ids(strided), content_ids(x))
    assert torch.equal(content_ids(x[1:]), content_ids(x)[1:])
    assert torch.equal(content_ids(x.clone().requires_grad_()), content_ids(x))
