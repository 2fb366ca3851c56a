"""Headless Chromium through its DevTools protocol: open a page, evaluate, look. Must never import wsproxy.

Invariant: every request that the page made and every complaint on its console is kept, so that a test can hold them.
"""

import base64
import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.endtoend.proxy import DEADLINE, wait_for
from tests.world.browser import find as find
from tests.world.browser import launched


class Tab:
    """One page of the browser."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        self._wire.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        limit = monotonic() + 2 * DEADLINE
        while True:
            message = json.loads(self._wire.recv(timeout=limit - monotonic()))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(parameters)[:800])
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(parameters["args"])[:800])

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        wait_for(f"{url} to be loaded", lambda: self.evaluate("document.readyState") == "complete")

    @contextlib.contextmanager
    def prepared(self, script: str) -> Iterator[None]:
        """Pages that are opened meanwhile run this script before their own."""
        added = self._call("Page.addScriptToEvaluateOnNewDocument", source=script)
        try:
            yield
        finally:
            self._call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])

    def evaluate(self, expression: str) -> Any:
        """What JavaScript gives; a promise is waited for."""
        told = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def text(self, selector: str) -> str:
        """What is written there, with plain spaces."""
        written = self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return " ".join(str(written).replace("\u202f", " ").split())

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """The window's size in CSS pixels, and which colours the visitor prefers."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width < 600 else 1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page: all of it, or what is seen without scrolling."""
        told = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(told["data"]))

    def _clip(self, whole: bool) -> dict[str, object]:
        if not whole:
            return {}
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def tree(self) -> list[dict[str, Any]]:
        """The accessibility tree: what a screen reader is told."""
        nodes: list[dict[str, Any]] = self._call("Accessibility.getFullAXTree")["nodes"]
        return nodes

    def press(self, key: str) -> None:
        """A key of the keyboard, such as ``Tab`` or ``Enter``."""
        text = {"Enter": "\r"}.get(key, "")
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, text=text)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)


@contextlib.contextmanager
def browser(binary: str) -> Iterator[Tab]:
    """A browser with one tab; everything of it is ended afterwards."""
    with launched(binary, "--hide-scrollbars", "about:blank") as (_, folder):
        address = folder / "profile" / "DevToolsActivePort"
        wait_for("the browser's debugging port", lambda: address.exists() and address.read_text().count("\n") > 0)
        port = int(address.read_text().split()[0])
        with connect(_page(port), max_size=None, compression=None, ping_interval=None) as wire:
            yield Tab(wire)


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=DEADLINE) as answer:
        found = json.loads(answer.read())
    return next(str(each["webSocketDebuggerUrl"]) for each in found if each["type"] == "page")
