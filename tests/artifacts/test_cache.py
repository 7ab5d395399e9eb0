"""What was downloaded is kept within a bound, and nobody loses what he is using."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.filling import Filling, gets

from lwcallbacks.artifacts.cache import Cache, Full

KEYS = [f"{number:064x}" for number in range(6)]
ANOTHER = """
import sys
from pathlib import Path
from lwcallbacks.artifacts.cache import Cache
def fill(folder):
    folder.mkdir()
    (folder / "a").write_bytes(bytes(100))
    if sys.argv[2] == "half":
        print("filling", flush=True)
        sys.stdin.read()
    return {}
Cache(Path(sys.argv[1]), 1000).get(f"{int(sys.argv[3]):064x}", 100, fill)
print("got", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(folder: Path, how: str, number: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has got a content, or is at it, and goes on."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", ANOTHER, str(folder), how, str(number)], **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == ("filling\n" if how == "half" else "got\n")
            yield process
        finally:
            process.kill()


def there(folder: Path) -> list[int]:
    """Which contents are there."""
    return [number for number, key in enumerate(KEYS) if (folder / key / "content" / "a").is_file()]


def last_used(folder: Path, number: int, seconds: float) -> None:
    os.utime(folder / KEYS[number] / "facts.json", (seconds, seconds))


def test_content_is_got_once(tmp_path: Path) -> None:
    """And is whole when it is there."""
    fill = Filling()
    for _ in range(3):
        content = Cache(tmp_path / "cache", 1000).get(KEYS[0], 100, fill)
        assert (content / "a").read_bytes() == bytes(100)
    assert fill.times == 1
    assert Cache(tmp_path / "cache", 1000).facts(KEYS[0]) == {"number": 1, "size": 100}


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    """Use is getting it again."""
    for number in range(3):
        with another(tmp_path, "whole", number):
            pass
        last_used(tmp_path, number, 1_000 + number)
    with another(tmp_path, "whole", 0):
        pass
    Cache(tmp_path, 350).get(KEYS[3], 100, Filling())
    assert there(tmp_path) == [0, 2, 3]


def test_what_another_process_uses_stays(tmp_path: Path) -> None:
    """As long as it runs, though it is the oldest; also where it is only being got."""
    with another(tmp_path, "whole", 0), another(tmp_path, "half", 1):
        last_used(tmp_path, 0, 1_000)
        Cache(tmp_path, 400).get(KEYS[2], 100, Filling())
        Cache(tmp_path, 400).get(KEYS[3], 100, Filling())
        Cache(tmp_path, 400).get(KEYS[4], 100, Filling())
        assert there(tmp_path) == [0, 3, 4]
        with pytest.raises(Full, match="other processes use"):
            Cache(tmp_path, 250).get(KEYS[5], 100, Filling())
    Cache(tmp_path, 250).get(KEYS[5], 100, Filling())
    assert there(tmp_path) == [4, 5]


def test_what_does_not_fit_is_refused_before_it_is_got(tmp_path: Path) -> None:
    """And what is there stays."""
    cache, fill = Cache(tmp_path, 300), Filling()
    cache.get(KEYS[0], 100, Filling())
    with pytest.raises(Full, match=r"has 0\.0 MiB, and the cache .* takes"):
        cache.get(KEYS[1], 301, fill)
    assert (fill.times, there(tmp_path)) == (0, [0])


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """It is got again the next time."""

    def fail(folder: Path) -> dict[str, Any]:
        folder.mkdir()
        (folder / "a").write_bytes(bytes(50))
        raise OSError("cut")

    cache = Cache(tmp_path, 300)
    with pytest.raises(OSError, match="cut"):
        cache.get(KEYS[0], 100, fail)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("locks", "uses")] == []
    cache.get(KEYS[0], 100, Filling())
    assert there(tmp_path) == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="a process is killed in another way there")
def test_what_a_killed_process_left_is_no_content(tmp_path: Path) -> None:
    """Half of it is removed, and got again; also when something else needs the room."""
    with another(tmp_path, "half", 0) as process, another(tmp_path, "half", 1) as other:
        for killed in (process, other):
            killed.send_signal(signal.SIGKILL)
            killed.wait()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == [
        f"{key}.part" for key in KEYS[:2]
    ]
    cache = Cache(tmp_path, 250)
    fill = Filling()
    cache.get(KEYS[0], 100, fill)
    cache.get(KEYS[2], 100, Filling())
    assert (fill.times, there(tmp_path)) == (1, [0, 2])
    assert not list(tmp_path.glob("*.part"))


def test_processes_that_want_the_same_get_it_once(tmp_path: Path) -> None:
    """As under DDP, where every process asks for it."""
    spawning = multiprocessing.get_context("spawn")
    ready = spawning.Barrier(3)
    processes = [spawning.Process(target=gets, args=(tmp_path, KEYS[0], ready)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "fills").read_text() == "x"


def test_links_in_the_cache_lead_nowhere(tmp_path: Path) -> None:
    """In place of a content: the link goes, and not what it leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    Filling()(outside / "content")
    (outside / "facts.json").write_text(json.dumps({"size": 1}))
    for name in (KEYS[0], f"{KEYS[0]}.part"):
        folder = tmp_path / name[-5:]
        Cache(folder, 1000)
        (folder / name).symlink_to(outside, target_is_directory=True)
        fill = Filling()
        assert (Cache(folder, 1000).get(KEYS[0], 100, fill) / "a").is_file()
        assert fill.times == 1
        assert not (folder / KEYS[0]).is_symlink()
    assert (outside / "content" / "a").is_file()


def test_a_folder_for_everybody_is_refused(tmp_path: Path) -> None:
    """Somebody else could put a checkpoint into it."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(ValueError, match="everybody may write to"):
        Cache(tmp_path / "cache", 1000)


def test_a_key_is_no_path(tmp_path: Path) -> None:
    """It comes from a server."""
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        Cache(tmp_path, 1000).get("../" + KEYS[0], 1, Filling())
