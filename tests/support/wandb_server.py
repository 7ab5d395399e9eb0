"""A W&B server on loopback, as far as the real client talks to one about runs and artifacts.

    with WandbServer() as server:
        subprocess.run([sys.executable, "train.py"], env=os.environ | server.env)
        server.version("digits:best").metadata["epoch"]
        server.calls                                # ["Viewer", "UpsertBucket", ..., "PUT blobs", "CommitArtifact"]

Faults are put in line, and each is met by the first request that it is for:

    server.break_next("CommitArtifact", "500", times=2)
    server.break_next("PUT blobs", "cut")           # half of the body is read, then the connection is closed
    server.delay = 0.5                              # seconds before each answer
    server.down(); server.up()                      # on the same port, with all that it had

A call's name is that of its GraphQL operation, or its HTTP method and the first part of its path: "PUT blobs" is an
upload of content, "GET blobs" its download.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.wandb_answers import Answers

FAULTS = ("500", "cut", "hang", "wrong", "redirect")


class WandbServer(Answers):
    """See the module.

    Args:
        deduplicates: whether content that an artifact has already becomes no version of its own.
    """

    def __init__(self, *, deduplicates: bool = True) -> None:
        super().__init__(deduplicates=deduplicates)
        self.delay = 0.0
        self.elsewhere = "http://127.0.0.1:9"
        """Where "redirect" leads to."""
        self.calls: list[str] = []
        self.go_on = threading.Event()
        """Lets requests that hang go on."""
        self._faults: list[tuple[str, str]] = []
        self._port = 0
        self._http: _Http | None = None

    def __enter__(self) -> WandbServer:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        shutil.rmtree(self.folder, ignore_errors=True)  # a request may still write

    def up(self) -> None:
        self._http = _Http(("127.0.0.1", self._port), _Handler)
        self._http.of = self
        self._port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Stop as if killed: requests under way are cut."""
        if self._http is not None:
            self._http.stop()
            self._http = None
        self.go_on.set()

    @property
    def env(self) -> dict[str, str]:
        """What the client has to find in its environment. It waits for 2 s and more before it asks again."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}

    def break_next(self, call: str, how: str, times: int = 1) -> None:
        """Let the next requests of that name, or of any where it is "*", go wrong.

        Args:
            how: "500": that status. "cut": the connection is closed, after half of the request's body. "hang": nothing
                is read or answered until `go_on` is set. "wrong": a download has another byte in it. "redirect": a
                download is elsewhere.
        """
        assert how in FAULTS, how
        with self._lock:
            self._faults += [(call, how)] * times

    def fault(self, call: str) -> str:
        """The fault that this request meets, which is then done with; or ""."""
        with self._lock:
            self.calls.append(call)
            for i, (of, how) in enumerate(self._faults):
                if of in (call, "*"):
                    del self._faults[i]
                    return how
        return ""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    of: WandbServer

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, address: Any) -> None:
        self._open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, address: Any) -> None:
        """The client has gone away, which is no error of a test."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body() if self._place[0] == "graphql" else b""
        if body is None:
            return
        if not body:
            self._meet(f"POST {self.path.rpartition('/')[2]}", self._read_on)
            return
        request = json.loads(body)
        name = request.get("operationName") or re.findall(r"(?:query|mutation)\s+(\w+)", request["query"])[0]
        self._meet(name, lambda: self._graphql(name, request))

    def do_PUT(self) -> None:
        self._meet(f"PUT {self._place[0]}", self._store)

    def do_GET(self) -> None:
        self._meet(f"GET {self._place[0]}", self._send_blob)

    do_HEAD = do_GET

    @property
    def _place(self) -> list[str]:
        return self.path.partition("?")[0].strip("/").split("/")

    def _meet(self, call: str, answer: Callable[[], None]) -> None:
        """Answer, unless a fault is in line for this call."""
        fault = self.server.of.fault(call)
        time.sleep(self.server.of.delay)
        if fault == "hang":
            self.server.of.go_on.wait(60)
        if fault == "cut":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2 if self.command == "PUT" else 0)
            self._cut()
        elif fault == "500":
            if self.path != "/graphql":
                self._body()
            self._answer(b"{}", 500)
        elif fault == "redirect":
            self._answer(b"", 302, {"Location": f"{self.server.of.elsewhere}{self.path}"})
        elif fault == "wrong":
            self._send_blob(wrong=True)
        else:
            answer()

    def _graphql(self, name: str, request: Mapping[str, Any]) -> None:
        try:
            data = self.server.of.answer(name, request["query"], request.get("variables") or {})
            answer: dict[str, Any] = {"data": data}
        except Exception as error:
            answer = {"errors": [{"message": f"{type(error).__name__}: {error}"}], "data": None}
        self._answer(json.dumps(answer).encode())

    def _read_on(self) -> None:
        self._body()
        self._answer(b"{}")

    def _store(self) -> None:
        """Keep a file, once all of it is here and is what its name says."""
        key = self._place[-1]
        checksum = hashlib.md5()
        with tempfile.NamedTemporaryFile(dir=self.server.of.folder, delete=False) as file:
            left = int(self.headers.get("Content-Length") or 0)
            while left and (part := self.rfile.read(min(left, 2**20))):
                left -= len(part)
                checksum.update(part)
                file.write(part)
        whole = not left and (key.startswith("manifest-") or checksum.hexdigest() == key)
        if self._place[0] == "blobs" and whole:
            Path(file.name).replace(self.server.of.blob(key))
        else:
            Path(file.name).unlink()
        if left:
            self._cut()
        else:
            self._answer(b"", 200 if whole or self._place[0] != "blobs" else 400)

    def _send_blob(self, wrong: bool = False) -> None:
        path = self.server.of.blob(self._place[-1])
        if self._place[0] != "blobs" or not path.is_file():
            self._answer(b"", 404)
            return
        size = path.stat().st_size
        self._head(200, size)
        if self.command != "HEAD":
            with path.open("rb") as file:
                if wrong:
                    self.wfile.write(bytes([file.read(1)[0] ^ 1]))
                shutil.copyfileobj(file, self.wfile)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
