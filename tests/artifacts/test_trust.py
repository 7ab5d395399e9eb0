"""A checkpoint that could run code when it is loaded is refused, one that could not is not."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from lwcallbacks.artifacts.trust import needs_code


class Evil:
    """Makes a folder when it is loaded: the sign that code has run."""

    def __init__(self, sign: Path) -> None:
        self.sign = str(sign)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (self.sign, 0o777, True)


class Harmless:
    """A class of the user's own."""


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    return tmp_path / "sign"


def shards(folder: Path, state: dict[str, Any]) -> Path:
    """A folder as torch's distributed checkpoints are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process only
        dcp.save(state, checkpoint_id=folder)
    return folder


def load(path: Path) -> None:
    """As Lightning before 2.6 loads a file, and torch a folder of shards."""
    if path.is_file():
        torch.load(path, weights_only=False)
        return
    metadata = dcp.FileSystemReader(path).read_metadata()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(dict.fromkeys(metadata.state_dict_metadata, 0), checkpoint_id=path)


def file_of(folder: Path, state: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "a.ckpt")
    return folder / "a.ckpt"


def in_shards(folder: Path, state: Any) -> Path:
    return shards(folder / "shards", {"epoch": 3, "it": state})


def in_list_of_shards(folder: Path, state: Any) -> Path:
    """In the file `.metadata`, which torch loads as a plain pickle."""
    path = shards(folder / "shards", {"epoch": 3}) / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    metadata.planner_data = state
    path.write_bytes(pickle.dumps(metadata))
    return path.parent


def beside_shards(folder: Path, state: Any) -> Path:
    """In what Lightning adds to them."""
    torch.save(state, shards(folder / "shards", {"epoch": 3}) / "meta.pt")
    return folder / "shards"


EVERYWHERE = [file_of, in_shards, in_list_of_shards, beside_shards]
Where = Callable[[Path, Any], Path]


@pytest.mark.parametrize("where", EVERYWHERE)
def test_code_is_found_and_not_run(where: Where, tmp_path: Path, sign: Path) -> None:
    """By the name of what is asked for; loading it without a look does run it."""
    path = where(tmp_path, Evil(sign))
    found = needs_code(path)
    assert found is not None
    assert found.endswith("os.makedirs")
    assert not sign.exists()
    if where is not beside_shards:  # which Lightning loads, and torch does not
        load(path)
        assert sign.exists()


@pytest.mark.parametrize("where", [file_of, in_shards, beside_shards])
def test_what_training_leaves_needs_none(where: Where, tmp_path: Path) -> None:
    """Tensors of several dtypes, an optimizer's state, numbers, texts."""
    model = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.BatchNorm1d(30))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 30)).sum().backward()
    optimizer.step()
    more = {"half": torch.ones(3, dtype=torch.bfloat16), "hparams": {"lr": 0.1, "name": "größe", "sizes": (1, None)}}
    state = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()], **more}
    assert needs_code(where(tmp_path, state)) is None


def test_no_tensor_is_read(tmp_path: Path) -> None:
    """Which would take as long as loading it; here the file ends before it."""
    path = file_of(tmp_path, {"a": torch.zeros(1_000_000)})
    with zipfile.ZipFile(path) as archive:
        [start] = [info.header_offset for info in archive.infolist() if info.filename.endswith("data/0")]
    with path.open("r+b") as file:
        file.seek(start + 1000)
        file.write(b"\xff" * 1_000_000)
    assert needs_code(path) is None


@pytest.mark.parametrize("where", [file_of, in_shards, beside_shards])
def test_a_class_of_ones_own_is_named(where: Where, tmp_path: Path) -> None:
    """And let through where the user says that it is harmless."""
    path = where(tmp_path, Harmless())
    assert str(needs_code(path)).endswith(f"{Harmless.__module__}.Harmless")
    torch.serialization.add_safe_globals([Harmless])
    try:
        assert needs_code(path) is None
    finally:
        torch.serialization.clear_safe_globals()


@pytest.mark.parametrize("where", [file_of, in_shards, beside_shards])
def test_a_path_is_no_code(where: Where, tmp_path: Path, sign: Path) -> None:
    """What is in the file beside it is found all the same, and torch's own list is as before."""
    torch.serialization.add_safe_globals([Harmless])
    try:
        assert needs_code(where(tmp_path / "a", {"dirpath": tmp_path, "it": Harmless()})) is None
        assert list(torch.serialization.get_safe_globals()) == [Harmless]
        assert str(needs_code(where(tmp_path / "b", [tmp_path, Evil(sign)]))).endswith("os.makedirs")
        assert list(torch.serialization.get_safe_globals()) == [Harmless]
    finally:
        torch.serialization.clear_safe_globals()
    assert not sign.exists()


def test_other_formats_are_not_trusted(tmp_path: Path, sign: Path) -> None:
    """Older ones of torch's, for which its restricted loader was none, plain pickles, and programs."""
    for number, write in enumerate(
        (
            lambda path: torch.save(Evil(sign), path, _use_new_zipfile_serialization=False),
            lambda path: path.write_bytes(pickle.dumps(Evil(sign))),
        )
    ):
        path = tmp_path / f"{number}.ckpt"
        write(path)
        assert needs_code(path) == f"{number}.ckpt: not of the format that torch.save writes"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "c.ckpt")
    assert needs_code(tmp_path / "c.ckpt") == "c.ckpt: a program of TorchScript"
    assert not sign.exists()


def test_a_pickle_beside_shards_is_not_trusted(tmp_path: Path, sign: Path) -> None:
    """Whatever it is called; text is."""
    folder = shards(tmp_path / "shards", {"epoch": 3})
    (folder / "latest").write_text("step 3")
    (folder / "config.json").write_text("{}")
    assert needs_code(folder) is None
    (folder / "zero").write_bytes(pickle.dumps(Evil(sign)))
    assert needs_code(folder) == "zero: not of the format that torch.save writes"


def test_a_list_of_shards_leads_nowhere_else(tmp_path: Path) -> None:
    """Shards that lie outside of the folder, or where nothing is."""
    folder = shards(tmp_path / "shards", {"epoch": 3})
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    [info] = metadata.storage_data.values()
    for change, told in (
        ({"relative_path": "../other"}, "expected one in this folder"),
        ({"relative_path": str(tmp_path / "other")}, "expected one in this folder"),
        ({"relative_path": "__0_0.distcp", "offset": -5}, "shard of"),
    ):
        vars(info).update(change)
        (folder / ".metadata").write_bytes(pickle.dumps(metadata))
        with pytest.raises(ValueError, match=told):
            needs_code(folder)


@pytest.mark.parametrize("kept", [0, 3, 100, 1000])
def test_half_a_checkpoint_is_an_error(kept: int, tmp_path: Path) -> None:
    """Not something to trust."""
    path = file_of(tmp_path, {"a": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    if kept < 4:
        assert needs_code(path) == "a.ckpt: not of the format that torch.save writes"
    else:
        with pytest.raises(ValueError, match=r"a\.ckpt can't be read"):
            needs_code(path)
    folder = shards(tmp_path / "shards", {"epoch": torch.ones(1000)})
    (folder / ".metadata").write_bytes((folder / ".metadata").read_bytes()[: kept // 2])
    with pytest.raises(ValueError, match=r"\.metadata"):
        needs_code(folder)
