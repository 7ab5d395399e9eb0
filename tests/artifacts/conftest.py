"""A server for the client of this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.lying import LyingServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingServer]:
    """One that lies where a test says so; the client asks no other one."""
    import wandb

    wandb.teardown()
    with LyingServer() as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        yield made
        wandb.teardown()
