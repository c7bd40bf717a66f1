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
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"),
)
PATIENCE_SECONDS = 120.0  # against a hang, not a limit on speed
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; install the package chromium")


FAINT = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    const base = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), base);
  };
  const found = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), element = walk.currentNode.parentElement;
    if (!text || !element.checkVisibility() || ['SCRIPT', 'STYLE', 'OPTION'].includes(element.tagName)) continue;
    const back = behind(element), front = over(rgba(getComputedStyle(element).color), back);
    const [one, other] = [light(back), light(front)].sort((a, b) => b - a), ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found.add(`${ratio.toFixed(2)} <${element.tagName}> ${text.slice(0, 40)}`);
  }
  return [...found];
})()"""


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
        """A page of this size that has loaded; of a watched one, its errors and requests are events. A page that is
        wider than it should be fails here."""
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
        assert (found := page.value("innerWidth")) == width, f"{address} is {found} pixels wide instead of {width}"
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

    def faint(self) -> list[str]:
        """Texts in sight whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3)."""
        return self.value(FAINT)

    def type(self, text: str) -> None:
        """Write where the focus is."""
        self.call("Input.insertText", text=text)
