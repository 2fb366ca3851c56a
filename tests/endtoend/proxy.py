"""The proxy under test as a real process, and the configurations it is given.

Owns: starting, watching and stopping `python -m wsproxy run`. Must never import wsproxy: it is judged from outside.
Invariant: a proxy that a test started ends with exit code 0 and without a traceback or a Python
warning in its log, whatever it was sent.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

from prometheus_client.parser import text_string_to_metric_families

DEADLINE = 15.0
START_DEADLINE = 90.0
"""A new process imports everything first, which a busy machine may take long over."""
BASE = """
[metrics]
listen = "127.0.0.1:0"
[shutdown]
grace_seconds = 2
close_spread_seconds = 0
[[listeners]]
name = "public"
bind = "127.0.0.1:0"
"""

WIDE_UPSTREAM = (
    "compression.upstream.enabled = true",
    "compression.upstream.server_max_window_bits = 15",
    "compression.upstream.client_max_window_bits = 15",
)
"""Lines of a route that offers its upstream permessage-deflate, and demands nothing of the answer."""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would configure a proxy; warnings are told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WSPROXY_")}
    return kept | {"PYTHONWARNINGS": "default"} | extra


def route(name: str, url: str, *lines: str) -> str:
    """A route `/name` to its own upstream; ``lines`` are dotted settings of the route, such as ``limits.x = 1``."""
    settings = "\n".join(lines)
    return (
        f'[[routes]]\nname = "{name}"\nupstream = "{name}"\npath_prefix = "/{name}"\n{settings}\n'
        f'[upstreams.{name}]\nendpoints = ["{url}"]\n'
    )


def wait_for(what: str, ready: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Poll until ``ready()``; fail saying ``what`` after ``seconds``."""
    limit = monotonic() + seconds
    tick = threading.Event()
    while not ready():
        assert monotonic() < limit, f"not within {seconds} s: {what}"
        tick.wait(0.01)


class Proxy:
    """One running proxy: its addresses, log and metrics."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.lines: list[str] = []
        """What it wrote to standard error, line by line."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for("the ready line", lambda: self._ready_line() is not None or process.poll() is not None, START_DEADLINE)
        line = self._ready_line()
        assert line is not None, f"ended with {process.returncode}: {self.lines}"
        self.address = _address(r"listen", line)
        self.metrics_address = _address(r"metrics", line)
        self.rss_at_start = self.rss() if sys.platform == "linux" else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def _ready_line(self) -> str | None:
        return next((line for line in list(self.lines) if re.search(r"\bready\b", line)), None)

    def url(self, path: str, scheme: str = "ws") -> str:
        return f"{scheme}://{self.address[0]}:{self.address[1]}{path}"

    def page(self, path: str) -> str:
        """A page of the read-only HTTP listener."""
        host, port = self.metrics_address
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=DEADLINE) as answer:
            body: bytes = answer.read()
        return body.decode()

    def is_ready(self) -> bool:
        """What /readyz says: False from the beginning of a drain on."""
        host, port = self.metrics_address
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=DEADLINE) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            assert error.code == 503, error
            error.close()
            return False

    def metric(self, sample: str, **labels: str) -> float:
        """The sum of the samples of that name whose labels include ``labels``; 0 where there is none."""
        return sum(
            found.value
            for family in text_string_to_metric_families(self.page("/metrics"))
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )

    def settled(self) -> None:
        """Wait until no tunnel stands, so that counters and log lines are final."""
        wait_for("the last tunnel's end", lambda: self.metric("wsproxy_tunnels_active") == 0)

    def rss(self) -> int:
        """Resident bytes now."""
        return self._status("VmRSS")

    def peak_rss(self) -> int:
        """The most bytes ever resident."""
        return self._status("VmHWM")

    def _status(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        return int(found[1]) * 1024

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def stop(self) -> None:
        """End it and hold it to the invariant above."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.wait()
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(DEADLINE)
            assert self.process.stderr is not None
            self.process.stderr.close()
        log = "\n".join(self.lines)
        assert "Traceback" not in log, log
        assert "Warning: " not in log, log
        assert self.process.returncode == 0, log


def _address(name: str, line: str) -> tuple[str, int]:
    found = re.search(rf"\b{name}\W+(\d+\.\d+\.\d+\.\d+):(\d+)", line)
    assert found is not None, f"no {name} address in {line!r}"
    return found[1], int(found[2])


@contextlib.contextmanager
def running(command: Sequence[str], env: dict[str, str] | None = None, pass_fds: Sequence[int] = ()) -> Iterator[Proxy]:
    """A proxy that ``command`` starts, or becomes, ready; stopped in the end."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() if env is None else env,
        pass_fds=pass_fds,
    )
    try:
        proxy = Proxy(process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    try:
        yield proxy
    finally:
        proxy.stop()


def started(arguments: Sequence[str], env: dict[str, str] | None = None) -> contextlib.AbstractContextManager[Proxy]:
    """`wsproxy run` with these arguments."""
    return running([sys.executable, "-m", "wsproxy", "run", *arguments], env)


@contextlib.contextmanager
def configured(*parts: str, base: str = BASE, env: dict[str, str] | None = None) -> Iterator[Proxy]:
    """A proxy with ``base`` and ``parts`` as its configuration file."""
    with tempfile.TemporaryDirectory(prefix="wsproxy-test-") as folder:
        path = Path(folder) / "proxy.toml"
        path.write_text(base + "\n".join(parts))
        with started([str(path)], env) as proxy:
            yield proxy


@contextlib.contextmanager
def sidecar(url: str, *arguments: str) -> Iterator[Proxy]:
    """A proxy without a file, in front of ``url``."""
    flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--upstream", url]
    with started([*flags, *arguments]) as proxy:
        yield proxy
