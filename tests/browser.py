"""A real browser for tests of pages: Chromium, spoken to through a pipe in its own protocol, without any driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
PATIENCE_SECONDS = 120.0  # against a hang, not a limit on speed
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; install the package chromium")


class Browser:
    """One browser with any number of pages (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, folder: Path) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # The browser reads commands from 3 and writes answers to 4.
        start = f'exec "$@" 3<&{commands} 4>&{answers}'
        options = ["--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", start, "bash", str(CHROMIUM), *FLAGS, *options],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []  # of pages that asked for them

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if "method" in answer:
                self.events.append(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(
        self, address: str, *, width: int = 1200, height: int = 900, dark: bool = False, watched: bool = False
    ) -> Page:
        """A page of this size that has loaded; of a watched one, its errors and requests are events."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        for domain in ("Log", "Runtime", "Network") if watched else ():
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=address)
        page.until("location.href !== 'about:blank' && document.readyState === 'complete'")
        return page

    def _read(self) -> bytes:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return message


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command about this page."""
        return self._browser.call(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """What the expression is, in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def troubles(self, own: str) -> list[str]:
        """Of a watched page: errors in its console, exceptions, and requests to addresses that begin unlike ``own``."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            name, facts = event["method"], event["params"]
            if name == "Log.entryAdded" and facts["entry"]["level"] == "error":
                found.append(facts["entry"]["text"])
            elif name == "Runtime.exceptionThrown":
                found.append(str(facts["exceptionDetails"]))
            elif name == "Network.requestWillBeSent" and not facts["request"]["url"].startswith((own, "data:")):
                found.append(facts["request"]["url"])
        return found

    def until(self, expression: str) -> Any:
        """Wait until the expression is true; its value."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"never: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.02)
        return found

    def press(self, key: str) -> None:
        """Press a key and let it go: a letter, or `Escape`."""
        said = {"text": key} if len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": ord(key.upper()) if len(key) == 1 else 27}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def type(self, text: str) -> None:
        """Write where the focus is."""
        self.call("Input.insertText", text=text)
