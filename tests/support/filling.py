"""What fills a content of the cache, in this process or in others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lwcallbacks.artifacts.cache import Cache


class Filling:
    """Fills a content, and counts."""

    def __init__(self, size: int = 100) -> None:
        self.size, self.times = size, 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.times += 1
        folder.mkdir()
        (folder / "a").write_bytes(bytes(self.size))
        return {"number": self.times}


def gets(folder: Path, key: str, ready: Any) -> None:
    """In a process of its own: once all are ready, get a content that takes a while to fill."""

    def fill(target: Path) -> dict[str, Any]:
        with (folder / "fills").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return Filling()(target)

    ready.wait()
    Cache(folder / "cache", 1000).get(key, 100, fill)
