"""A headless Chromium that a test drives by its DevTools protocol, over a pipe: no port, no package.

    with Browser() as browser:
        page = browser.open(path, width=1400, height=900, dark=True)
        page.wait("document.body.dataset.ready")
        page.value("document.title")             # what a script's expression is, as JSON
        page.click("#confusion td.err")
        page.key("ArrowRight")
        page.screenshot(Path("page.png"))
        page.errors                              # what the console and uncaught exceptions said

The protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each with a zero byte behind it;
Chromium reads them from its file descriptor 3 and writes to 4 (`--remote-debugging-pipe`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS = "needs Chromium: see `make test-page`"
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars --remote-debugging-pipe"
    " --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage"
    " --force-color-profile=srgb --js-flags=--expose-gc"
)
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, "Home": 36,
    "End": 35, "PageUp": 33, "PageDown": 34, "Tab": 9, " ": 32,
}  # fmt: skip


class Browser:
    """One process of Chromium with a profile of its own, both gone at the end."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="lwcallbacks-chromium-", ignore_cleanup_errors=True)
        read_commands, self._write = os.pipe()
        self._read, write_answers = os.pipe()

        def pipes() -> None:  # in the child, between fork and exec
            kept = os.dup(read_commands), os.dup(write_answers)
            os.dup2(kept[0], 3)
            os.dup2(kept[1], 4)

        assert CHROMIUM
        command = [CHROMIUM, *SWITCHES.split(), f"--user-data-dir={self._profile.name}", "about:blank"]
        null = subprocess.DEVNULL
        # The parent waits for nothing of the child's but what comes through the pipe.
        self._process = subprocess.Popen(
            command, stdin=null, stdout=null, stderr=null, preexec_fn=pipes, close_fds=False, start_new_session=True
        )
        os.close(read_commands)
        os.close(write_answers)
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close", timeout=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method: str, session: str | None = None, timeout: float = 60, **params: Any) -> dict[str, Any]:
        """The result of a command. Raises RuntimeError with the protocol's message, TimeoutError without an answer."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while number not in self._answers:
            self.listen(deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer to {method} in {timeout} s")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def listen(self, seconds: float) -> None:
        """Take in what comes within so many seconds, until something has come."""
        if not select.select([self._read], [], [], max(0.0, seconds))[0]:
            return
        data = os.read(self._read, 1 << 20)
        if not data:
            raise RuntimeError("Chromium has ended")
        *whole, self._buffer = (self._buffer + data).split(b"\0")
        for line in whole:
            message = json.loads(line)
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.event(message["method"], message["params"])

    def open(self, path: Path | str, width: int = 1400, height: int = 900, dark: bool = False) -> Page:
        """A new tab with a file, or with an address."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.go(path.absolute().as_uri() if isinstance(path, Path) else path)
        return page


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.errors: list[str] = []
        self.asked: list[str] = []
        """Addresses that were asked for."""

    def call(self, method: str, timeout: float = 60, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, timeout, **params)

    def event(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(" ".join(str(value.get("value")) for value in params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What an expression is; a promise is waited for. Raises AssertionError if it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Wait until an expression is true; its value."""
        deadline = time.monotonic() + seconds
        found = f"const found = {condition}; return found instanceof Node ? true : found"  # a node as JSON is {}
        while not (value := self.value(f"(() => {{ try {{ {found} }} catch {{ return null }} }})()")):
            assert time.monotonic() < deadline, f"not true in {seconds} s: {condition}; {self.errors}"
            self._browser.listen(0.02)
        return value

    def text(self, selector: str = "body") -> str:
        """What is seen of an element."""
        return self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def click(self, selector: str) -> None:
        """Scroll to the first such element and click into its middle, once it stays where it is."""
        place = self.value(
            f"""(async () => {{
            let before = "";
            for (let i = 0; i < 50; i++) {{
                const node = document.querySelector({json.dumps(selector)});
                node.scrollIntoView({{block: "center"}});
                const {{left, top, width, height}} = node.getBoundingClientRect();
                const now = [left, top, width, height].join();
                if (now === before) return [left + width / 2, top + height / 2];
                before = now;
                await new Promise(done => setTimeout(done, 40));
            }}
            }})()"""
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, *place)

    def set(self, selector: str, value: str) -> None:
        """Give a control a value, as if a user had."""
        node = f"document.querySelector({json.dumps(selector)})"
        event = "new Event(node.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})"
        self.value(
            f"(() => {{ const node = {node}; node.value = {json.dumps(value)}; node.dispatchEvent({event}) }})()"
        )

    def mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=int(kind != "mouseMoved"))

    def key(self, name: str, times: int = 1) -> None:
        code = KEYS.get(name, ord(name[0].upper()))
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        for _ in range(times):
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.call("Input.dispatchKeyEvent", key=name, windowsVirtualKeyCode=code, **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def screenshot(self, target: Path, whole: bool = False, selector: str | None = None) -> Path:
        """A PNG of what is seen, of the whole page, or of one element."""
        clip: dict[str, Any] = {}
        if selector:
            box = self.value(
                f"""(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();
                const {{x, y, width, height}} = box;
                return {{x: x + scrollX, y: y + scrollY, width, height, scale: 1}}; }})()"""
            )
            clip = {"clip": box, "captureBeyondViewport": True}
        elif whole:
            width, height = self.value("[innerWidth, document.documentElement.scrollHeight]")
            self.size(width, height)
            self.settle(0.6)
        target.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **clip)["data"]))
        return target

    def settle(self, seconds: float = 0.3) -> None:
        """Let the page go on for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._browser.listen(left)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextlib.contextmanager
def opened(path: Path, **how: Any) -> Iterator[Page]:
    """The page of a folder in a browser of its own, once it has been put together."""
    with Browser() as browser:
        page = browser.open(path / "index.html", **how)
        page.wait("document.body.dataset.ready")
        yield page
