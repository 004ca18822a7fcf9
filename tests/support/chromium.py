"""Debian's Chromium, without a window: pages at a width, in light or dark, with or without JavaScript, and pictures.

It is driven over two pipes with the browser's own protocol (https://chromedevtools.github.io/devtools-protocol).
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 800
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--lang=en",
)  # fmt: skip


def find_browser() -> str | None:
    """The program; None: there is none on this machine."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, pipes: tuple[int, int], session: str) -> None:
        self._pipes = pipes
        self._session = session
        self._calls = 0
        self._rest = b""
        self._events: list[str] = []

    def call(self, method: str, **params: Any) -> Any:
        """Call the browser, and wait for its answer."""
        self._calls += 1
        self._send({"id": self._calls, "method": method, "params": params})
        while (answer := self._receive()).get("id") != self._calls:
            self._events.append(answer.get("method", ""))
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def open(self, url: str, width: int, *, dark: bool = False, script: bool = True) -> None:
        """Load a page, and wait until it is complete."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._receive().get("method", ""))

    def follow(self, script: str) -> None:
        """Run what makes the browser load another page, and wait until that is complete."""
        self._events.clear()
        self.run(f"{script}; 0")
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._receive().get("method", ""))

    def run(self, script: str) -> Any:
        """What a JavaScript expression, or its promise, comes to."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, *, whole: bool = True, height: int = HEIGHT) -> bytes:
        """A PNG of the page, or of its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"] if whole else height, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def _send(self, message: Mapping[str, Any]) -> None:
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._pipes[1], json.dumps({**message, **session}).encode() + b"\0")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._pipes[0], 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """A browser with one page, ended afterwards."""
    commands, answers = os.pipe(), os.pipe()
    profile = Path(tempfile.mkdtemp(prefix="pinrail-browser-"))
    # The browser reads from descriptor 3 and writes to 4.
    shell = 'exec 3<&0 4>&1 0</dev/null 1>/dev/null; exec "$@"'
    argv = ["sh", "-c", shell, "sh", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(argv, stdin=commands[0], stdout=answers[1], stderr=subprocess.DEVNULL)
    os.close(commands[0])
    os.close(answers[1])
    try:
        root = Page((answers[0], commands[1]), "")
        targets = root.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        session = root.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page((answers[0], commands[1]), session)
        page.call("Page.enable")
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(answers[0])
        os.close(commands[1])
        shutil.rmtree(profile, ignore_errors=True)
