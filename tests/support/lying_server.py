"""A W&B server on loopback from which versions are only read, and which says what a test wants it to say.

    with LyingServer() as server:
        server.files = [Given("epoch=3.ckpt", content)]
        server.metadata = {"lwcallbacks_id": "1", "digest": "sha256:..."}
        with server.env(monkeypatch): lw.checkpoint_path("wandb://me/digits/model:best")

The real wandb client asks it. The questions are counted by the name of the GraphQL query or the path.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest

ENTITY, PROJECT = "me", "digits"


@dataclass(frozen=True)
class Given:
    """A file of the version.

    Args:
        name: as the server says it.
        content: what it sends.
        url: from where; its own address if left out.
        size: as the server says it; that of the content if left out.
        ref: what the manifest refers to.
    """

    name: str
    content: bytes = b""
    url: str | None = None
    size: int | None = None
    ref: str | None = None
    md5: str | None = None

    @property
    def digest(self) -> str:
        return self.md5 or base64.b64encode(hashlib.md5(self.content, usedforsecurity=False).digest()).decode()


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def send(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def send_asked(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """All of it, or from where it is asked for on."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    send(handler, content[int(asked[1]) :], 206) if asked else send(handler, content)


class LyingServer:
    """Has one version, ME/DIGITS/<any name>:v3."""

    def __init__(self) -> None:
        self.files: list[Given] = []
        self.metadata: dict[str, Any] = {}
        self.aliases = ["latest", "best"]
        self.questions: Counter[str] = Counter()
        self.used: list[str] = []
        self.answer: Answer = send_asked  # to a download
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def let_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the client of this process ask this server."""
        monkeypatch.setenv("WANDB_BASE_URL", self.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                server.questions[name[1] if name else "?"] += 1
                data = server._data(name[1] if name else "?", asked.get("variables") or {}, asked["query"])
                send(self, json.dumps({"data": data}).encode(), Content_Type="application/json")

            def do_GET(self) -> None:
                server.questions[self.path] += 1
                if self.path == "/manifest":
                    send(self, json.dumps(server._manifest()).encode())
                elif self.path.startswith("/file/"):
                    server.answer(self, server.files[int(self.path.split("/")[2])].content)
                else:
                    send(self, b"", 404)

        return Handler

    def _data(self, query: str, variables: dict[str, Any], text: str) -> Any:
        project = {"id": "p", "internalId": "p", "name": PROJECT, "entity": {"name": ENTITY}}
        match query:
            case "Viewer" | "GetDefaultEntity":
                return {
                    "viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "teams": {"edges": []}, "flags": "{}"}
                }
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "ArtifactMembershipByName":
                name = variables["name"].partition(":")[0]
                collection = {"__typename": "ArtifactSequence", "name": name, "project": project}
                aliases = [{"__typename": "ArtifactAlias", "id": a, "alias": a} for a in self.aliases]
                artifact = {
                    "__typename": "Artifact", "id": "QXJ0aWZhY3Q6MQ==", "artifactSequence": collection,
                    "versionIndex": 3,
                    "artifactType": {"name": "model"}, "description": None, "metadata": json.dumps(self.metadata),
                    "ttlDurationSeconds": -2, "ttlIsInherited": False, "tags": [], "historyStep": None,
                    "state": "COMMITTED", "size": 1, "digest": hashlib.md5(repr(self.files).encode()).hexdigest(),
                    "digestAlgorithm": "MANIFEST_MD5", "commitHash": "c", "fileCount": len(self.files),
                    "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None,
                    "aliases": [{**a, "artifactCollection": collection} for a in aliases],
                }  # fmt: skip
                return {"project": {"artifactCollectionMembership": {
                    "__typename": "ArtifactCollectionMembership", "id": "m", "versionIndex": 3,
                    "createdAt": "2026-01-01T00:00:00Z", "aliases": aliases, "artifactCollection": collection,
                    "artifact": artifact,
                }}}  # fmt: skip
            case "ArtifactMembershipFiles" | "GetArtifactMembershipFileUrls":
                wanted = variables.get("fileNames")
                edges = [{"node": self._node(i)} for i, f in enumerate(self.files) if not wanted or f.name in wanted]
                page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
                files = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
                return {"project": {"artifactCollection": {
                    "__typename": "ArtifactSequence", "artifactMembership": {"files": files}}}}  # fmt: skip
            case "FetchArtifactManifest":
                return {"artifact": {"currentManifest": {"file": {"directUrl": f"{self.url}/manifest"}}}}
            case "UseArtifact":
                self.used.append(variables["artifactID"])
                return {"useArtifact": {"artifact": {"id": variables["artifactID"]}}}
        return {}

    def _node(self, index: int) -> dict[str, Any]:
        file = self.files[index]
        url = file.url or file.ref or f"{self.url}/file/{index}"
        size = len(file.content) if file.size is None else file.size
        return {
            "__typename": "File", "id": str(index), "name": file.name, "url": url, "directUrl": url, "sizeBytes": size,
            "storagePath": "", "mimetype": "", "updatedAt": None, "digest": file.digest, "md5": file.digest,
        }  # fmt: skip

    def _manifest(self) -> dict[str, Any]:
        contents = {
            file.name: {"digest": file.digest, "size": len(file.content)} | ({"ref": file.ref} if file.ref else {})
            for file in self.files
        }
        return {
            "version": 1, "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"}, "contents": contents,
        }  # fmt: skip
