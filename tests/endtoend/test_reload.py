"""HUP: another configuration for newcomers, and nobody who is there notices.

`make reload-soak` runs the first test for longer and with more tunnels (RELOAD_SECONDS, RELOAD_TUNNELS).
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import monotonic

import pytest
from websockets.exceptions import InvalidStatus

from tests.endtoend import peers
from tests.endtoend.crowd import crowd, crowd_upstream
from tests.endtoend.proxy import BASE, Proxy, route, started, wait_for
from tests.endtoend.test_tls import issue, shaken, talk, tls_listener, trusting
from tests.endtoend.wire import BINARY, Frame, RawUpstream, answer, knock, tunnel

SECONDS = float(os.environ.get("RELOAD_SECONDS", "8"))
TUNNELS = int(os.environ.get("RELOAD_TUNNELS", "200"))
BAD = "[[routes]]\nname = 5\n"


class Reloadable:
    """A proxy whose configuration file can be written anew."""

    def __init__(self, proxy: Proxy, path: Path) -> None:
        self.proxy = proxy
        self._path = path

    def reload(self, *parts: str, base: str = BASE, result: str = "success") -> None:
        """Write the file, send HUP, and wait until that has had this result."""
        before = self.proxy.metric("wsproxy_config_reloads_total", result=result)
        self._path.write_text(base + "\n".join(parts))
        self.proxy.signal(signal.SIGHUP)
        wait_for(
            f"a reload with {result}: {self.proxy.lines[-3:]}",
            lambda: self.proxy.metric("wsproxy_config_reloads_total", result=result) > before,
        )

    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, as the last reload told."""
        line = next(line for line in reversed(self.proxy.lines) if " reloaded " in line)
        words = line.partition("listen=")[2].split()[0].split(",")
        return [(host, int(port)) for host, _, port in (word.rpartition(":") for word in words)]


Start = Callable[..., Reloadable]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start_one(*parts: str, base: str = BASE) -> Reloadable:
            path = tmp_path / "proxy.toml"
            path.write_text(base + "\n".join(parts))
            return Reloadable(stack.enter_context(started([str(path)])), path)

        yield start_one


def says(reloadable: Reloadable, what: str) -> bool:
    return any(what in line for line in reloadable.proxy.lines)


@pytest.mark.parametrize("workers", [1, 2])
def test_reloading_again_and_again_under_load(start: Start, workers: int) -> None:
    """Routes, listeners and limits come and go; every message comes back, and nobody is closed."""
    base = f"workers = {workers}\n" + BASE
    extra = '[[listeners]]\nname = "extra"\nbind = "127.0.0.1:0"\n'
    with crowd_upstream() as url:
        steady, busy = route("steady", url), route("busy", url)
        changed = route("busy", url, "limits.max_message_bytes = 1000000", "compression.client.enabled = false")
        forms = [(extra, steady), (steady, changed), (steady, busy), (extra, busy, steady), (BAD,), (steady,)]
        service = start(steady, busy, base=base)
        proxy = service.proxy
        with crowd(proxy.url("/busy"), TUNNELS, pause=0.3) as clients:
            end = monotonic() + SECONDS
            for number in count():
                form = forms[number % len(forms)]
                service.reload(*form, base=base, result="failure" if form == (BAD,) else "success")
                with peers.client(proxy.url("/steady")) as newcomer:
                    newcomer.send("in the midst of it")
                    assert newcomer.recv() == "in the midst of it"
                if monotonic() > end:
                    break
            report = clients.stop()
        assert report.faults == []
        assert report.closes == []
        print(f"{number + 1} reloads, {TUNNELS} tunnels, {workers} worker(s), {report.echoes} messages, none lost")
        assert report.echoes >= TUNNELS
        proxy.settled()
        for direction in ("received", "sent"):
            labels = {"route": "busy", "leg": "client", "direction": direction, "kind": "text"}
            assert proxy.metric("wsproxy_messages_total", **labels) == report.echoes
        codes = {"route": "busy", "initiator": "client", "code": "1000"}
        assert proxy.metric("wsproxy_closes_total", route="busy") == TUNNELS
        assert proxy.metric("wsproxy_closes_total", **codes) == TUNNELS


def test_a_bad_file_changes_nothing_and_says_so(start: Start, plain_upstream: peers.Upstream) -> None:
    service = start(route("echo", plain_upstream.url))
    proxy = service.proxy
    assert proxy.metric("wsproxy_config_last_reload_successful") == 1
    with peers.client(proxy.url("/echo")) as client:
        service.reload(BAD, result="failure")
        assert proxy.metric("wsproxy_config_last_reload_successful") == 0
        assert says(service, "routes[0].name")
        client.send("still there")
        assert client.recv() == "still there"
        with peers.client(proxy.url("/echo")) as newcomer:
            newcomer.send("as before")
            assert newcomer.recv() == "as before"
        service.reload(route("other", plain_upstream.url))
        assert proxy.metric("wsproxy_config_last_reload_successful") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_listener_that_cannot_be_opened_changes_nothing(
    start: Start, plain_upstream: peers.Upstream, workers: int
) -> None:
    base = f"workers = {workers}\n" + BASE
    service = start(route("echo", plain_upstream.url), base=base)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        parts = [
            '[[listeners]]\nname = "fine"\nbind = "127.0.0.1:0"\n',
            f'[[listeners]]\nname = "taken"\nbind = "127.0.0.1:{port}"\n',
        ]
        service.reload(*parts, route("echo", plain_upstream.url), base=base, result="failure")
        assert says(service, f"127.0.0.1:{port}")
    with peers.client(service.proxy.url("/echo")) as client:
        client.send("as before")
        assert client.recv() == "as before"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_that_overlaps_takes_two_reloads(start: Start, plain_upstream: peers.Upstream, workers: int) -> None:
    """From 127.0.0.1 to 0.0.0.0 on one port: in one reload it is refused with advice, which is right."""
    base = f"workers = {workers}\n" + BASE
    echo = route("echo", plain_upstream.url)
    service = start(echo, base=base)
    host, port = service.proxy.address
    wide, apart = (
        base.replace('bind = "127.0.0.1:0"', f'bind = "{bind}"') for bind in (f"0.0.0.0:{port}", "127.0.0.2:0")
    )
    with peers.client(service.proxy.url("/echo")) as client:
        service.reload(echo, base=wide, result="failure")
        wait_for("the advice", lambda: says(service, "reload without it first"))
        assert says(service, f"this proxy listens on {host}:{port}")
        service.reload(echo, base=apart)
        service.reload(echo, base=wide)
        for address in (host, "127.0.0.3"):
            with peers.client(f"ws://{address}:{port}/echo") as newcomer:
                newcomer.send("hello")
                assert newcomer.recv() == "hello"
        client.send("still there")
        assert client.recv() == "still there"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tunnel_outlives_its_route_and_its_listener(start: Start, bare: RawUpstream, workers: int) -> None:
    base = f'workers = {workers}\n[metrics]\nlisten = "127.0.0.1:0"\n'
    first, second = (f'[[listeners]]\nname = "{name}"\nbind = "127.0.0.{n}:0"\n' for n, name in ((1, "a"), (2, "b")))
    service = start(first, route("old", bare.url), base=base)
    old = service.proxy.address
    with tunnel(old, bare, "/old") as ends:
        service.reload(second, route("new", bare.url), base=base)
        (new,) = service.addresses()
        assert new[0] == "127.0.0.2"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(old)
        ends.client.send(Frame(BINARY, b"up"))
        assert ends.upstream.frame() == Frame(BINARY, b"up")
        ends.upstream.send(Frame(BINARY, b"down"))
        assert ends.client.frame() == Frame(BINARY, b"down")
        with tunnel(new, bare, "/new") as others:
            others.client.send(Frame(BINARY, b"new"))
            assert others.upstream.frame() == Frame(BINARY, b"new")
            assert service.proxy.metric("wsproxy_tunnels_active") == 2
            assert service.proxy.metric("wsproxy_tunnels_active", route="old") == 1
        host, port = new
        with pytest.raises(InvalidStatus, match="404"), peers.client(f"ws://{host}:{port}/old"):
            pass


def test_a_handshake_under_way_ends_by_the_configuration_it_began_with(start: Start, bare: RawUpstream) -> None:
    """Its route is gone when the upstream answers."""
    service = start(route("old", bare.url))
    client = knock(service.proxy.address, "/old")
    upstream, asked = bare.receive()
    service.reload(route("new", bare.url))
    upstream.sock.sendall(answer(asked))
    assert client.head().status == 101
    upstream.send(Frame(BINARY, b"hello"))
    assert client.frame() == Frame(BINARY, b"hello")
    assert service.proxy.metric("wsproxy_tunnels_total", route="old") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_known_of_endpoints_outlives_the_reload(start: Start, workers: int) -> None:
    """Six tunnels stand on the first of two endpoints that a reload puts side by side: the next six go to the other."""
    base = f"workers = {workers}\n" + BASE
    with ExitStack() as stack:
        one, two = (stack.enter_context(peers.upstream()) for _ in range(2))
        service = start(route("echo", one.url), base=base)
        proxy = service.proxy
        for _ in range(6):
            stack.enter_context(peers.client(proxy.url("/echo")))
        both = route("echo", one.url).replace(f'["{one.url}"]', f'["{one.url}", "{two.url}"]')
        service.reload(both, base=base)
        assert proxy.metric("wsproxy_endpoint_connections", endpoint=one.url) == 6
        for _ in range(4):
            stack.enter_context(peers.client(proxy.url("/echo")))
        assert len(one.requests) + len(two.requests) == 10
        # A worker judges by its own tunnels, so with two of them the split need not be that sharp.
        assert len(two.requests) >= (4 if workers == 1 else 1)
        assert proxy.metric("wsproxy_endpoint_connections", endpoint=two.url) == len(two.requests)


def test_what_needs_a_restart_is_named(start: Start, plain_upstream: peers.Upstream) -> None:
    service = start(route("echo", plain_upstream.url))
    service.reload(route("echo", plain_upstream.url), base="workers = 3\n" + BASE)
    wait_for("the warning", lambda: says(service, "restart"))
    line = next(line for line in service.proxy.lines if "restart" in line)
    assert "workers" in line
    assert "metrics.listen" not in line
    assert service.proxy.page("/livez") == "alive\n"


def test_the_log_level_changes(start: Start, plain_upstream: peers.Upstream) -> None:
    service = start(route("echo", plain_upstream.url))
    service.reload('[log]\nlevel = "error"\n', route("echo", plain_upstream.url))
    lines = len(service.proxy.lines)
    with peers.client(service.proxy.url("/echo")):
        pass
    service.proxy.settled()
    service.reload(BAD, result="failure")
    wait_for("the refusal's line", lambda: says(service, "reload refused"))
    assert not any(" closed " in line for line in service.proxy.lines[lines:])


def test_a_unix_socket_that_stays(start: Start, plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    more = f'[[listeners]]\nname = "local"\nbind = "unix:{path}"\n'
    service = start(more, route("echo", plain_upstream.url))
    before = path.stat()
    assert oct(before.st_mode & 0o777) == "0o660"
    service.reload(more + "unix_mode = 0o600\n", route("echo", plain_upstream.url))
    assert path.stat().st_ino == before.st_ino
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    service.reload(route("echo", plain_upstream.url))
    assert not path.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_certificates_are_renewed_everywhere_or_nowhere(
    start: Start, plain_upstream: peers.Upstream, tmp_path: Path, workers: int
) -> None:
    """By serial number; a key that does not fit its certificate is refused, and nobody shows the new certificate."""
    base = f"workers = {workers}\n" + BASE
    listener = tls_listener(tmp_path, "a.example")
    echo = route("feed", plain_upstream.url)
    service = start(listener, echo, base=base)
    proxy = service.proxy
    (first,) = serials(proxy)
    with talk(proxy, trusting()) as client:
        issue(tmp_path, "a.example")
        service.reload(listener, echo, base=base)
        (second,) = serials(proxy)
        assert second != first
        _, key = issue(tmp_path, "a.example")
        key.write_text("nonsense")
        service.reload(listener, echo, base=base, result="failure")
        assert says(service, str(key))
        assert serials(proxy) == {second}
        client.send("still there")
        assert client.recv(30) == "still there"


def serials(proxy: Proxy) -> set[object]:
    """Of the certificates that ten connections are shown."""
    shown: set[object] = set()
    for _ in range(10):
        with shaken(proxy, trusting()) as secure:
            certificate = secure.getpeercert()
            assert certificate is not None
            shown.add(certificate["serialNumber"])
    return shown


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_read_to_its_end_does_not_hold_up_the_end(
    plain_upstream: peers.Upstream, tmp_path: Path, workers: int
) -> None:
    """As on a network's disk that does not answer: a named pipe that nobody writes to."""
    path = tmp_path / "proxy.toml"
    path.write_text(f"workers = {workers}\n" + BASE + route("echo", plain_upstream.url))
    with started([str(path)]) as proxy:
        path.unlink()
        os.mkfifo(path)
        proxy.signal(signal.SIGHUP)
        ends: list[int] = []

        def is_read() -> bool:
            with contextlib.suppress(OSError):
                ends.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            return bool(ends)

        wait_for("the reload's beginning", is_read)
        with peers.client(proxy.url("/echo")) as client:
            client.send("meanwhile")
            assert client.recv() == "meanwhile"
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
        os.close(ends[0])
