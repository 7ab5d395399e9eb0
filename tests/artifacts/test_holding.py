"""What is held is what was saved, whatever happens to the file; nothing is read that was not saved."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwcallbacks.artifacts.holding import NotHeld, digest_of, hold, release

NAMES = st.sampled_from(["a", "b", "a.b", "é", "a b", "shard_00", "shard_01", "Z"])
TREES = st.recursive(
    st.binary(max_size=40), lambda children: st.dictionaries(NAMES, children, min_size=1, max_size=4), max_leaves=8
)


def write(path: Path, tree: bytes | dict[str, object]) -> None:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir()
    for name, child in tree.items():
        write(path / name, child)  # type: ignore[arg-type]


def contents(path: Path) -> bytes | dict[str, bytes]:
    if path.is_file():
        return path.read_bytes()
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another disk."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(tempfile.gettempdir()).st_dev:
        pytest.skip("there is no second file system to write to")
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(TREES, st.booleans())
def test_what_is_held_outlives_the_checkpoint(tree: bytes | dict[str, object], copy: bool) -> None:
    """A file or a folder of any shape, linked or copied: removed or replaced, its content stays, and goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        path, into = Path(folder, "saved.ckpt"), Path(folder, "held", "1")
        write(path, tree)
        before, digest = contents(path), digest_of(path)
        held = hold(path, into, copy=copy)
        assert held.name == path.name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        write(path, b"something else")
        assert (contents(held), digest_of(held)) == (before, digest)
        release(held)
        assert not into.exists()
        assert path.read_bytes() == b"something else"


def test_a_link_takes_no_room_and_a_copy_is_safe_from_writing(tmp_path: Path) -> None:
    """Both names are one file; a copy does not change with the file."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"before")
    link, copy = hold(path, tmp_path / "1"), hold(path, tmp_path / "2", copy=True)
    assert link.samefile(path)
    assert not copy.samefile(path)
    path.write_bytes(b"after!")
    assert (link.read_bytes(), copy.read_bytes()) == (b"after!", b"before")


def test_across_two_disks_it_is_a_copy(tmp_path: Path, elsewhere: Path) -> None:
    """There is no hard link from one to the other."""
    path = elsewhere / "a.ckpt"
    path.write_bytes(b"weights")
    assert hold(path, tmp_path / "1").read_bytes() == b"weights"


def test_a_checkpoint_that_is_a_link_is_held_by_what_it_points_to(tmp_path: Path) -> None:
    """As last.ckpt of `save_last="link"`: the file, under the link's name, not the link."""
    (tmp_path / "a.ckpt").write_bytes(b"weights")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "a.ckpt")
    held = hold(tmp_path / "last.ckpt", tmp_path / "1")
    (tmp_path / "a.ckpt").unlink()
    assert held.name == "last.ckpt"
    assert not held.is_symlink()
    assert held.read_bytes() == b"weights"


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("target", ["/etc/hostname", "inside", "nowhere"])
def test_a_link_in_a_folder_is_refused(target: str, copy: bool, tmp_path: Path) -> None:
    """To a file of the system, one of the folder or none: nothing is held, and the error says what to do."""
    folder = tmp_path / "sharded"
    (folder / "deep").mkdir(parents=True)
    (folder / "inside").write_bytes(b"weights")
    (folder / "deep" / "shard").symlink_to(target)
    with pytest.raises(NotHeld, match=r"deep/shard is a symbolic link.*save real files"):
        hold(folder, tmp_path / "held" / "1", copy=copy)
    assert not (tmp_path / "held" / "1").exists()


def test_a_link_to_a_folder_in_a_folder_is_refused(tmp_path: Path) -> None:
    """What is behind it is not taken along."""
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "more").symlink_to(tmp_path)
    with pytest.raises(NotHeld):
        hold(tmp_path / "sharded", tmp_path / "held" / "1")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would be read without end."""
    (tmp_path / "sharded").mkdir()
    os.mkfifo(tmp_path / "sharded" / "pipe")
    with pytest.raises(NotHeld, match="neither a file nor a folder"):
        hold(tmp_path / "sharded", tmp_path / "1")
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(NotHeld, match="neither a file nor a folder"):
        hold(tmp_path / "pipe.ckpt", tmp_path / "2", copy=True)


def test_what_is_not_there_is_not_held(tmp_path: Path) -> None:
    """Neither a path of nothing nor a link to nothing, and no folder is left."""
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "nowhere")
    for name in ("none.ckpt", "last.ckpt"):
        with pytest.raises(FileNotFoundError):
            hold(tmp_path / name, tmp_path / "1")
    assert not (tmp_path / "1").exists()


def test_nothing_is_held_over_something_else(tmp_path: Path) -> None:
    """A place is for one content."""
    (tmp_path / "a.ckpt").write_bytes(b"a")
    (tmp_path / "b.ckpt").write_bytes(b"b")
    held = hold(tmp_path / "a.ckpt", tmp_path / "1")
    with pytest.raises(FileExistsError):
        hold(tmp_path / "b.ckpt", tmp_path / "1")
    assert held.read_bytes() == b"a"


def test_release_twice_is_no_error(tmp_path: Path) -> None:
    """What is gone is gone."""
    (tmp_path / "a.ckpt").write_bytes(b"a")
    held = hold(tmp_path / "a.ckpt", tmp_path / "1")
    release(held)
    release(held)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_the_digest_of_a_file_is_that_of_sha256sum(tmp_path: Path) -> None:
    """Of a file larger than what is read at once, too."""
    content = bytes(range(256)) * 8193
    (tmp_path / "a").write_bytes(content)
    assert digest_of(tmp_path / "a") == (f"sha256:{sha256(content)}", len(content))


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(TREES)
def test_the_digest_of_a_folder_is_as_it_is_defined(tree: bytes | dict[str, object]) -> None:
    """The SHA-256 of the lines "<path>\\0<SHA-256>\\n", in the order of the paths' bytes; the bytes of all files."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "x"), tree)
        found = contents(Path(folder, "x"))
        if isinstance(found, bytes):
            expected = sha256(found)
        else:
            rows = sorted((name.encode(), sha256(content)) for name, content in found.items())
            expected = sha256(b"".join(name + b"\0" + digest.encode() + b"\n" for name, digest in rows))
        size = len(found) if isinstance(found, bytes) else sum(map(len, found.values()))
        assert digest_of(Path(folder, "x")) == (f"sha256:{expected}", size)


def test_the_digest_of_a_folder_tells_names_from_contents(tmp_path: Path) -> None:
    """Two files whose contents change places are another checkpoint."""
    write(tmp_path / "x", {"a": b"1", "b": b"2"})
    write(tmp_path / "y", {"a": b"2", "b": b"1"})
    write(tmp_path / "z", {"b": b"2", "a": b"1"})
    assert digest_of(tmp_path / "x") == digest_of(tmp_path / "z") != digest_of(tmp_path / "y")
