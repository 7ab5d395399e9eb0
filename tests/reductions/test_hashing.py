"""Hashes are the same on every machine and in every release: checkpoints and runs refer to them."""

from __future__ import annotations

import math

import pytest
import torch

from lwcallbacks.reductions.hashing import content_ids, splitmix64
from lwcallbacks.reductions.looking import as_on_a_device

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
    """Ids of either sign, against Python's integers; with and without NumPy."""
    ids = [0, 1, -1, 2**63 - 1, -(2**63), 42]
    expected = [signed(mixed((i + (seed + 1) * 0x9E3779B97F4A7C15) & MASK)) for i in ids]
    assert splitmix64(torch.tensor(ids), seed).tolist() == expected
    with as_on_a_device():
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


EVERY_DTYPE = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("size", [4, 40])
def test_content_of_every_dtype(dtype: torch.dtype, size: int) -> None:
    """Small and large samples: the same in any layout and in any batch; one number apart is another sample."""
    x = torch.randint(2, (3, 3, size, size), generator=torch.Generator().manual_seed(0)).to(dtype)
    x[2] = x[0]
    ids = content_ids(x)
    assert len(set(ids.tolist())) == 2
    assert ids[0] == ids[2]
    last = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not last.is_contiguous()
    assert torch.equal(content_ids(last), ids)
    assert torch.equal(torch.cat([content_ids(x[:1]), content_ids(x[1:])]), ids)


def test_a_sample_is_all_of_its_fields() -> None:
    """Inputs and targets together; a field with another number of rows, or of none, is not used."""
    x, y = torch.zeros(4, 1, 64, 64), torch.tensor([0, 1, 0, 1])
    ids = content_ids(x, y)
    assert len(set(ids.tolist())) == 2
    assert ids[0] == ids[2]
    assert torch.equal(content_ids(x, y[:3]), content_ids(x))
    assert torch.equal(content_ids(x, torch.tensor(1.0)), content_ids(x))
    assert not torch.equal(content_ids(x, y), content_ids(y, x))
    assert not torch.equal(content_ids(y, y), content_ids(y))


def test_what_is_read_of_a_large_sample() -> None:
    """1,024 places in 1,024 equal stretches: of images 64 wide all columns, and the size."""
    zeros, read = torch.zeros(1, 64, 64), 0
    columns = set()
    for place in range(0, 4096):
        other = zeros.clone()
        other.view(-1)[place] = 1
        if content_ids(other) != content_ids(zeros):
            read += 1
            columns.add(place % 64)
    assert read == 1024
    assert len(columns) == 64
    assert content_ids(torch.zeros(1, 64, 64)) != content_ids(torch.zeros(1, 64, 65))


def reference_of_large(words: list[int]) -> int:
    """`content_ids` of one sample of more than 1,024 words."""
    gamma, size, total = 0x9E3779B97F4A7C15, len(words), 0
    for stretch in range(1024):
        begin, end = stretch * size // 1024, (stretch + 1) * size // 1024
        offset = (mixed((stretch + 5 * gamma) & MASK) & (2**31 - 1)) % (end - begin)
        factor = mixed((stretch * gamma + gamma) & MASK) | 1
        product = ((words[begin + offset] + 1) * factor) & MASK
        total += product ^ (product >> 29)
    total += mixed((size + 6 * gamma) & MASK)
    return signed(mixed((total + 2 * gamma) & MASK))


@pytest.mark.parametrize("shape", [(1025,), (2, 40, 30), (3, 3, 50, 7)])
def test_content_ids_of_a_large_sample_are_the_published_hash(shape: tuple[int, ...]) -> None:
    """Word by word, in Python's own integers; in other layouts, too."""
    words = torch.arange(2 * math.prod(shape)).reshape(2, *shape) ** 2
    assert content_ids(words).tolist() == [reference_of_large(row.reshape(-1).tolist()) for row in words]
    transposed = words.transpose(1, -1).contiguous().transpose(1, -1)
    assert torch.equal(content_ids(transposed), content_ids(words))


@pytest.mark.parametrize("size", [1023, 1024])
def test_a_sample_of_at_most_1024_words_is_read_in_full(size: int) -> None:
    """Each of its words, and no size."""
    words = torch.arange(size).reshape(1, size)
    assert content_ids(words).tolist() == [reference(words[0].tolist())]


def test_several_fields_are_one_hash() -> None:
    """The second is added to the hash of the first, and mixed with another seed."""
    first, gamma = signed(0x0123456789ABCDEF), 0x9E3779B97F4A7C15
    x, y = torch.tensor([[first], [5]]), torch.tensor([[7], [first]])
    factor = mixed(gamma) | 1
    for row in range(2):
        product = ((int(y[row]) + 1) * factor) & MASK
        sum_of_second = product ^ (product >> 29)
        expected = signed(mixed((reference(x[row].tolist()) + sum_of_second + 4 * gamma) & MASK))
        assert content_ids(x, y)[row] == expected


def test_samples_of_nothing() -> None:
    """No samples, and samples without numbers."""
    assert content_ids(torch.zeros(0, 3, 64, 64)).shape == (0,)
    assert content_ids(torch.zeros(2, 0)).unique().shape == (1,)
