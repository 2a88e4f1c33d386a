"""Drives Chromium over the DevTools protocol: what a page says, asks for and shows."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ABSENT = "no Chromium here: apt-get install chromium"
PATIENCE = 60.0  # seconds for an answer; a busy machine takes long
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
)


def deep(selector: str) -> str:
    """Returns JavaScript for an array of the elements that fit, those in shadow roots included."""
    return (
        "(function all(root) { return [...root.querySelectorAll('*')].flatMap("
        "one => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]); })(document)"
        f".filter(one => one.matches({json.dumps(selector)}))"
    )


class Browser:
    """A browser, which reads commands from one pipe and writes answers to another."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._left = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Sends a command, and returns its result; what happens meanwhile goes to `events`."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": params}
        command |= {"sessionId": session} if session else {}
        os.write(self._writer, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            assert select.select([self._reader], [], [], PATIENCE)[0], "the browser says nothing"
            read = os.read(self._reader, 1 << 20)
            assert read, "the browser has gone"
            self._left += read
        message, _, self._left = self._left.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, address: str, width: int = 1400, dark: bool = False) -> "Page":
        """Opens a page, and waits until it has loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.ask("Emulation.setEmulatedMedia", features=[scheme])
        page.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        page.ask("Page.navigate", url=address)
        page.wait_for("document.readyState == 'complete' && location.href != 'about:blank'")
        return page


class Page:
    """A page in a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command to this page, and returns its result."""
        return self._browser.ask(method, self._session, **params)

    def evaluate(self, script: str) -> Any:
        """Returns the value of an expression in JavaScript; waits for a promise."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.ask("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Returns the value of an expression as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (found := self.evaluate(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)
        return found

    def _events(self, method: str) -> Iterator[dict[str, Any]]:
        for event in self._browser.events:
            if event.get("sessionId") == self._session and event["method"] == method:
                yield event["params"]

    def complaints(self, *levels: str) -> list[str]:
        """Returns what the console has of some levels, and exceptions that nobody caught.

        Args:
            levels: by default errors and warnings.
        """
        levels = levels or ("error", "warning", "assert")
        said = [
            json.dumps(call["args"])
            for call in self._events("Runtime.consoleAPICalled")
            if call["type"] in levels
        ]
        said += [
            entry["entry"]["text"]
            for entry in self._events("Log.entryAdded")
            if entry["entry"]["level"] in levels
        ]
        thrown = self._events("Runtime.exceptionThrown")
        return [*said, *(one["exceptionDetails"]["text"] for one in thrown)]

    @property
    def requests(self) -> list[str]:
        """Returns the addresses that the page asked for; `data:` asks nobody."""
        sent = (one["request"]["url"] for one in self._events("Network.requestWillBeSent"))
        return [address for address in sent if not address.startswith("data:")]

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """Writes the whole page as a PNG, or so many pixels from its top."""
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"clip": clip} if height else {}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, **options)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """Writes the page as it is printed."""
        printed = self.ask("Page.printToPDF", printBackground=True)
        path.write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Starts a browser with a profile of its own, and ends it."""
    its_input, writer = os.pipe()
    reader, its_output = os.pipe()
    # The protocol is spoken over the file descriptors 3 and 4.
    shell = ["bash", "-c", f'exec "$@" 3<&{its_input} 4>&{its_output}', "bash"]
    words = [*shell, str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        words,
        pass_fds=(its_input, its_output),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_input)
    os.close(its_output)
    browser = Browser(reader, writer)
    try:
        yield browser
    finally:
        browser.ask("Browser.close")
        process.wait(PATIENCE)
        os.close(reader)
        os.close(writer)
