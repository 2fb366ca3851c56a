"""Headless Chromium as a client: a page that connects, echoes and reports. Must never import wsproxy."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

from tests.world.clients import PATIENCE, Job, Seen

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_PAGE = Path(__file__).with_name("page.html")
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    # It shows only pages of ours, and many containers have nothing to make a sandbox of.
    "--no-sandbox",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # Without it the browser ends when the page has been loaded.
    "--remote-debugging-port=0",
)


def find() -> str | None:
    """The first Chromium on the path."""
    return next((found for name in _NAMES if (found := shutil.which(name)) is not None), None)


@contextlib.contextmanager
def launched(binary: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The browser, and a folder with its `profile` and its words in `log`; all of its processes are ended with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Path(folder, "log").open("wb") as log:
            # A session of its own, so that all of the browser's processes can be ended together.
            process = subprocess.Popen(
                [binary, *_FLAGS, f"--user-data-dir={folder}/profile", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process, Path(folder)
        finally:
            # Also if it has ended by itself: its children may not have.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Site(ThreadingHTTPServer):
    """Serves the page, the jobs and their scripts, and takes the results."""

    daemon_threads = True

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.jobs = jobs
        self.seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()


class _Exchange(BaseHTTPRequestHandler):
    server: _Site

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "text/html", _PAGE.read_bytes())
        elif self.path == "/jobs":
            self._answer(200, "application/json", json.dumps([{"url": job.url} for job in self.server.jobs]).encode())
        elif self.path.startswith("/script/"):
            job = self.server.jobs[int(self.path.removeprefix("/script/"))]
            self._answer(200, "application/octet-stream", job.script.path.read_bytes())
        else:
            self._answer(404, "text/plain", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(204, "text/plain", b"")
        # Last: once all results are there, the browser is no more.
        self.server.seen.put(Seen(**json.loads(body)))

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the results tell."""


class Chromium:
    """A browser's own WebSocket; it cannot be told what to offer."""

    name = "chromium"

    def __init__(self, binary: str) -> None:
        self._binary = binary

    def converse(self, jobs: Sequence[Job]) -> list[Seen]:
        with _Site(jobs) as site:
            thread = threading.Thread(target=site.serve_forever, daemon=True)
            thread.start()
            try:
                with launched(self._binary, f"http://127.0.0.1:{site.server_port}/") as (process, folder):
                    return [self._next(site, process, folder / "log") for _ in jobs]
            finally:
                site.shutdown()
                thread.join()

    def _next(self, site: _Site, browser: subprocess.Popen[bytes], log: Path) -> Seen:
        """The next result, or what the browser said when it ended without one."""
        limit = monotonic() + PATIENCE
        while monotonic() < limit and browser.poll() is None:
            with contextlib.suppress(queue.Empty):
                return site.seen.get(timeout=0.5)
        raise AssertionError(f"no result from {self._binary}: {log.read_bytes()[-2_000:]!r}")
