"""Images that a run of MLflow's has, as its page finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image


def images_of(client: Any, run_id: str) -> dict[tuple[str, int], np.ndarray]:
    """Pixels uint8 by key and step."""
    found = {}
    for item in client.list_artifacts(run_id, "images"):
        if item.path.endswith(".png"):
            match = re.fullmatch(r"images/(.+?)\+step\+(\d+)\+timestamp.+", item.path)
            assert match is not None, item.path
            path = Path(client.download_artifacts(run_id, item.path))
            found[match[1].replace("~", "/"), int(match[2])] = np.asarray(PIL.Image.open(path))
    return found
