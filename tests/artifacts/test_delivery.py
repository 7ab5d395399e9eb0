"""Versions reach each store once, in the order of the saves, whatever the store does; what can't is kept."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lwcallbacks.artifacts import Gone, Receipt, Store, Version
from lwcallbacks.artifacts.delivery import Delivery
from lwcallbacks.artifacts.holding import digest_of, hold
from lwcallbacks.artifacts.ledger import Fate, Ledger, read


class Shop(Store):
    """Does for each delivery what `does` says for its id, and notes it."""

    def __init__(self, name: str = "shop", is_live: bool = True, **does: Callable[[], object]) -> None:
        self.name, self.is_live = name, is_live  # type: ignore[misc]
        self.does: dict[str, Callable[[], object]] = does
        self.came: list[tuple[str, tuple[str, ...]]] = []
        self.contents: list[bytes | None] = []
        self.dropped: list[str] = []
        self.times: list[float] = []

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        self.times.append(time.monotonic())
        self.does.get(version.id, lambda: None)()
        self.came.append((version.id, version.aliases))
        self.contents.append(content.read_bytes() if content is not None else None)
        return Receipt("delivered", f"at/{version.id}")

    def drop(self, version: Version, address: str) -> str:
        self.does.get(f"drop {version.id}", lambda: None)()
        assert address == f"at/{version.id}"
        self.dropped.append(version.id)
        return "deleted"

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.came]


def fails(*errors: Exception) -> Callable[[], None]:
    """Raises them one after the other, and then no more."""
    left = list(errors)

    def call() -> None:
        if left:
            raise left.pop(0)

    return call


class Run:
    """A ledger, a delivery and what it said."""

    def __init__(self, directory: Path, *stores: Shop, waits: tuple[float, ...] = (0.01,), **more: Any) -> None:
        self.ledger = Ledger(directory)
        self.said: list[str] = []
        self.stores = [store.name for store in stores]
        self.delivery = Delivery(self.ledger, stores, say=self.said.append, waits=waits, **more)

    def enter(self, id: str, name: str = "model", aliases: tuple[str, ...] = ("latest",), **more: Any) -> Version:
        """Note a save."""
        version = Version(id, name, more.pop("path", f"/runs/{id}.ckpt"), aliases, {}, **more)
        self.ledger.saved(version, self.stores)
        return version

    def hold(self, version: Version, content: bytes = b"") -> None:
        """Its content is written."""
        source = self.ledger.directory / f"{version.id}.ckpt"
        source.write_bytes(content or version.id.encode())
        self.ledger.held(version.id, hold(source, self.ledger.directory / "held" / version.id))
        source.unlink()
        self.delivery.take(version)

    def save(self, id: str, **more: Any) -> None:
        self.hold(self.enter(id, **more))

    def finish(self, patience: float = 20.0) -> int:
        return self.delivery.finish(patience)

    def end(self, patience: float = 20.0) -> int:
        waiting = self.finish(patience)
        self.ledger.close()
        return waiting

    @property
    def held(self) -> list[str]:
        folder = self.ledger.directory / "held"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lwcallbacks-")])


def test_each_version_comes_once_in_the_order_of_the_saves(tmp_path: Path) -> None:
    """With its content, digest and size; then nothing is held."""
    shop = Shop()
    run = Run(tmp_path, shop)
    for id in "abcde":
        run.save(id)
    assert run.end() == 0
    assert shop.ids == list("abcde")
    assert shop.contents == [id.encode() for id in "abcde"]
    (tmp_path / "a").write_bytes(b"a")
    assert (run.ledger["a"].version.digest, run.ledger["a"].version.size) == digest_of(tmp_path / "a")
    assert run.ledger["a"].fates == {"shop": Fate("delivered", "at/a")}
    assert (run.held, run.said) == ([], [])


def test_who_trains_does_not_wait_for_a_store(tmp_path: Path) -> None:
    """It hangs; saves and removals return."""
    go_on = threading.Event()
    run = Run(tmp_path, Shop(a=go_on.wait))
    run.save("a")
    run.save("b")
    run.delivery.remove("a")
    assert run.delivery.num_waiting == 2
    go_on.set()
    assert run.end() == 0


def test_a_store_is_asked_again_with_longer_and_longer_waits(tmp_path: Path) -> None:
    """It is reported once; nothing else goes ahead meanwhile; after it worked, the waits are short again."""
    errors = [ConnectionError(f"away {i}") for i in range(4)]
    shop = Shop(a=fails(*errors), c=fails(ConnectionError("away")))
    run = Run(tmp_path, shop, waits=(0.02, 0.04, 0.08))
    for id in "abc":
        run.save(id)
    assert run.end() == 0
    assert shop.ids == list("abc")
    gaps = [b - a for a, b in zip(shop.times, shop.times[1:], strict=False)]
    for gap, wait in zip(gaps[:4], (0.02, 0.04, 0.08, 0.08), strict=True):
        assert gap >= wait * 0.99
    assert gaps[-1] >= 0.02 * 0.99
    assert run.said == [
        "shop did not take a checkpoint, and is asked again: ConnectionError: away 0",
        "shop did not take a checkpoint, and is asked again: ConnectionError: away",
    ]


def test_a_store_that_fails_does_not_hold_up_another(tmp_path: Path) -> None:
    """Each has a thread and a fate of its own; the content stays until both have it."""
    closed = threading.Event()
    slow = Shop("slow", a=closed.wait)
    quick = Shop("quick")
    run = Run(tmp_path, slow, quick)
    run.save("a")
    run.save("b")
    until(lambda: quick.ids == ["a", "b"])
    assert run.held == ["a", "b"]
    closed.set()
    assert run.end() == 0
    assert run.held == []


def test_a_version_that_can_never_be_delivered_is_given_up(tmp_path: Path) -> None:
    """It is reported, the others come, and it is not kept."""
    shop = Shop(a=fails(Gone("no room for it")))
    run = Run(tmp_path, shop)
    run.save("a")
    run.save("b")
    assert run.end() == 0
    assert shop.ids == ["b"]
    assert run.ledger["a"].fates["shop"] == Fate("failed", why="no room for it")
    assert run.held == []
    assert run.said == ["model: /runs/a.ckpt was not delivered to shop: no room for it"]


def test_content_that_somebody_has_removed_is_told_of(tmp_path: Path) -> None:
    """Others are delivered all the same."""
    gate = threading.Event()
    shop = Shop(a=gate.wait)
    run = Run(tmp_path, shop)
    for id in "abc":
        run.save(id)
    until(lambda: run.ledger["c"].version.digest)
    shutil.rmtree(tmp_path / "held" / "b")
    gate.set()
    assert run.end() == 0
    assert shop.ids == ["a", "c"]
    assert "its content is gone" in run.said[0]


def test_a_store_that_is_away_at_the_end_costs_the_patience_and_nothing_more(tmp_path: Path) -> None:
    """What it has missed is kept, and delivered by the next run in that folder, or by the command."""
    shop = Shop(b=fails(*[ConnectionError("away")] * 10_000))
    run = Run(tmp_path, shop)
    for id in "abc":
        run.save(id)
    assert run.end(patience=0.2) == 2
    assert run.held == ["b", "c"]
    later = Shop()
    again = Run(tmp_path, later)
    again.save("d")
    assert again.end() == 0
    assert (shop.ids, later.ids) == (["a"], ["b", "c", "d"])
    assert later.contents == [b"b", b"c", b"d"]
    assert again.held == []


def test_there_is_no_end_to_the_patience_while_there_is_progress(tmp_path: Path) -> None:
    """Ten deliveries that take longer together than the patience."""
    run = Run(tmp_path, Shop(**{id: lambda: time.sleep(0.1) for id in "abcdefghij"}))
    for id in "abcdefghij":
        run.save(id)
    assert run.end(patience=0.6) == 0


def test_who_waits_sees_the_progress(tmp_path: Path) -> None:
    """The number that still waits, down to one."""
    run = Run(tmp_path, Shop(**{id: lambda: time.sleep(0.12) for id in "abc"}))
    for id in "abc":
        run.save(id)
    seen: list[int] = []
    assert run.delivery.finish(20, seen.append) == 0
    run.ledger.close()
    assert sorted(seen, reverse=True) == seen
    assert {3, 2, 1} <= set(seen)


def test_a_thread_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    """A store that answers after the end: the ledger may be another run's by then, and says what that has done."""
    gate, shop = threading.Event(), Shop()
    shop.does["a"] = gate.wait
    run = Run(tmp_path, shop)
    run.save("a")
    assert run.end(patience=0.1) == 1
    other = Shop()
    again = Run(tmp_path, other)
    assert again.finish() == 0
    gate.set()
    until(lambda: shop.came)
    until(lambda: not [t for t in threading.enumerate() if t.name == "lwcallbacks-shop"])
    assert other.ids == ["a"]
    assert again.ledger["a"].fates == {"shop": Fate("delivered", "at/a")}
    assert again.held == run.said == []
    again.ledger.close()


def test_an_older_version_never_takes_an_alias_from_a_newer_one(tmp_path: Path) -> None:
    """Its content came later, as from a writer with threads of its own; aliases that nobody else has stay its own."""
    shop = Shop()
    run = Run(tmp_path, shop)
    old = run.enter("old", aliases=("latest", "best", "epoch-1"))
    run.save("new", aliases=("latest", "last", "epoch-2"))
    run.save("other", name="another", aliases=("latest", "best"))
    until(lambda: len(shop.came) == 2)
    run.hold(old)
    assert run.end() == 0
    assert shop.came == [
        ("new", ("latest", "last", "epoch-2")), ("other", ("latest", "best")), ("old", ("best", "epoch-1")),
    ]  # fmt: skip


def test_what_is_removed_before_it_came_comes_and_is_then_dropped(tmp_path: Path) -> None:
    """ "best" was on it in its turn. It is dropped when what was saved before the removal is there, not earlier."""
    gate, shop = threading.Event(), Shop()
    shop.does["a"] = gate.wait
    shop.does["b"] = lambda: shop.came.append((f"dropped {shop.dropped}", ()))
    run = Run(tmp_path, shop)
    run.save("a", aliases=("latest", "best"))
    run.save("b", aliases=("latest", "best"))
    run.delivery.remove("a")
    gate.set()
    assert run.end() == 0
    assert shop.ids == ["a", "dropped []", "b"]
    assert shop.dropped == ["a"]
    assert run.ledger["a"].fates["shop"] == Fate("dropped", "at/a", "deleted")
    assert run.held == []


def test_what_a_store_keeps_is_said_in_the_ledger(tmp_path: Path) -> None:
    """Somebody has an alias on it: it is not asked again."""

    class Keeps(Shop):
        def drop(self, version: Version, address: str) -> str:
            self.dropped.append(version.id)
            return "somebody calls it 'production'"

    shop = Keeps()
    run = Run(tmp_path, shop)
    run.save("a")
    run.save("b")
    run.delivery.remove("a")
    run.delivery.remove("b")
    assert run.end() == 0
    assert sorted(shop.dropped) == ["a", "b"]
    assert run.ledger["a"].fates["shop"].why == "somebody calls it 'production'"


def test_a_removal_that_fails_is_tried_again(tmp_path: Path) -> None:
    """And by the next run, if it never worked."""
    shop = Shop(**{"drop a": fails(ConnectionError("away"))})
    run = Run(tmp_path, shop)
    run.save("a")
    until(lambda: shop.came)
    run.delivery.remove("a")
    assert run.end() == 0
    assert shop.dropped == ["a"]
    again = Run(tmp_path / "x", Shop(**{"drop a": fails(*[ConnectionError("away")] * 1000)}))
    again.save("a")
    again.delivery.remove("a")
    again.end(patience=0.2)
    last = Shop()
    third = Run(tmp_path / "x", last)
    assert third.end() == 0
    assert last.dropped == ["a"]


def test_a_store_that_waits_gets_what_is_wanted_at_the_end(tmp_path: Path) -> None:
    """Nothing before; what the Trainer has removed never comes, and is not held."""
    shop = Shop(is_live=False)
    run = Run(tmp_path, shop)
    for id in "abc":
        run.save(id)
    until(lambda: run.ledger["c"].version.digest)
    run.delivery.remove("b")
    until(lambda: run.held == ["a", "c"])
    assert shop.came == []
    assert run.end() == 0
    assert shop.ids == ["a", "c"]
    assert run.ledger["b"].fates["shop"] == Fate("dropped", "", "removed before it was delivered")


def test_a_store_that_waits_drops_what_a_later_fit_removes(tmp_path: Path) -> None:
    """Of an earlier fit in the same folder, even where nothing else is delivered."""
    shop = Shop(is_live=False)
    run = Run(tmp_path, shop)
    run.save("a")
    assert run.end() == 0
    again = Run(tmp_path, shop)
    again.delivery.remove("a")
    assert again.end() == 0
    assert shop.dropped == ["a"]


def test_a_store_that_cannot_drop_now_is_not_asked(tmp_path: Path) -> None:
    """An offline run whose earlier life was online: it stays in the ledger, and a later delivery drops it."""
    run = Run(tmp_path, Shop())
    run.save("a")
    assert run.end() == 0
    offline = Shop(is_live=False)
    offline.can_drop = False
    again = Run(tmp_path, offline)
    again.delivery.remove("a")
    assert again.end() == 0
    assert offline.dropped == []
    assert [entry.to_drop for entry in read(tmp_path)] == [("shop",)]
    later = Shop()
    assert Run(tmp_path, later).end() == 0
    assert later.dropped == ["a"]


def test_an_address_has_no_content(tmp_path: Path) -> None:
    """It is in a bucket: nothing is held and no digest is worked out."""
    shop = Shop()
    run = Run(tmp_path, shop)
    run.delivery.take(run.enter("a", path="s3://bucket/a.ckpt"))
    assert run.end() == 0
    assert shop.contents == [None]


def test_an_address_that_is_removed_or_saved_to_again_before_it_came(tmp_path: Path) -> None:
    """Nobody holds what was there. The first is as it should be; the other is reported, with what to write."""
    gate, shop = threading.Event(), Shop()
    shop.does |= {"a": gate.wait, "c": fails(Gone("there is nothing there"))}
    run = Run(tmp_path, shop)
    for id, path in [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d"), ("e", "d")]:
        run.delivery.take(run.enter(id, path=f"s3://bucket/{path}.ckpt"))
    run.delivery.remove("b")
    gate.set()
    until(lambda: run.ledger["e"].fates)
    run.delivery.remove("e")
    assert run.end() == 0
    assert shop.ids == ["a", "e"]
    assert shop.dropped == ["e"]
    assert run.ledger["b"].fates["shop"] == Fate("dropped", "", "removed before it was delivered")
    assert [text.partition(": s3")[2] for text in run.said] == [
        "://bucket/c.ckpt was not delivered to shop: there is nothing there",
        "://bucket/d.ckpt was not delivered to shop: a later checkpoint was saved to the same address: save each to one"
        " of its own",
    ]


def test_an_address_that_is_removed_while_the_store_asks_for_it(tmp_path: Path) -> None:
    """It finds nothing: that is no failure."""
    asks, gone = threading.Event(), threading.Event()

    def ask() -> None:
        asks.set()
        gone.wait()
        raise Gone("there is nothing there")

    run = Run(tmp_path, Shop(a=ask))
    run.delivery.take(run.enter("a", path="s3://bucket/a.ckpt"))
    asks.wait()
    run.delivery.remove("a")
    gone.set()
    assert run.end() == 0
    assert run.said == []
    assert run.ledger["a"].fates["shop"] == Fate("dropped", "", "removed before it was delivered")


def test_what_is_removed_keeps_its_aliases_until_one_that_takes_them_is_there(tmp_path: Path) -> None:
    """A store does not drop what is still its best one: that one in between never came is no reason to ask now."""
    first, last, shop = threading.Event(), threading.Event(), Shop()
    shop.does |= {"a": first.wait, "c": last.wait}
    run = Run(tmp_path, shop)
    for id, removed in [("a", ""), ("b", "a"), ("c", "b")]:
        run.delivery.take(run.enter(id, aliases=("latest", "best", id), path=f"s3://bucket/{id}.ckpt"))
        until(lambda: shop.times)
        if removed:
            run.delivery.remove(removed)
    first.set()
    until(lambda: run.ledger["b"].fates)
    time.sleep(0.1)
    assert shop.dropped == []
    last.set()
    assert run.end() == 0
    assert shop.ids == ["a", "c"]
    assert shop.dropped == ["a"]


def test_an_address_that_is_removed_when_an_answer_was_lost(tmp_path: Path) -> None:
    """It may be at the store, which is asked to drop it."""

    class Loses(Shop):
        def deliver(self, version: Version, content: Path | None) -> Receipt:
            super().deliver(version, content)
            run.delivery.remove(version.id)
            raise ConnectionError("the answer is lost")

        def drop(self, version: Version, address: str) -> str:
            self.dropped.append(f"{version.id}{address}")
            return "deleted"

    shop = Loses()
    run = Run(tmp_path, shop)
    run.delivery.take(run.enter("a", path="s3://bucket/a.ckpt"))
    assert run.end() == 0
    assert shop.ids == ["a"]
    assert shop.dropped == ["a"]
    assert run.ledger["a"].fates["shop"] == Fate("dropped", "", "deleted")


def test_a_staged_version_is_kept_for_who_delivers_it(tmp_path: Path) -> None:
    """It does not wait for the run's end, and is no second time given to the store."""

    class Stages(Shop):
        def deliver(self, version: Version, content: Path | None) -> Receipt:
            super().deliver(version, content)
            return Receipt("staged", "run")

    shop = Stages()
    run = Run(tmp_path, shop)
    run.save("a")
    assert run.end() == 0
    assert run.held == ["a"]
    again = Run(tmp_path, shop)
    assert again.end() == 0
    assert shop.ids == ["a"]
    assert again.held == ["a"]


def test_a_process_that_died_between_any_two_lines(tmp_path: Path) -> None:
    """The ledger is cut after each of its lines: the next run delivers what is missing, once, and holds nothing."""
    first = Run(tmp_path / "whole", Shop())
    for id in "abc":
        first.save(id)
    assert first.finish() == 0
    first.delivery.remove("a")
    first.ledger.close()
    lines = (tmp_path / "whole" / "ledger.jsonl").read_text().splitlines(keepends=True)
    for count in range(len(lines) + 1):
        directory = tmp_path / str(count)
        directory.mkdir()
        (directory / "ledger.jsonl").write_text("".join(lines[:count]))
        for id in "abc":  # it is held before that is entered, and let go of before that is
            (directory / "held" / id).mkdir(parents=True)
            (directory / "held" / id / f"{id}.ckpt").write_bytes(id.encode())
        before = [e.version.id for e in read(directory) if "delivered" in {f.state for f in e.fates.values()}]
        there = [e.version.id for e in read(directory) if e.version.content]
        shop = Shop()
        run = Run(directory, shop)
        assert run.end() == 0, lines[:count]
        assert shop.ids == [id for id in there if id not in before]
        assert run.held == []


def test_a_message_that_cannot_be_said_stops_nothing(tmp_path: Path) -> None:
    """Warnings are errors, as in a test: what was to be delivered is, all the same."""

    def say(text: str) -> None:
        raise UserWarning(text)

    shop = Shop(a=fails(ConnectionError("away")), b=fails(Gone("no room")))
    with Ledger(tmp_path) as ledger:
        run = Run.__new__(Run)
        run.ledger, run.stores = ledger, ["shop"]
        run.delivery = Delivery(ledger, [shop], say=say, waits=(0.01,))
        for id in "abc":
            run.save(id)
        assert run.finish() == 0
    assert shop.ids == ["a", "c"]


def test_what_is_held_of_removed_versions_is_bounded(tmp_path: Path) -> None:
    """While a store hangs: the oldest that it is not at are given up, with a word; what is not removed stays."""
    go_on = threading.Event()
    shop = Shop(a=go_on.wait)
    run = Run(tmp_path, shop, staging_limit=25)
    for id in "abcde":
        run.hold(run.enter(id), content=id.encode() * 10)
    until(lambda: run.ledger["e"].version.size == 10 and shop.times)
    for id in "abc":
        run.delivery.remove(id)
    assert run.held == ["a", "c", "d", "e"]
    run.delivery.remove("d")
    assert run.held == ["a", "d", "e"]
    assert [text.partition(" is not delivered")[0] for text in run.said] == ["/runs/b.ckpt", "/runs/c.ckpt"]
    go_on.set()
    assert run.end() == 0
    assert shop.ids == ["a", "d", "e"]
    assert run.held == []


def test_what_is_staged_is_not_given_up(tmp_path: Path) -> None:
    """Something else will deliver it, and needs the content."""

    class Stages(Shop):
        def deliver(self, version: Version, content: Path | None) -> Receipt:
            return Receipt("staged", "run-1")

    run = Run(tmp_path, Stages(), staging_limit=0)
    run.save("a")
    until(lambda: run.ledger["a"].fates)
    run.delivery.remove("a")
    assert run.end() == 0
    assert run.held == ["a"]


@pytest.mark.timeout(60)
def test_a_store_that_only_raises_is_not_waited_for_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose process was killed: patience is for one that is at it."""
    monkeypatch.setattr("lwcallbacks.artifacts.delivery._REFUSING", 0.2)
    run = Run(tmp_path, Shop(a=fails(*[ConnectionError("away")] * 10_000)))
    run.save("a")
    assert run.end(patience=1000.0) == 1
    assert run.held == ["a"]


class Pipe(Shop):
    """Takes three at once: each begun version is there when it is let through, in the order in which it was given."""

    at_once = 3

    def __init__(self, **does: Callable[[], object]) -> None:
        super().__init__("pipe", **does)
        self.begun: list[tuple[str, tuple[str, ...]]] = []
        self.under_way: list[str] = []
        self.lets = threading.Semaphore(0)
        self.aliases: dict[str, str] = {}

    def begin(self, version: Version, content: Path) -> None:
        self.begun.append((version.id, version.aliases))
        self.under_way.append(version.id)

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        self.lets.acquire()
        assert version.id not in self.under_way[1:], "in the order in which it was given"
        if self.under_way[:1] == [version.id]:
            self.under_way.pop(0)
        receipt = super().deliver(version, content)
        self.aliases |= dict.fromkeys(version.aliases, version.id)
        return receipt


def test_a_store_that_keeps_the_order_gets_some_ahead(tmp_path: Path) -> None:
    """Three at a time, never one before another; each is delivered in its turn, once."""
    pipe = Pipe()
    run = Run(tmp_path, pipe)
    for id in "abcdef":
        run.save(id)
    until(lambda: len(pipe.begun) == 3)
    for count in range(6):
        until(lambda count=count: len(pipe.begun) >= min(count + 3, 6))
        assert [id for id, _ in pipe.begun] == list("abcdef")[: len(pipe.begun)]
        assert len(pipe.begun) <= count + 4
        pipe.lets.release()
        until(lambda count=count: len(pipe.came) == count + 1)
    assert run.end() == 0
    assert pipe.ids == list("abcdef")
    assert pipe.aliases == {"latest": "f"}
    assert run.held == []


def test_one_that_fails_takes_no_alias_from_those_that_have_begun(tmp_path: Path) -> None:
    """It is delivered again, with what is its own; nothing else begins until it is there."""
    pipe = Pipe(a=fails(ConnectionError("away"), ConnectionError("away")))
    run = Run(tmp_path, pipe)
    for id in "abcd":
        run.save(id, aliases=("latest", f"epoch-{id}"))
    until(lambda: len(pipe.begun) == 3)
    for _ in range(8):
        pipe.lets.release()
    assert run.end() == 0
    assert pipe.came[0] == ("a", ("epoch-a",))
    assert sorted(pipe.ids) == list("abcd")
    assert pipe.aliases["latest"] == "d"
    assert {alias for _, aliases in pipe.came[1:] for alias in aliases} == {
        "latest", "epoch-b", "epoch-c", "epoch-d",
    }  # fmt: skip


def test_what_it_drops_does_not_hold_up_what_comes(tmp_path: Path) -> None:
    """In a thread of its own, when all that was saved before is there."""
    gate = threading.Event()
    pipe = Pipe(**{"drop a": gate.wait})
    run = Run(tmp_path, pipe)
    for id in "abc":
        run.save(id)
    run.delivery.remove("a")
    for _ in "abc":
        pipe.lets.release()
    until(lambda: pipe.ids == list("abc"))
    assert pipe.dropped == []
    gate.set()
    assert run.end() == 0
    assert pipe.dropped == ["a"]


def test_what_a_killed_process_had_begun_is_not_begun_again(tmp_path: Path) -> None:
    """It may be there: it is delivered, which looks for it; what is saved from then on is begun."""
    first = Pipe()
    run = Run(tmp_path, first)
    run.save("a")
    run.save("b")
    until(lambda: len(first.begun) == 2)
    assert run.end(patience=0.1) == 2
    first.lets.release()
    second = Pipe()
    again = Run(tmp_path, second)
    for _ in "abcd":
        second.lets.release()
    again.save("c")
    assert again.end() == 0
    assert [id for id, _ in second.begun] in (["c"], [])
    assert second.ids == ["a", "b", "c"]
