"""What is saved loads without running code, and what cannot be saved is said."""

from __future__ import annotations

import pickle
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lwcallbacks.replaying import refusals, write
from lwcallbacks.replaying.saved import LeftOut, read
from lwcallbacks.testing.same import difference

Pair = namedtuple("Pair", ["image", "label"])


@dataclass
class Graph:
    """Somebody's class."""

    nodes: torch.Tensor


def again(value: Any, root: Path) -> Any:
    write(root, "it", {"value": value})
    return read(root, "it")["value"]


@pytest.mark.parametrize(
    "value",
    [
        {"ids": torch.tensor([1, 2]), "text": ["a", "b"], 3: (None, True, 2.5, b"x")},
        [torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor(True), torch.zeros(0)],
        torch.sparse_coo_tensor(
            torch.tensor([[0, 2]]), torch.tensor([1.0, 2.0]), (4,), check_invariants=True
        ).coalesce(),
        np.arange(6, dtype=np.float64).reshape(2, 3),
        [np.array([7, 2**32 - 1], np.uint32), np.zeros((0, 2), np.uint64), np.array(True)],
        torch.tensor([1, 2**32 - 1]).to(torch.uint32),
        [2 - 1j, b"", torch.uint16, torch.float32],
    ],
)
def test_it_comes_back(tmp_path: Path, value: Any) -> None:
    """Tensors, arrays, containers and numbers, also those that torch itself cannot save, or not load."""
    found = again(value, tmp_path)
    if isinstance(value, torch.Tensor) and value.is_sparse:
        found, value = found.to_dense(), value.to_dense()
    assert difference(found, value) is None
    assert refusals(value, "batch") == []
    assert [path.name for path in tmp_path.iterdir()] == ["it.pt"]


@pytest.mark.parametrize("dtype", [">i4", ">c16", np.longdouble])
def test_an_array_of_which_torch_has_no_tensor(tmp_path: Path, dtype: Any) -> None:
    """It is of its type again."""
    value = np.arange(3, dtype=dtype)
    found = again(value, tmp_path)
    assert (found.dtype, found.tolist()) == (value.dtype, value.tolist())


def test_named_tuples_and_mappings(tmp_path: Path) -> None:
    """A named tuple has its fields, a mapping of any class is a dict."""
    found = again(Pair(torch.ones(2), OrderedDict(a=1)), tmp_path)
    assert found.image.tolist() == [1, 1]
    assert found.label == {"a": 1}
    assert type(found.label) is dict


def test_a_view_is_saved_without_what_it_is_a_part_of(tmp_path: Path) -> None:
    """Two rows of a million are two rows on the disk."""
    path = write(tmp_path, "it", {"value": torch.zeros(1_000_000, 3)[:2]})
    assert path.stat().st_size < 10_000


def test_what_runs_code_is_left_out(tmp_path: Path) -> None:
    """The rest comes back, and it is said what is missing, and where."""
    value = {"x": torch.ones(1), "graph": [Graph(torch.ones(2)), Pair(Graph(torch.ones(1)), 2)]}
    assert refusals(value, "batch") == [
        f"batch['graph'][0]: a {__name__}.Graph",
        f"batch['graph'][1][0]: a {__name__}.Graph",
    ]
    found = again(value, tmp_path)
    assert found["x"].tolist() == [1]
    assert isinstance(found["graph"][0], LeftOut)
    assert repr(found["graph"][0]) == f"<left out: a {__name__}.Graph>"


def test_a_type_that_is_none_is_refused(tmp_path: Path) -> None:
    """Where a file names something else of torch's instead."""
    torch.save({"value": {"lwcallbacks": "dtype", "of": "load"}}, tmp_path / "it.pt")
    with pytest.raises(ValueError, match="found the dtype 'load', expected one of torch's"):
        read(tmp_path, "it")


def test_a_file_of_somebody_else_runs_no_code(tmp_path: Path) -> None:
    """It is refused by torch."""

    class Runs:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"value": Runs()}, tmp_path / "it.pt")
    with pytest.raises(pickle.UnpicklingError):
        read(tmp_path, "it")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_written_is_not_there(tmp_path: Path, monkeypatch: Any) -> None:
    """Nor half of it."""

    def fails(contents: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="full"):
        write(tmp_path, "it", {"value": 1})
    assert list(tmp_path.iterdir()) == []
