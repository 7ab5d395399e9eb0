"""One file from an address: all of it, no more, and from nowhere else."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lwcallbacks.artifacts.download import NotFetched, download

CONTENT = bytes(range(256)) * 20_000
Answer = Callable[[BaseHTTPRequestHandler], None]


class Host:
    """A host whose answers a test gives, one after the other; the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                host.asked.append(dict(self.headers))
                (host.answers.pop(0) if len(host.answers) > 1 else host.answers[0])(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def host() -> Iterator[Callable[..., Host]]:
    """Makes hosts."""
    hosts: list[Host] = []

    def make(*answers: Answer) -> Host:
        hosts.append(Host(*answers))
        return hosts[-1]

    yield make
    for one in hosts:
        one.server.shutdown()
        one.server.server_close()


def answer(status: int = 200, body: bytes = b"", length: int | None = None, **headers: str) -> Answer:
    """Sends that; with a length that is not the body's, the connection is cut there."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def rest(handler: BaseHTTPRequestHandler) -> None:
    """From the byte that is asked for on."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"])
    assert asked
    answer(206, CONTENT[int(asked[1]) :])(handler)


def get(url: str, target: Path, size: int = len(CONTENT), **options: Any) -> None:
    download(lambda: url, target, size, waits=(0, 0), **options)


def test_a_download_that_is_cut_goes_on_where_it_was(host: Callable[..., Host], tmp_path: Path) -> None:
    """From a server that can; from another one it begins again. The bar shows what is there."""
    cut = answer(body=CONTENT[: 2 << 20], length=len(CONTENT))
    for again in (rest, answer(body=CONTENT)):
        made = host(cut, again)
        target, ticks = tmp_path / made.url[-5:], list[int]()
        get(made.url, target, tick=ticks.append)
        assert target.read_bytes() == CONTENT
        assert sum(ticks) == len(CONTENT)
        assert made.asked[1]["Range"] == "bytes=2097152-"


def test_a_server_that_is_busy_is_asked_again(host: Callable[..., Host], tmp_path: Path) -> None:
    """By a new address, since the old one may have run out; what it says in place of the file is not written."""
    made, names = host(answer(503, b"busy"), answer(403, b"late"), answer(body=b"")), list("abc")
    download(lambda: f"{made.url}/{names.pop(0)}", tmp_path / "x", 0, waits=(0, 0))
    assert ((tmp_path / "x").read_bytes(), names) == (b"", [])


@pytest.mark.parametrize(
    ("answers", "told", "times"),
    [
        ([answer(503)], "answered 503; asked 3 times", 3),
        ([answer(404)], "answered 404", 1),
        ([answer(body=b"abc")], r"3 of 5,120,000 bytes came; asked 3 times", 3),
        ([lambda handler: handler.connection.close()], "Error after 0 of", 3),
    ],
)
def test_what_does_not_come_is_an_error(
    answers: list[Answer], told: str, times: int, host: Callable[..., Host], tmp_path: Path
) -> None:
    """It says what came, and how often it was asked for."""
    made = host(*answers)
    with pytest.raises(NotFetched, match=told):
        get(made.url, tmp_path / "x")
    assert len(made.asked) == times


def test_another_host_is_not_asked(host: Callable[..., Host], tmp_path: Path) -> None:
    """Where the server redirects to one, or to another port, or to a file of this machine."""
    other = host(answer(body=CONTENT))
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for place in (f"{other.url}/x", other.url.replace("http:", "https:"), secret.as_uri(), "//example.invalid/x"):
        made = host(answer(302, Location=place))
        with pytest.raises(ValueError, match=r"redirects from http://127\.0\.0\.1:\d+ to .*, expected no other host"):
            get(made.url, tmp_path / made.url[-5:])
    assert other.asked == []


def test_the_same_host_may_redirect(host: Callable[..., Host], tmp_path: Path) -> None:
    """A few times."""
    made = host(answer(307, Location="/elsewhere"), answer(body=CONTENT))
    get(made.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(ValueError, match="more than 5 times"):
        get(host(answer(307, Location="/x")).url, tmp_path / "y")


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/etc/hostname", "", "http://", "http:///x"]
)
def test_only_http_is_asked(url: str, tmp_path: Path) -> None:
    """And only https where the server itself is asked by https."""
    with pytest.raises(ValueError, match="expected one of http or https"):
        get(url, tmp_path / "x")


def test_a_secure_server_leads_to_no_other_kind(host: Callable[..., Host], tmp_path: Path) -> None:
    """Nobody on the way may read it or change it."""
    made = host(answer(body=CONTENT))
    with pytest.raises(ValueError, match="expected one of https"):
        get(made.url, tmp_path / "x", is_secure=True)
    assert made.asked == []


def test_more_than_was_announced_is_not_written(host: Callable[..., Host], tmp_path: Path) -> None:
    """A server cannot fill the disk."""
    with pytest.raises(ValueError, match="more than the 1,000 bytes"):
        get(host(answer(body=CONTENT)).url, tmp_path / "x", size=1000)
    assert (tmp_path / "x").stat().st_size <= 1000


def test_no_credentials_are_sent(host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even those that ~/.netrc has for the host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    made = host(answer(body=CONTENT))
    get(made.url, tmp_path / "x")
    assert "Authorization" not in made.asked[0]


def test_a_file_that_is_there_is_not_written_over(host: Callable[..., Host], tmp_path: Path) -> None:
    """Nor what a link leads to."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "link"):
        with pytest.raises(FileExistsError):
            get(host(answer(body=CONTENT)).url, tmp_path / name)
    assert (tmp_path / "mine").read_text() == "mine"
