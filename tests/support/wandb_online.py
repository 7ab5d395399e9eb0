"""Runs of the real W&B client that are online, at a server of the test's own.

with WandbServer() as server, online(server, folder):
    run = start_run()                   # in this process; its wandb-core has ended when the block has
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wandb

from support.wandb_server import WandbServer

FOLDERS = ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR")


def environment(server: WandbServer, folder: Path) -> dict[str, str]:
    """For the client: it finds this server, and writes below this folder only."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
    return kept | own | server.env | {f"WANDB_{name}": str(folder) for name in FOLDERS}


@contextmanager
def online(server: WandbServer, folder: Path) -> Iterator[None]:
    """The client of this process talks to the server in this block."""
    with pytest.MonkeyPatch.context() as patch:
        wandb.finish()  # what an earlier test has started or set would stay
        wandb.teardown()
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in environment(server, folder).items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            wandb.finish()
            wandb.teardown()


def start_run(**settings: Any) -> Any:
    settings = {"silent": True, "console": "off", "x_disable_stats": True, **settings}
    return wandb.init(project="digits", settings=wandb.Settings(**settings))
