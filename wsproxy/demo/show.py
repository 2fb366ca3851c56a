"""``wsproxy demo``: a legacy backend, the proxy before it and real clients, each a process of its own.

Owns: the order in which the three start and end, the proxy's configuration for it, and the verdict. Prints; must never
import the proxy's service or protocol code: the proxy is shown from outside, as users have it.
Invariants
* Every figure is from /metrics; "verified" is printed only if the clients found nothing wrong, their own counts equal
  those of /metrics, and the proxy ended in order.
* No process and no file is left behind, however the demo ends, and each wait has a bound.
"""

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from wsproxy.demo.children import Child
from wsproxy.demo.clients import CLOSE_SECONDS, Report
from wsproxy.demo.figures import MEASURED, Reading, delivered, differences, process_microseconds, rows, tunnels_active
from wsproxy.demo.table import LiveTable, closing_table
from wsproxy.errors import WsproxyError

_SCRAPE_SECONDS = 5.0
_SETTLE_SECONDS = 8.0
"""Bound on the tunnels' end after the last client's: longer than a closing handshake may take."""
_DRAIN_SECONDS = 2.0
"""What the proxy may take for a browser's tunnels at the end."""
_MARGIN_SECONDS = 3.0
"""What a process may take to end after its own bound on it."""

_CONFIGURATION = """\
[log]
format = "json"
[metrics]
listen = "127.0.0.1:0"
[shutdown]
grace_seconds = {drain}
close_spread_seconds = 0
[[listeners]]
name = "demo"
bind = "127.0.0.1:0"
{routes}[[routes]]
name = "browser"
upstream = "legacy"
[upstreams.legacy]
endpoints = ["ws://127.0.0.1:{port}"]
"""
_ROUTE = """\
[[routes]]
name = "{name}"
path_prefix = "/{name}"
upstream = "legacy"
"""


class DemoFailed(WsproxyError):
    """The demo could not go on: one line says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that is shown: its process, and the addresses that it bound."""

    child: Child
    listen: str
    metrics: str


class Crowd:
    """The clients' process and its latest report."""

    def __init__(self, child: Child, report: Report) -> None:
        self.child = child
        self.report = report
        self._heard_out = trio.Event()

    async def listen(self) -> None:
        """Take its reports until it has ended."""
        await self.child.follow(self._take)
        self._heard_out.set()

    def _take(self, line: str) -> None:
        self.report = Report.from_line(line)

    async def stop(self) -> list[str]:
        """Let the clients close; gives what they found wrong."""
        self.child.terminate()
        with trio.move_on_after(CLOSE_SECONDS + _MARGIN_SECONDS):
            await self._heard_out.wait()
            exit_code = await self.child.wait()
            if self.report.final and exit_code == 0:
                return []
            return self.report.errors or [f"the clients ended with exit code {exit_code}"]
        return ["the clients did not end"]


def run(seconds: float, keep: bool) -> int:
    """Show the demo; gives the exit code: 0 if everything was verified, else 1.

    :param seconds: how long the clients go on.
    :param keep: they go on until Ctrl-C instead, and a browser can join them.
    :raises CannotStart: one of the processes did not start.
    :raises DemoFailed: one of them ended in the middle.
    """
    with TemporaryDirectory(prefix="wsproxy-demo-") as directory, _one_error():
        problems = trio.run(_demonstrate, inf if keep else seconds, Path(directory))
        for problem in problems:
            print(f"NOT verified: {problem}")
        return 1 if problems else 0


@contextmanager
def _one_error() -> Iterator[None]:
    """Let one error out of the nursery's group, so that one line tells it."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours: BaseException | None = group.subgroup(WsproxyError)
        while isinstance(ours, BaseExceptionGroup):
            ours = ours.exceptions[0]
        if ours is None and group.subgroup(BrokenPipeError) is not None:
            # As Python's documentation of SIGPIPE has it, or the interpreter complains when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ours = DemoFailed("nobody reads the output any more")
        raise ours or group from None


async def _demonstrate(seconds: float, directory: Path) -> list[str]:
    """The whole demo; gives what was not as it should be."""
    stop = trio.Event()
    problems = ["interrupted before the end"]
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_at_signals, stop, nursery.cancel_scope)
        backend = await Child.start(nursery, "the backend", ["wsproxy.demo.backend"])
        port = await backend.first(int)
        proxy = await _start_proxy(nursery, directory, port)
        before = await scrape(proxy.metrics)
        clients = await Child.start(nursery, "the clients", ["wsproxy.demo.clients", proxy.listen])
        crowd = Crowd(clients, await clients.first(Report.from_line))
        nursery.start_soon(crowd.listen)
        print(f"clients -> proxy http://{proxy.listen}/ -> legacy backend http://127.0.0.1:{port}/")
        print(f"metrics: http://{proxy.metrics}/metrics", flush=True)
        if seconds == inf:
            print("Open the proxy's address in a browser. Ctrl-C ends the demo with its summary.", flush=True)
        await _watch(proxy, backend, crowd, before, stop, seconds)
        problems = await crowd.stop()
        after = await _settled(proxy)
        problems += await _stop_proxy(proxy.child)
        problems = problems or differences(after, crowd.report)
        _sum_up(before, after)
        if not problems:
            _confirm(crowd.report)
        nursery.cancel_scope.cancel()
    return problems


async def _start_proxy(nursery: trio.Nursery, directory: Path, upstream_port: int) -> Proxy:
    routes = "".join(_ROUTE.format(name=name) for name in MEASURED)
    path = directory / "demo.toml"
    path.write_text(_CONFIGURATION.format(drain=_DRAIN_SECONDS, routes=routes, port=upstream_port))
    child = await Child.start(nursery, "the proxy", ["wsproxy", "run", str(path)], read="stderr")
    listen, metrics = await child.first(_ready)
    nursery.start_soon(child.follow, _complain)
    return Proxy(child, listen, metrics)


def _ready(line: str) -> tuple[str, str] | None:
    """The addresses in the proxy's ``ready`` line, None for any other."""
    event = _event(line)
    return (event["listen"][0], event["metrics"]) if event["event"] == "ready" else None


def _complain(line: str) -> None:
    if _event(line)["level"] not in ("debug", "info"):
        print(f"the proxy: {line}", file=sys.stderr)


def _event(line: str) -> dict[str, Any]:
    # What Python itself writes about a crash is no JSON object.
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict):
            return event
    return {"event": line, "level": "error"}


async def _stop_at_signals(stop: trio.Event, at_once: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """The first signal ends the demo with its summary, a second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                at_once.cancel()
            stop.set()


async def _watch(proxy: Proxy, backend: Child, crowd: Crowd, before: Reading, stop: trio.Event, seconds: float) -> None:
    """Show the table until the time is over, a signal came, or the clients have ended."""
    table = LiveTable(sys.stdout)
    started = trio.current_time()
    for tick in count(1):
        with trio.move_on_at(started + min(tick, seconds)):
            await stop.wait()
        for child in (backend, proxy.child):
            if child.exit_code is not None:
                raise DemoFailed(f"{child.name} ended with exit code {child.exit_code}: {child.account()}")
        now = await scrape(proxy.metrics)
        elapsed = trio.current_time() - started
        table.show(elapsed, rows(now), process_microseconds(before, now))
        if stop.is_set() or elapsed >= seconds or crowd.child.exit_code is not None:
            return


async def _settled(proxy: Proxy) -> Reading:
    """The first scrape without a tunnel of the clients, or the last one within a bound."""
    deadline = trio.current_time() + _SETTLE_SECONDS
    while True:
        reading = await scrape(proxy.metrics)
        if not tunnels_active(reading) or trio.current_time() > deadline:
            return reading
        await trio.sleep(0.05)


async def _stop_proxy(child: Child) -> list[str]:
    child.terminate()
    with trio.move_on_after(_DRAIN_SECONDS + _MARGIN_SECONDS):
        exit_code = await child.wait()
        return [f"the proxy ended with exit code {exit_code}"] if exit_code else []
    return ["the proxy did not end"]


def _sum_up(before: Reading, after: Reading) -> None:
    cpu = process_microseconds(before, after)
    print()
    print("\n".join(closing_table(rows(after))))
    print("on wire: WebSocket frames with their headers, without TCP and IP")
    print(f"codec CPU: spent in {after.engine()}, for one message and for 1 TB of payload")
    if cpu is not None:
        print(f"whole proxy: {cpu:.1f} us of CPU for each of {delivered(after):,} messages, handshakes and scrapes too")


def _confirm(report: Report) -> None:
    received = sum(counts.received for counts in report.feeds.values())
    sent = sum(counts.sent for counts in report.feeds.values())
    clients = sum(counts.clients for counts in report.feeds.values())
    print(
        f"verified: {clients} clients inflated and checked {received:,} messages and sent {sent:,}; nothing was lost "
        "or changed,\nand /metrics counts the same messages and bytes"
    )


async def scrape(address: str) -> Reading:
    """Read /metrics at ``host:port``. Raises DemoFailed if nobody answers as expected."""
    try:
        text = await trio.to_thread.run_sync(_get, address, abandon_on_cancel=True)
    except (OSError, http.client.HTTPException) as error:
        raise DemoFailed(f"http://{address}/metrics cannot be read: {error}") from error
    return Reading(text)


def _get(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=_SCRAPE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise http.client.HTTPException(f"status {answer.status}")
    return body
