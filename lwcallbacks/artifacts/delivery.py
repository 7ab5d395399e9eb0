"""Delivers versions behind the training, in the order of the saves.

    delivery = Delivery(ledger, stores, say=print)
    delivery.take(version)          # its content is held: from any thread, and nobody waits
    delivery.remove(version.id)     # the Trainer has removed its checkpoint
    delivery.finish()               # wait until everything is there; what is not stays in the ledger

One thread works out digests and hands on to one thread for each store. A store gets one version at a time, and the next
one when that is there: a newer version never has its aliases taken away by an older one. A store that keeps the order
itself may get a few ahead (`Store.begin`), and drops in a thread of their own. What a store raises is tried again, with
longer and longer waits; nothing else of that store goes ahead meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from lwcallbacks.artifacts.earlier import mend
from lwcallbacks.artifacts.holding import digest_of, release
from lwcallbacks.artifacts.ledger import Entry, Ledger
from lwcallbacks.artifacts.store import Gone, Receipt, Store
from lwcallbacks.artifacts.version import Version

Work = Callable[[], object]
_FAILURES, _REFUSING = 2, 30.0
"""After so many failures in a row the end of a run waits for a store at most so many seconds."""


class Delivery:
    """Delivers what a ledger has to the stores.

    Args:
        ledger: open for writing. What waits in it from an earlier life of the run is delivered first.
        stores: where every version goes to, each of a name of its own.
        say: gets what goes wrong, in words, from any thread.
        staging_limit: bytes that may be held of versions that the Trainer has removed and a store does not have yet. Of
            more, the oldest are given up.
        waits: seconds to wait before a store is asked again, the last one over and over.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Sequence[Store],
        *,
        say: Callable[[str], object],
        staging_limit: int | None = None,
        waits: Sequence[float] = (1, 2, 5, 10, 30, 60),
    ) -> None:
        self._ledger = ledger
        self._stores = {store.name: store for store in stores}
        self._say = say
        self._staging_limit = staging_limit
        self._under_way: set[str] = set()
        self._sealing = _Line("sealing", waits, say)
        self._beginnings = _Line("beginning", waits, say)
        self._lines = {name: _Line(name, waits, say) for name in self._stores}
        self._drops = {s.name: self._lines[s.name] if s.at_once == 1 else _Line(s.name, waits, say) for s in stores}
        self._new: dict[str, set[str]] = {name: set() for name in self._stores}
        """The versions that a store was never given."""
        self._ahead: dict[str, list[str]] = {name: [] for name in self._stores}
        """The versions that a store has begun with, and that `deliver` was not called for."""
        self._is_failing: set[str] = set()
        self._beginning = threading.RLock()
        mend(ledger)
        for store in stores:
            if store.run:
                ledger.opened(store.name, store.run)
        for entry in ledger.entries:
            self._go_on(entry.version.id)

    def take(self, version: Version) -> None:
        """Deliver a version that is entered in the ledger, and whose content is held unless it is at an address."""
        for new in self._new.values():
            new.add(version.id)
        self._sealing.put(partial(self._seal, version.id))

    def remove(self, id: str) -> None:
        """Drop a version in all stores that are not to keep it."""
        self._ledger.removed(id)
        for name, store in self._stores.items():
            if store.is_live:
                self._drops[name].put(partial(self._drop, name))
            elif name not in self._ledger[id].fates and name in self._ledger[id].stores:
                self._ledger.dropped(id, name, "removed before it was delivered")
        self._release(id)
        self._give_up()

    def finish(self, patience: float = 300.0, progress: Callable[[int], object] | None = None) -> int:
        """Deliver what is left and end the threads.

        Args:
            patience: seconds without any progress after which the rest is left for later; 30 at most where a store
                answers with errors only.
            progress: is called with the number of versions that still wait, several times a second.

        Returns:
            How many versions wait; their contents are kept.
        """
        try:
            self._wait([self._sealing], patience, progress)
            for name, store in self._stores.items():
                if not store.is_live:
                    for entry in self._ledger.entries:
                        if name in entry.waiting and name not in entry.fates and not entry.is_removed:
                            self._put(entry.version.id, name)
                    self._drops[name].put(partial(self._drop, name))
            self._wait([self._beginnings, *self._lines.values(), *self._drops.values()], patience, progress)
        finally:
            self.stop()
        return self.num_waiting

    @property
    def num_waiting(self) -> int:
        """How many versions a store does not have, and is to get."""
        return sum(any(s in self._stores and s not in e.fates for s in e.waiting) for e in self._ledger.entries)

    def stop(self) -> None:
        """End the threads after what they are at; the rest stays in the ledger."""
        for line in (self._sealing, self._beginnings, *self._lines.values(), *self._drops.values()):
            line.stop()

    def _wait(self, lines: Sequence[_Line], patience: float, progress: Callable[[int], object] | None) -> None:
        done, since = -1, time.monotonic()
        while not all(line.is_idle for line in lines):
            count = sum(line.num_done for line in lines)
            if count != done:
                done, since = count, time.monotonic()
            is_refusing = all(line.is_idle or line.num_failures > _FAILURES for line in lines)
            if time.monotonic() - since > (min(patience, _REFUSING) if is_refusing else patience):
                return
            if progress is not None:
                progress(self.num_waiting)
            time.sleep(0.05)

    def _go_on(self, id: str) -> None:
        """Take up a version of an earlier life of the run."""
        entry = self._ledger[id]
        if any(name in entry.waiting and name not in entry.fates for name in self._stores):
            self._sealing.put(partial(self._seal, id))
        for name in entry.to_drop:
            if name in self._stores:
                self._drops[name].put(partial(self._drop, name))

    def _seal(self, id: str) -> None:
        """Work out the digest, and hand on."""
        content = self._ledger.content_of(id)
        if content is not None and self._ledger[id].version.digest is None:
            self._ledger.sealed(id, *digest_of(content))
        for name, store in self._stores.items():
            if store.is_live:
                self._put(id, name)
        self._release(id)

    def _put(self, id: str, name: str) -> None:
        self._lines[name].put(partial(self._deliver, id, name))
        if self._stores[name].at_once > 1:
            self._beginnings.put(partial(self._begin, name))

    def _begin(self, name: str) -> None:
        """Hand over what is next, as far as the store takes it before the first of that is there."""
        store, ahead = self._stores[name], self._ahead[name]
        with self._beginning:
            for entry in self._ledger.entries:
                id, content = entry.version.id, self._ledger.content_of(entry.version.id)
                if name not in entry.waiting or name in entry.fates or id in ahead:
                    continue
                is_ready = entry.version.digest is not None and id in self._new[name]
                if not is_ready or content is None or len(ahead) >= store.at_once or name in self._is_failing:
                    return
                self._new[name].discard(id)
                ahead.append(id)
                self._under_way.add(id)
                with suppress(Exception):  # `deliver` raises it, too, and is heard
                    store.begin(replace(entry.version, aliases=self._still_its(entry, name)), content)

    def _deliver(self, id: str, name: str) -> None:
        self._begin(name)
        entry, content = self._ledger[id], self._ledger.content_of(id)
        if name not in entry.waiting or name in entry.fates:
            return
        is_new = id in self._new[name]
        try:
            self._refuse_what_is_gone(entry, content)
            with self._beginning:
                self._under_way.add(id)
                self._new[name].discard(id)
                version = replace(entry.version, aliases=self._still_its(entry, name))
            receipt = self._stores[name].deliver(version, content)
            self._ledger.delivered(id, name, receipt)
        except Gone as error:
            if entry.version.is_remote and entry.is_removed:  # which is as it should be: nobody holds it
                if is_new:
                    self._ledger.dropped(id, name, "removed before it was delivered")
                else:  # it may be there, as the answer to an earlier call may be lost: it is looked for, and dropped
                    self._ledger.delivered(id, name, Receipt("delivered", ""))
            else:
                self._ledger.failed(id, str(error), store=name)
                self._say(f"{entry.version.name}: {entry.version.path} was not delivered to {name}: {error}")
        except Exception:
            self._is_failing.add(name)
            raise
        finally:
            with self._beginning:
                self._under_way.discard(id)
                if id in self._ahead[name]:
                    self._ahead[name].remove(id)
        self._is_failing.discard(name)
        self._release(id)
        if self._drops[name] is self._lines[name]:
            self._drop(name)
        else:
            self._drops[name].put(partial(self._drop, name))

    def _refuse_what_is_gone(self, entry: Entry, content: Path | None) -> None:
        """What is at an address is held by nobody: by now it may be none, or a later save's."""
        if content is None and not entry.version.is_remote:
            raise Gone("its content is gone")
        if entry.version.is_remote and entry.is_removed:
            raise Gone("its checkpoint was removed")
        entries = self._ledger.entries
        later = entries[entries.index(entry) + 1 :] if entry.version.is_remote else ()
        if any(other.version.path == entry.version.path for other in later):
            raise Gone("a later checkpoint was saved to the same address: save each to one of its own")

    def _still_its(self, entry: Entry, name: str) -> tuple[str, ...]:
        """Its aliases, without those that a store has on a newer version, or gets before this one, which comes late."""
        entries = self._ledger.entries
        newer = [e for e in entries[entries.index(entry) + 1 :] if e.version.name == entry.version.name]
        ahead = () if entry.version.id in self._ahead[name] else self._ahead[name]  # what is ahead comes in its order
        there = [e for e in newer if e.version.id in ahead or (name in e.fates and e.fates[name].address)]
        taken = {alias for e in there for alias in e.version.aliases}
        return tuple(alias for alias in entry.version.aliases if alias not in taken)

    def _drop(self, name: str) -> None:
        """Drop what the Trainer has removed, but not before all that it had saved is there, and has the aliases."""
        if not self._stores[name].can_drop:
            return
        entries = self._ledger.entries
        num_settled = next(
            (i for i, e in enumerate(entries) if name in e.waiting and name not in e.fates), len(entries)
        )
        waiting = [e.version for e in entries if name in e.waiting and name not in e.fates]
        for entry in entries:
            if name in entry.to_drop and entry.removed_after is not None and entry.removed_after <= num_settled:
                version, still_its = entry.version, set(self._still_its(entry, name))
                if any(v.name == version.name and still_its & set(v.aliases) for v in waiting):
                    continue  # what was saved by then has not come to take its aliases, and a later one will
                self._ledger.dropped(version.id, name, self._stores[name].drop(version, entry.fates[name].address))

    def _give_up(self) -> None:
        """Let go of the oldest removed versions that no store has yet, where more is held than is allowed."""
        if self._staging_limit is None:
            return
        entries = [e for e in self._ledger.entries if e.is_removed and not e.is_released and e.version.size]
        held = [e for e in entries if e.waiting and not e.fates.keys() & set(e.waiting)]  # what is staged is needed
        excess = sum(entry.version.size or 0 for entry in held) - self._staging_limit
        for entry in held:
            if excess > 0 and entry.version.id not in self._under_way:
                excess -= entry.version.size or 0
                for name in entry.waiting:
                    self._ledger.dropped(entry.version.id, name, "removed, and given up for want of room")
                self._say(
                    f"{entry.version.path} is not delivered: the Trainer has removed it, and {len(held)} such versions"
                    f" hold more than staging_limit={self._staging_limit} bytes until a store has them"
                )
                self._release(entry.version.id)

    def _release(self, id: str) -> None:
        """Let go of the content when nobody needs it any more."""
        entry, content = self._ledger[id], self._ledger.content_of(id)
        is_sealed = entry.version.digest is not None or entry.version.is_remote
        if is_sealed and not entry.waiting and not entry.is_released and entry.version.content:
            if content is not None:
                release(content)
            self._ledger.released(id)


class _Line:
    """Does one thing after the other in a thread of its own; what fails is tried again before the next."""

    def __init__(self, name: str, waits: Sequence[float], say: Callable[[str], object]) -> None:
        self._name = name
        self._waits = waits
        self._say = say
        self._work: deque[Work] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        self.num_done = 0
        self.num_failures = 0
        """Of what is next, in a row."""

    @property
    def is_idle(self) -> bool:
        return not self._work

    def put(self, work: Work) -> None:
        with self._changed:
            self._work.append(work)
            self._changed.notify()
            if self._thread is None:
                # A daemon: a store that never answers cannot keep the interpreter. The ledger has what is not done.
                self._thread = threading.Thread(target=self._run, name=f"lwcallbacks-{self._name}", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._work and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                work = self._work[0]
            try:
                work()
            except Exception as error:
                if self._ended:
                    return  # what it would have entered may be another run's by now
                if self.num_failures == 0:
                    told = f"{type(error).__name__}: {error}"
                    with suppress(Exception):  # a warning that is an error must not end the thread
                        self._say(f"{self._name} did not take a checkpoint, and is asked again: {told}")
                wait = self._waits[min(self.num_failures, len(self._waits) - 1)]
                self.num_failures += 1
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, wait)
            else:
                self.num_failures = 0
                with self._changed:
                    self._work.popleft()
                    self.num_done += 1
