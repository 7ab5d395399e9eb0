"""A W&B server that says of its versions what a test wants it to say, to the real client.

with LyingServer() as server:
    server.shelve("model", {"epoch=3.ckpt": content})           # someone/digits/model:v0, as lwcallbacks delivers
    server.lies["epoch=3.ckpt"] = {"name": "../../epoch=3.ckpt"}  # of one of its files
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lwcallbacks.artifacts.holding import digest_of
from support.wandb_answers import ENTITY, Version
from support.wandb_server import WandbServer

PROJECT = "digits"


class LyingServer(WandbServer):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.lies: dict[str, dict[str, Any]] = {}

    def shelve(self, name: str, files: Mapping[str, bytes], **metadata: Any) -> Version:
        """Put a version there as if it had been uploaded.

        Args:
            files: their names and contents; all below one folder, or one file.
            metadata: beside "lwcallbacks_id", "digest" and "size"; None in their place leaves them out.
        """
        keys = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
        for file, content in files.items():
            self.blob(keys[file]).write_bytes(content)
        number = len(self.collection(name))
        facts = {"lwcallbacks_id": "1", "digest": digest(files), "size": sum(map(len, files.values())), **metadata}
        facts = {key: value for key, value in facts.items() if value is not None}
        made = Version(
            f"{name}-{number}", PROJECT, name, "model", hashlib.md5(repr(keys).encode()).hexdigest(), "", facts, []
        )
        made.index, made.state, made.files, made.manifest = number, "COMMITTED", keys, f"manifest-{name}-{number}"
        contents = {
            file: {"digest": base64.b64encode(bytes.fromhex(key)).decode(), "size": len(files[file])}
            for file, key in keys.items()
        }
        policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
        self.blob(made.manifest).write_text(json.dumps({"version": 1, **policy, "contents": contents}))
        self.versions.append(made)
        self._move(made, ["latest", "best"])
        return made

    def _files(self, version: Version) -> dict[str, Any]:
        found = super()._files(version)
        for edge in found["edges"]:
            edge["node"].update(self.lies.get(edge["node"]["name"], {}))
        return found


def address(name: str = "model:best") -> str:
    return f"wandb://{ENTITY}/{PROJECT}/{name}"


def saved(state: Any) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def digest(files: Mapping[str, bytes]) -> str:
    """Of the one file, or the one folder, that the names are of."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        [only] = Path(folder).iterdir()
        return digest_of(only)[0]
