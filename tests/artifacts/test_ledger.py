"""The ledger says what has become of each version, after a crash too, and leads nobody out of its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwcallbacks.artifacts import Receipt, Version
from lwcallbacks.artifacts.earlier import Left, mend, tidy
from lwcallbacks.artifacts.holding import hold
from lwcallbacks.artifacts.ledger import FILE, Fate, InUse, Ledger, read


def version(id: str = "1", **more: Any) -> Version:
    return Version(id, "model", f"/runs/{id}.ckpt", ("latest",), {"epoch": 3, "score": "nan"}, **more)


def held(ledger: Ledger, id: str, content: bytes = b"weights") -> Path:
    """Enter a version whose content is held."""
    source = ledger.directory / f"{id}.ckpt"
    source.write_bytes(content)
    ledger.saved(version(id), ["shelf"])
    path = hold(source, ledger.directory / "held" / id)
    ledger.held(id, path)
    source.unlink()
    return path


def write(directory: Path, *records: Any) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / FILE).open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def saved(**changed: Any) -> dict[str, Any]:
    return {"event": "saved", "version": version().to_json() | changed, "stores": ["shelf"]}


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["shelf", "attic"])), min_size=1, max_size=25
)


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(EVENTS)
def test_who_reads_it_sees_what_its_writer_sees(tmp_path_factory: Any, events: list[tuple[int, int, str]]) -> None:
    """After any events in any order; and so does who opens it again."""
    directory = tmp_path_factory.mktemp("ledger")
    with Ledger(directory) as ledger:
        for i, (id, kind, store) in enumerate(events):
            name = str(id)
            if name not in {e.version.id for e in ledger.entries}:
                ledger.saved(version(name), ["shelf", "attic"])
            match kind:
                case 0:
                    ledger.sealed(name, "sha256:" + "0" * 64, i)
                case 1:
                    ledger.delivered(name, store, Receipt("delivered", f"at/{i}"))
                case 2:
                    ledger.failed(name, "gone", store)
                case 3:
                    ledger.removed(name)
            assert read(directory) == ledger.entries
        before = ledger.entries
    with Ledger(directory) as ledger:
        assert ledger.entries == before


def test_half_a_line_is_left_out_and_then_overwritten(tmp_path: Path) -> None:
    """A crash has cut the last line at any byte: what was before it is there, and the next event makes it whole."""
    with Ledger(tmp_path) as ledger:
        ledger.saved(version("1"), ["shelf"])
        first = len((tmp_path / FILE).read_bytes())
        ledger.saved(version("é"), ["shelf"])
    whole = (tmp_path / FILE).read_bytes()
    for cut in range(first, len(whole)):
        (tmp_path / FILE).write_bytes(whole[:cut])
        assert [entry.version.id for entry in read(tmp_path)] == ["1"]
        with Ledger(tmp_path) as ledger:
            ledger.saved(version("2"), ["shelf"])
        assert [entry.version.id for entry in read(tmp_path)] == ["1", "2"]


def test_events_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    """With or without the id of a version that is there."""
    write(
        tmp_path,
        saved(),
        {"event": "linked", "id": "1", "to": "x"},
        {"event": "upgraded"},
        {"event": "removed", "id": "1"},
    )
    [entry] = read(tmp_path)
    assert entry.is_removed


@pytest.mark.parametrize(
    "record",
    [
        [], 3, None, "saved", {}, {"event": "saved"}, {"event": "saved", "version": [], "stores": []},
        {"event": "saved", "version": version().to_json(), "stores": 3}, saved(id=7), saved(aliases="latest"),
        saved(metadata=[]), saved(size="big"), {"event": "removed", "id": "2"}, {"event": "removed"},
        {"event": "delivered", "id": "1", "store": [], "address": ""}, {"event": "removed", "id": []},
        {"event": "sealed", "id": "1", "digest": "x", "size": "many"}, {"event": []},
    ],
)  # fmt: skip
def test_what_is_no_ledger_is_an_error(record: Any, tmp_path: Path) -> None:
    """A line that no ledger has: an error that shows it, to who reads and to who opens it, and nothing is locked."""
    write(tmp_path, saved(), record)
    for _ in range(2):
        with pytest.raises(ValueError, match="in a ledger"):
            read(tmp_path)
        with pytest.raises(ValueError, match="in a ledger"):
            Ledger(tmp_path)


def test_a_deep_line_is_an_error(tmp_path: Path) -> None:
    """Brackets in brackets, more than Python follows."""
    (tmp_path / FILE).write_text("[" * 100_000 + "\n")
    with pytest.raises(ValueError, match="in a ledger"):
        read(tmp_path)


HOSTILE = ["../secret", "held/../../secret", "/etc/hostname", "held/a/../../../secret", "other/a/b", "held", "held/a",
           "held/.", "held/./a", "", ".", "held/a/b/c", "C:/secret", "held\\..\\secret", "held/a/\0"]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_content_outside_of_its_place_is_refused(content: str, tmp_path: Path) -> None:
    """Read by anybody or taken up by a run: an error, and all files are where they were."""
    (tmp_path / "secret").write_text("mine")
    directory = tmp_path / "runs" / "theirs" / "artifacts"
    write(directory, saved(content=content))
    (directory / "held" / "a").mkdir(parents=True)
    (directory / "held" / "a" / "weights").write_text("theirs")
    with pytest.raises(ValueError, match="found the"):
        read(directory)
    with Ledger(directory) as ledger, pytest.raises(ValueError, match="found the"):
        mend(ledger)
    assert tidy(tmp_path / "runs", tmp_path / "runs" / "mine" / "artifacts") == []
    assert (tmp_path / "secret").read_text() == "mine"
    assert (directory / "held" / "a" / "weights").exists()
    assert (directory / FILE).exists()


@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_link_in_the_place_of_content_is_refused(where: str, tmp_path: Path) -> None:
    """It leads to a file elsewhere, which stays."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.ckpt").write_text("mine")
    directory = tmp_path / "runs" / "theirs" / "artifacts"
    write(directory, saved(content="held/1/a.ckpt"))
    (directory / "held").mkdir()
    if where == "folder":
        (directory / "held" / "1").symlink_to(secret)
    else:
        (directory / "held" / "1").mkdir()
        (directory / "held" / "1" / "a.ckpt").symlink_to(secret / "a.ckpt")
    with pytest.raises(ValueError, match="a link"):
        read(directory)
    assert tidy(tmp_path / "runs", tmp_path / "runs" / "mine" / "artifacts") == []
    assert (secret / "a.ckpt").read_text() == "mine"


def test_one_run_has_it_at_a_time(tmp_path: Path) -> None:
    """A second one is an error; when the first is closed, from whatever thread, it is free."""
    ledger = Ledger(tmp_path)
    with pytest.raises(InUse, match="in use by a run that is still going on"):
        Ledger(tmp_path)
    thread = threading.Thread(target=ledger.close)
    thread.start()
    thread.join()
    Ledger(tmp_path).close()


def test_who_comes_late_enters_nothing(tmp_path: Path) -> None:
    """A closed ledger takes no event: another run may have it."""
    ledger = Ledger(tmp_path)
    ledger.saved(version(), ["shelf"])
    ledger.close()
    with Ledger(tmp_path) as other:
        with pytest.raises(InUse, match="removed is not entered"):
            ledger.removed("1")
        assert not other["1"].is_removed
    assert not read(tmp_path)[0].is_removed


def test_events_come_from_any_thread(tmp_path: Path) -> None:
    """Eight threads, 25 versions each: every line is whole, and each version has its own events in their order."""
    with Ledger(tmp_path) as ledger:

        def enter(thread: int) -> None:
            for i in range(25):
                id = f"{thread}-{i}"
                ledger.saved(version(id), ["shelf"])
                ledger.sealed(id, f"sha256:{i:064}", i)
                ledger.delivered(id, "shelf", Receipt("delivered", id))

        threads = [threading.Thread(target=enter, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read(tmp_path) == ledger.entries
    entries = {entry.version.id: entry for entry in read(tmp_path)}
    assert len(entries) == 200
    assert all(e.version.size == int(id.split("-")[1]) for id, e in entries.items())
    assert all(e.fates == {"shelf": Fate("delivered", id)} for id, e in entries.items())


_WRITES = """
import sys
from pathlib import Path
from lwcallbacks.artifacts import Receipt, Version
from lwcallbacks.artifacts.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for i in range(100_000):
    ledger.saved(Version(str(i), "model", "x" * (i % 300)), ["shelf"])
    ledger.delivered(str(i), "shelf", Receipt("delivered", str(i)))
    print(i, flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that enters versions, and prints each when it is there."""
    process = subprocess.Popen([sys.executable, "-c", _WRITES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        process.kill()


def test_it_survives_sigkill(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    """All that was entered before is there, and the lock is free."""
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(50)]
    with pytest.raises(InUse):
        Ledger(tmp_path)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    told += [int(line) for line in writer.stdout]
    with Ledger(tmp_path) as ledger:
        entries = ledger.entries
    assert [entry.version.id for entry in entries][: len(told)] == [str(i) for i in told]
    assert not any(entry.waiting for entry in entries[: len(told)])
    assert len(entries) - len(told) <= 1, "one may have been entered and not printed"


# -- what earlier runs have left --------------------------------------------------------------------------------------


def test_a_run_that_was_killed_is_tidied(tmp_path: Path) -> None:
    """What waits is kept and counted; what was delivered, never held or never entered is let go of for good."""
    directory = tmp_path / "first" / "artifacts"
    with Ledger(directory) as ledger:
        waits, done = held(ledger, "waits"), held(ledger, "done")
        ledger.delivered("done", "shelf", Receipt("delivered", "x"))
        ledger.saved(version("never held"), ["shelf"])
        ledger.saved(version("never held, for no store"), [])
        (directory / "held" / "never entered").mkdir()
        (directory / "held" / "never entered" / "a.ckpt").write_bytes(b"x")
    own = tmp_path / "second" / "artifacts"
    for said in ([Left(directory, 1, {})], []):  # once
        assert tidy(tmp_path, own) == said
        assert waits.exists()
        assert not done.exists()
        assert [path.name for path in (directory / "held").iterdir()] == ["waits"]
    entries = {entry.version.id: entry for entry in read(directory)}
    for name in ("never held", "never held, for no store"):
        assert entries[name].why == "the process ended before its content was held"
    assert entries["done"].is_released


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    """Another process writes to it: what it holds is its own."""
    with Ledger(tmp_path / "first" / "artifacts") as ledger:
        path = held(ledger, "1")
        (ledger.directory / "held" / "2").mkdir()
        assert tidy(tmp_path, tmp_path / "second" / "artifacts") == []
        assert path.exists()
        assert (ledger.directory / "held" / "2").exists()


def test_a_folder_that_cannot_be_read_does_not_cost_the_others(tmp_path: Path) -> None:
    """One is no ledger at all."""
    write(tmp_path / "broken" / "artifacts", 3)
    with Ledger(tmp_path / "first" / "artifacts") as ledger:
        held(ledger, "1")
    assert tidy(tmp_path, tmp_path / "own" / "artifacts") == [Left(tmp_path / "first" / "artifacts", 1, {})]


def test_a_staged_version_keeps_its_content(tmp_path: Path) -> None:
    """Something else is to deliver it from there, and it is named apart from what waits, once."""
    with Ledger(tmp_path / "first" / "artifacts") as ledger:
        path = held(ledger, "1")
        ledger.delivered("1", "shelf", Receipt("staged", "run"))
        held(ledger, "2")
    for said in ([Left(tmp_path / "first" / "artifacts", 1, {"run": 1})], []):
        assert tidy(tmp_path, tmp_path / "own" / "artifacts") == said
    assert path.exists()
