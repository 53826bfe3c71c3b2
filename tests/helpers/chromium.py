"""A Chromium without a window, told what to do through its debugging pipe."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}

# Chromium reads commands from file 3 and answers to file 4; what is passed may have these numbers, crosswise.
_LAUNCH = """
import os, sys
for place, number in enumerate(sys.argv[1:3]):
    os.dup2(int(number), 100 + place)
for place in range(2):
    os.dup2(100 + place, 3 + place)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One page of a browser of its own; a context manager.

    Attributes:
        errors: what its pages threw or logged as an error.
        requests: addresses that were asked for, those in the page itself aside.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        flags = ["--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--remote-debugging-pipe"]
        flags += ["--disable-background-networking", "--mute-audio", f"--user-data-dir={folder / 'profile'}"]
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        launch = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), program, *flags, "about:blank"]
        self._process = subprocess.Popen(
            launch, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        target = next(item for item in self.send("Target.getTargets")["targetInfos"] if item["type"] == "page")
        attached = self.send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        # Without it, no element of a page in the background is told of its focus.
        self.send("Emulation.setFocusEmulationEnabled", {"enabled": True})
        self.send("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(self.downloads)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, params: Mapping[str, Any] | None = None, until: str = "") -> dict[str, Any]:
        """Send a command and return its result, after the event ``until``, where one is named."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": dict(params or {})}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        result: dict[str, Any] | None = None
        waiting = bool(until)
        while result is None or waiting:
            answer = self._receive()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result = answer["result"]
            waiting = waiting and answer.get("method") != until
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 2**20)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        params = answer.get("params", {})
        if answer.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif answer.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif answer.get("method") == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.requests.append(address)
        return answer

    def open(self, path: Path, address: str = "", size: tuple[int, int] = (1280, 900)) -> None:
        """Open a file, at an address within it, in a window of ``size``, and wait until it has loaded."""
        # A change of the address alone would not load the page again.
        self.send("Page.navigate", {"url": "about:blank"}, until="Page.loadEventFired")
        self.resize(size)
        self.send("Page.navigate", {"url": f"{path.as_uri()}{address}"}, until="Page.loadEventFired")

    def resize(self, size: tuple[int, int]) -> None:
        """Set the size of the window; a narrow one is a telephone's."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", metrics)

    def dark(self, dark: bool) -> None:
        """Say which theme the reader prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", {"features": features})

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, wait for a promise, and return its value."""
        params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.send("Runtime.evaluate", params)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text of an element as it is shown, once it is drawn: what is not laid out has none."""
        self.settle()
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def settle(self) -> None:
        """Wait until the page has drawn what was asked for last."""
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")

    def axe(self) -> list[list[str]]:
        """Return what axe finds wrong in the page as it stands, each a rule and the first element that breaks it.

        Skips the test where axe is not installed.
        """
        found = importlib.util.find_spec("axe_core_python")
        if found is None or found.origin is None:
            pytest.skip("axe-core-python is not installed: see requirements-dev.txt")
        if not self.run("'axe' in window"):
            self.run(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8") + "; 0")
        told: list[list[str]] = self.run(
            "axe.run(document).then((all) => all.violations.map((item) => [item.id, item.nodes[0].html]))"
        )
        return told

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse, once it is in sight."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": found[0], "y": found[1], "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", {"type": kind, **place})

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        known = {"key": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0].upper()))}
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **known, **text})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **known})

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self.send("Input.insertText", {"text": text})

    def screenshot(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
