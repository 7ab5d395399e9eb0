"""Where versions are delivered to.

    class Shelf(Store):
        name = "shelf"

        def deliver(self, version, content):
            copy(content, self.folder / version.id)
            return Receipt("delivered", str(self.folder / version.id))

A store is used from one thread at a time, which is none that trains, unless it says otherwise (`at_once`). What it
raises is tried again later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal

from lwcallbacks.artifacts.version import Version

MOVING = ("latest", "best", "last")
"""Aliases that leave a version when another one gets them: one that still has such an alias is not dropped."""


class Gone(Exception):
    """A version can't be delivered, now or later: its content is no longer there, or not what it was."""


@dataclass(frozen=True)
class Receipt:
    """What has become of a version in a store.

    Args:
        state: "delivered": the store has all of it. "staged": it will be delivered by something else, which needs the
            content where it is until then.
        address: how the store calls it: for W&B "entity/project/name:v3", or the run's folder where it is staged.
    """

    state: Literal["delivered", "staged"]
    address: str


class Store(ABC):
    """Keeps versions for later."""

    name: ClassVar[str] = ""
    """How the ledger and messages call it."""

    is_live: bool = True
    """Whether versions are delivered as they come. Else at the end of the run, those that are still wanted then."""

    run: str = ""
    """How the store calls the run that it delivers for, where a later delivery has to know: the ledger notes it."""

    at_once: int = 1
    """How many versions it takes before the first of them is there: more than 1 where it has a `begin`, which is then
    called from other threads than `deliver`, and so is `drop`."""

    can_drop: bool = True
    """Whether it can drop anything now. Else what is to be dropped stays in the ledger, for a later delivery."""

    retention: timedelta | None = None
    """How long what is dropped is still kept, where the store can delete later; None: it is deleted at once. Set before
    the first call."""

    @abstractmethod
    def deliver(self, version: Version, content: Path | None) -> Receipt:
        """Deliver a version, and wait until it is there completely.

        Called in the order of the saves. Called again for a version that may be there, in part or whole, when the
        process ended before this returned: then it must be there once.

        Args:
            version: what is delivered, with the aliases that it has from now on. They leave an older version.
            content: a file or folder that nobody writes to; None if `version.path` is an address.

        Raises:
            Gone: trying again would not help.
            Exception: anything else: it is tried again.
        """

    def begin(self, version: Version, content: Path) -> None:  # noqa: B027 - a store need not have it
        """Begin to deliver a version while earlier ones are on their way; `deliver` is called for it in its turn.

        Called in the order of the saves, for versions that the store was never given. It must keep that order: none is
        there, or has its aliases, before those that it was given earlier. It does not wait. When an earlier one has
        failed, that one is delivered again, without the aliases of those that have begun.
        """

    def drop(self, version: Version, address: str) -> str:
        """Remove a version that the Trainer has removed, unless somebody has a use for it.

        Args:
            address: what `deliver` has given, to this run or to one that this one goes on from. Empty where that run
                did not know yet: then it is found by its id, or it is not there.

        Returns:
            "deleted", or in a few words why it is kept.
        """
        return f"{self.name} keeps all versions"

    def refuses(self, version_path: str) -> str | None:
        """Why no version from this path can be delivered, in words that say what to write; None if it can.

        Args:
            version_path: a path or an address; "" asks whether anything at all can be.
        """
        return None
