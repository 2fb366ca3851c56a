"""A real proxy process through thousands of connections and through kills: ``python -m tests.soak SECONDS``.

Owns: the two runs and what has to be as before after each. Stops by itself; the exit code is other than 0 when
something was left behind.
"""

import contextlib
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

from tests.endtoend import peers
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route, wait_for
from tests.endtoend.wire import DEADLINE, TEXT, RawUpstream, Wire, raw_upstream, tunnel

CYCLES = 10_000
WARM_UP = 1_000
"""Cycles before memory and descriptors are looked at for the first time."""
MIB = 1024 * 1024
RISE_ALLOWED = 24 * MIB
"""How much more may be resident afterwards: allocators keep what they had at the highest tide."""
KILL_EVERY_SECONDS = 0.5
PMD = "permessage-deflate; client_max_window_bits"
UPSTREAMS = 2
CLIENT_PROCESSES = 3


def descriptors(proxy: Proxy) -> int:
    """Open ones, that of a scrape just made perhaps among them."""
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))


def quiet(proxy: Proxy) -> None:
    """Wait until nobody is connected, and hold the counters to each other."""
    for gauge in ("wsproxy_sessions_active", "wsproxy_tunnels_active", "wsproxy_endpoint_connections"):
        wait_for(f"{gauge} to be 0", lambda gauge=gauge: proxy.metric(gauge) == 0)  # type: ignore[misc]
    opened = proxy.metric("wsproxy_tunnels_total")
    assert opened == proxy.metric("wsproxy_handshakes_total", result="accepted")
    assert opened == proxy.metric("wsproxy_closes_total")


class Tide:
    """What was there when nobody was connected; `check` compares."""

    def __init__(self, proxy: Proxy) -> None:
        quiet(proxy)
        self._proxy = proxy
        self._descriptors = descriptors(proxy)
        self._rss = proxy.rss()

    def check(self, what: str) -> None:
        quiet(self._proxy)
        wait_for("descriptors as before", lambda: descriptors(self._proxy) <= self._descriptors)
        rise = self._proxy.rss() - self._rss
        print(f"{what}: {self._descriptors} descriptors as before, resident {rise / MIB:+.1f} MiB", flush=True)
        assert rise <= RISE_ALLOWED, f"the resident set rose by {rise / MIB:.1f} MiB"


# --- connect and close


def knock_and_go(proxy: Proxy, _bare: RawUpstream) -> None:
    socket.create_connection(proxy.address, DEADLINE).close()


def half_a_head(proxy: Proxy, _bare: RawUpstream) -> None:
    with socket.create_connection(proxy.address, DEADLINE) as client:
        client.sendall(b"GET /bare HTTP/1.1\r\nHost: a")


def closing_handshake(proxy: Proxy, bare: RawUpstream) -> None:
    with tunnel(proxy.address, bare, "/bare", offer=PMD) as ends:
        ends.upstream.text("hello")
        assert ends.client.frame().opcode == TEXT
        ends.client.close(1000)
        ends.upstream.closed_with()
        ends.upstream.close(1000)
        ends.client.closed_with()


def reset(proxy: Proxy, bare: RawUpstream) -> None:
    with tunnel(proxy.address, bare, "/bare", offer=PMD) as ends:
        ends.client.text("hello")
        assert ends.upstream.frame().opcode == TEXT
        for wire in (ends.client, ends.upstream):
            _linger_no_more(wire)


def _linger_no_more(wire: Wire) -> None:
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


WAYS: tuple[Callable[[Proxy, RawUpstream], None], ...] = (knock_and_go, half_a_head, closing_handshake, reset)


def connect_and_close() -> None:
    with raw_upstream() as bare, configured(route("bare", bare.url)) as proxy:
        tide = None
        for number in range(WARM_UP + CYCLES):
            WAYS[number % len(WAYS)](proxy, bare)
            if number == WARM_UP:
                tide = Tide(proxy)
        assert tide is not None
        tide.check(f"{CYCLES} connections, one after the other")


# --- mixed traffic and kills


class Child:
    """One process that is killed and started again."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *self._arguments], stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """Raises AssertionError if it had ended by itself."""
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        assert code is None, f"{self._arguments[0]} ended with {code}"

    def restart(self) -> None:
        self.kill()
        self.process = self._start()


@contextlib.contextmanager
def children(*commands: tuple[str, ...]) -> Iterator[list[Child]]:
    with contextlib.ExitStack() as stack:
        started = []
        for command in commands:
            started.append(Child(*command))
            stack.callback(started[-1].kill)
        yield started


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def mixed_traffic(seconds: float) -> None:
    ports = [free_port() for _ in range(UPSTREAMS)]
    routes = [
        route("plain", f"ws://127.0.0.1:{ports[0]}", "timeouts.close_seconds = 1"),
        route("wide", f"ws://127.0.0.1:{ports[1]}", "timeouts.close_seconds = 1", *WIDE_UPSTREAM),
    ]
    source = random.Random(int(seconds))
    with configured(*routes) as proxy, children(*[("tests.soak.upstream", str(port)) for port in ports]) as upstreams:
        url = proxy.url("")
        for port in ports:
            wait_for("the upstream", lambda port=port: _listens(port))  # type: ignore[misc]
        with children(*[("tests.soak.clients", url, str(seed)) for seed in range(CLIENT_PROCESSES)]) as clients:
            wait_for("the first tunnels", lambda: proxy.metric("wsproxy_tunnels_total") > 50)
            _kill_for(seconds / 2, [*upstreams, *clients], source)
        tide = Tide(proxy)
        opened = proxy.metric("wsproxy_tunnels_total")
        with children(*[("tests.soak.clients", url, str(seed)) for seed in range(CLIENT_PROCESSES)]) as clients:
            _kill_for(seconds / 2, [*upstreams, *clients], source)
        tide.check(f"{proxy.metric('wsproxy_tunnels_total') - opened:.0f} tunnels among kills")
        wait_for("the upstream", lambda: _listens(ports[0]))
        with peers.client(proxy.url("/plain")) as client:
            client.send("still there?")
            assert client.recv() == "still there?"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kill_for(seconds: float, victims: list[Child], source: random.Random) -> None:
    end = monotonic() + seconds
    while monotonic() < end:
        sleep(KILL_EVERY_SECONDS)
        source.choice(victims).restart()


def main(seconds: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    connect_and_close()
    mixed_traffic(float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
