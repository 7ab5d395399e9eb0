"""Whether a checkpoint can be loaded without running code that is in it.

    needs_code(Path("epoch=3.ckpt"))         # None, or "posix.system", the first thing that it asks for

A checkpoint of torch is a pickle, and to load one is to do what it says. torch's own restricted loader goes through a
file here, with tensors on the meta device, so that no tensor is read; a `Path` is let through. A folder of shards, as
torch's distributed checkpoints are, has a file `.metadata`, which torch loads as a plain pickle, and shards in which
pickles lie beside tensors: that file is gone through by a loader that makes no object of any class, and each piece of
a shard by torch's.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lwcallbacks.readers.inside import file_in

DATA = {".json", ".txt", ".yaml", ".yml", ".md", ".safetensors"}  # nobody loads these as pickles
_CHECKPOINT = "torch.distributed.checkpoint"
_NAMES = {
    (f"{_CHECKPOINT}.metadata", name)
    for name in (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    )
} | {
    (f"{_CHECKPOINT}.filesystem", "_StorageInfo"),
    ("torch", "Size"), ("torch.serialization", "_get_layout"), ("collections", "OrderedDict"),
    *((module, f"{system}Path") for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows")),
}  # fmt: skip
_PATHS = {f"{type(Path()).__module__}.{type(Path()).__name__}", f"pathlib.{type(Path()).__name__}"}
_DTYPE = re.compile(r"(?:b?float|complex|u?int|q?u?int)\d+\w*|bool")


class NeedsCode(Exception):
    """Something else than tensors and plain values is asked for."""


def needs_code(path: Path) -> str | None:
    """What of a checkpoint asks for code, in words; None if nothing does.

    Args:
        path: a file, or a folder of shards, without links.

    Raises:
        ValueError: it can't be read: it is damaged, or no checkpoint.
    """
    try:
        if path.is_dir():
            _check_folder(path)
        else:
            with path.open("rb") as file:
                _check_file(file, path.name)
    except NeedsCode as error:
        return str(error)
    return None


def _check_file(file: BinaryIO, told: str) -> None:
    # Before torch 2.6 its restricted loader is none for the older formats (CVE-2025-32434).
    if file.read(4) != b"PK\x03\x04":
        raise NeedsCode(f"{told}: not of the format that torch.save writes")
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise NeedsCode(f"{told}: a program of TorchScript")
        _load(file)
    except pickle.UnpicklingError as error:
        raise NeedsCode(f"{told}: {_asked_for(error) or str(error).splitlines()[0]}") from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as e:
        raise ValueError(f"{told} can't be read: {str(e).splitlines()[0] if str(e) else type(e).__name__}") from e


def _load(file: BinaryIO) -> None:
    import torch

    file.seek(0)
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        if _asked_for(error) not in _PATHS:
            raise
        file.seek(0)
        with _paths_taken():
            torch.load(file, map_location="meta", weights_only=True)


def _asked_for(error: pickle.UnpicklingError) -> str | None:
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else None


@contextmanager
def _paths_taken() -> Iterator[None]:
    """Let torch's restricted loader make a `Path`, which hyperparameters and Lightning 1's checkpoints have."""
    from torch import serialization

    before = list(serialization.get_safe_globals())
    serialization.add_safe_globals([type(Path())])
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _check_folder(folder: Path) -> None:
    shards: set[Path] = set()
    for path in (path for path in sorted(folder.rglob("*.metadata")) if path.is_file()):
        for relative, start, length in _pieces(path):
            shard = file_in(path.parent, relative)
            shards.add(shard)
            with shard.open("rb") as file:
                _check_file(io.BufferedReader(_Piece(file, start, length)), f"{shard.name} at {start}")
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        if path.name.endswith(".metadata") or path in shards or path.suffix in DATA or path.name == "latest":
            continue
        with path.open("rb") as file:
            _check_file(file, path.relative_to(folder).as_posix())


def _pieces(path: Path) -> Iterator[tuple[str, int, int]]:
    """The pieces of shards that a `.metadata` lists: file, first byte, number of bytes."""
    with path.open("rb") as file:
        try:
            metadata = _Inert(file).load()
        except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError, MemoryError) as e:
            raise ValueError(f"{path.name} can't be read: {e}") from e
    stored = getattr(metadata, "storage_data", None)
    if not isinstance(stored, dict):
        raise ValueError(f"{path.name} lists no shards")
    for info in stored.values():
        found = getattr(info, "relative_path", None), getattr(info, "offset", None), getattr(info, "length", None)
        if [type(value) for value in found] != [str, int, int] or getattr(info, "transform_descriptors", None):
            raise NeedsCode(f"{path.name}: a shard in a format that is not known here")
        yield found  # type: ignore[misc]


class _Thing:
    """Stands for an object of any class: keeps what it would have been made of, and does nothing."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update((str(key), value) for key, value in state.items())

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class _Inert(pickle.Unpickler):
    """Makes a `_Thing` where a pickle asks for an object of a class that may be in a `.metadata`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMES or (module == "torch" and _DTYPE.fullmatch(name)):
            return type(name, (_Thing,), {})
        raise NeedsCode(f"the list of shards: {module}.{name}")


class _Piece(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0
        if start < 0 or length < 0:
            raise ValueError(f"found a shard of {length} bytes at {start}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        found = self._file.read(max(0, min(len(buffer), self._length - self._at)))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
