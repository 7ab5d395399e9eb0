"""One file from an address to the disk: not more than was announced, and not from another host than was named.

    download(lambda: "https://host/signed", Path("part/epoch=3.ckpt"), size=104_857_600, tick=bar.update)

A download that breaks off goes on where it was. No credentials are sent: W&B's addresses are signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 20
SMALL = 50 * CHUNK
MOST_REDIRECTS = 5
TIMEOUT = 30, 120  # seconds: to connect, and between two bytes
REDIRECTS = 301, 302, 303, 307, 308
AGAIN = 401, 403, 408, 429, 500, 502, 503, 504  # an address that has run out of time is 401 or 403


class NotFetched(OSError):
    """The server did not give it, also not when it was asked again."""


def download(
    address: Callable[[], str],
    target: Path,
    size: int,
    *,
    is_secure: bool = False,
    tick: Callable[[int], object] = lambda num_bytes: None,
    waits: Sequence[float] = (1, 2, 5, 10),
) -> None:
    """Write a file that is not there yet.

    Args:
        address: gives the address, a new one each time it is asked.
        size: the bytes that it has.
        is_secure: whether only https will do.
        tick: is called with the number of bytes that have come.
        waits: seconds before it is asked again.

    Raises:
        ValueError: another scheme than http and https, another host after a redirect, or more bytes than announced.
        NotFetched: it was asked again, and there was no answer, or not all of it.
    """
    import requests

    with target.open("xb") as file, requests.Session() as session:
        session.auth = _nobody  # also not what ~/.netrc has for that host
        for wait in (*waits, None):
            try:
                with _asked(session, address(), file.tell(), is_secure) as answer:
                    why = f"the server answered {answer.status_code}"
                    if answer.status_code in (200, 206):
                        _append(answer, file, size, tick)
                        if file.tell() == size:
                            return
                        why = f"{file.tell():,} of {size:,} bytes came"
                    elif answer.status_code not in AGAIN:
                        raise NotFetched(why)
            except requests.RequestException as error:
                if isinstance(error, ValueError):
                    raise  # the address itself is none
                why = f"{type(error).__name__} after {file.tell():,} of {size:,} bytes"
            if wait is not None:
                time.sleep(wait)
    raise NotFetched(f"{why}; asked {len(waits) + 1} times")


def _append(answer: requests.Response, file: BinaryIO, size: int, tick: Callable[[int], object]) -> None:
    if answer.status_code == 200:  # from the beginning, whatever was asked for
        tick(-file.tell())
        file.seek(0)
        file.truncate()
    for chunk in answer.iter_content(CHUNK):
        if file.tell() + len(chunk) > size:
            raise ValueError(f"the server sends more than the {size:,} bytes that it has announced")
        file.write(chunk)
        tick(len(chunk))


@contextmanager
def progress(what: str, size: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, for what takes a while."""
    from tqdm import tqdm

    is_small = size < SMALL or None  # None: only on a terminal
    with tqdm(total=size, desc=what, unit="B", unit_scale=True, unit_divisor=1024, disable=is_small) as bar:
        yield bar.update


def _asked(session: requests.Session, url: str, start: int, is_secure: bool) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(MOST_REDIRECTS):
        _check(url, is_secure)
        answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False)
        if answer.status_code not in REDIRECTS:
            return answer
        answer.close()
        found = urljoin(url, answer.headers.get("Location", ""))
        if _origin(found) != _origin(url):
            raise ValueError(f"the server redirects from {_origin(url)} to {_origin(found)}, expected no other host")
        url = found
    raise ValueError(f"the server redirects more than {MOST_REDIRECTS} times")


def _check(url: str, is_secure: bool) -> None:
    allowed = ("https",) if is_secure else ("http", "https")
    if urlsplit(url).scheme not in allowed or not urlsplit(url).hostname:
        raise ValueError(f"found the address {_origin(url)}, expected one of {' or '.join(allowed)}")


def _origin(url: str) -> str:
    """Scheme, host and port: what is signed is not for messages.

    >>> _origin("https://host:80/a?signature=b"), _origin("file:///etc/passwd")
    ('https://host:80', 'file://')
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _nobody(request: Any) -> Any:
    return request
