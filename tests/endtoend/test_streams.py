"""However the bytes come: early, one by one, half closed, over TLS, from many at once, or from the second endpoint."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import content, converse
from tests.endtoend.proxy import BASE, Proxy, configured, route, sidecar
from tests.endtoend.test_startup import run_to_its_end
from tests.endtoend.wire import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawUpstream,
    Wire,
    answer,
    deflate,
    frame_bytes,
    raw_upstream,
    request,
    tunnel,
)

PMD = "permessage-deflate"


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(module_bare: RawUpstream) -> Iterator[Proxy]:
    with configured(route("bare", module_bare.url)) as running:
        yield running


@pytest.mark.parametrize("size", [0, 5, 70_000])
def test_frames_in_the_same_segment_as_the_handshakes(proxy: Proxy, module_bare: RawUpstream, size: int) -> None:
    """Nobody has to wait for the 101 to be read; what follows a handshake belongs to the tunnel."""
    early, greeting = content(size), content(size + 1)
    client = Wire(socket.create_connection(proxy.address), masks=True)
    client.sock.sendall(request("/bare", "a") + frame_bytes(Frame(BINARY, early), masked=True))
    upstream, asked = module_bare.receive()
    upstream.sock.sendall(answer(asked) + frame_bytes(Frame(BINARY, greeting), masked=False))
    assert client.head().status == 101
    assert client.frame().payload == greeting
    assert upstream.frame().payload == early
    client.close(4000)
    assert upstream.closed_with() == (4000, "")
    upstream.hang_up()
    client.hang_up()


def test_a_close_in_the_same_segment_as_the_101(proxy: Proxy, module_bare: RawUpstream) -> None:
    client = Wire(socket.create_connection(proxy.address), masks=True)
    client.sock.sendall(request("/bare", "a"))
    upstream, asked = module_bare.receive()
    upstream.sock.sendall(answer(asked) + frame_bytes(Frame(0x8, b"\x0f\xa1no"), masked=False))
    upstream.hang_up()
    assert client.head().status == 101
    assert client.closed_with() == (4001, "no")
    client.close(4001)
    assert client.at_end()
    client.hang_up()


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_one_byte_at_a_time(proxy: Proxy, module_bare: RawUpstream, side: str) -> None:
    with tunnel(proxy.address, module_bare, "/bare", offer=PMD) as ends:
        near, far = ends.ends_from(side)
        near.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = [Frame(TEXT, "é漢".encode(), fin=False), Frame(PING, b"!"), Frame(CONTINUATION, b"x" * 130)]
        if side == "client":
            frames.append(Frame(BINARY, deflate(b"y" * 300), rsv1=True))
        for frame in frames:
            for byte in frame_bytes(frame, masked=near.masks):
                near.sock.sendall(bytes([byte]))
        near.close(1000, "end")
        assert far.until_close() == (1000, "end")


def test_a_client_that_sends_byte_by_byte_from_its_first_line(proxy: Proxy, module_bare: RawUpstream) -> None:
    client = Wire(socket.create_connection(proxy.address), masks=True)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request("/bare", "a") + frame_bytes(Frame(TEXT, b"early"), masked=True):
        client.sock.sendall(bytes([byte]))
    upstream, _ = module_bare.accept()
    assert client.head().status == 101
    assert upstream.frame() == Frame(TEXT, b"early")
    upstream.hang_up()
    client.hang_up()


def test_a_tunnel_after_a_page_on_the_same_connection(proxy: Proxy, module_bare: RawUpstream) -> None:
    """Pipelined, even: the upgrade is in the buffer before the page has been asked for."""
    client = Wire(socket.create_connection(proxy.address), masks=True)
    client.sock.sendall(b"GET /bare/page HTTP/1.1\r\nHost: a\r\n\r\n" + request("/bare", "a", PMD))
    upstream, asked = module_bare.receive()
    assert asked.first == "GET /bare/page HTTP/1.1"
    upstream.sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\npage")
    upstream.hang_up()
    upstream, asked = module_bare.accept()
    assert asked.get("upgrade") == "websocket"
    assert client.head().status == 200
    assert client.body(4) == b"page"
    assert client.head().status == 101
    client.text("hello")
    assert upstream.frame() == Frame(TEXT, b"hello")


@pytest.mark.parametrize("half_closes", ["client", "upstream"])
def test_a_side_that_ends_its_half_without_a_close_frame(
    proxy: Proxy, module_bare: RawUpstream, half_closes: str
) -> None:
    with tunnel(proxy.address, module_bare, "/bare") as ends:
        near, far = ends.ends_from(half_closes)
        near.text("last words")
        near.sock.shutdown(socket.SHUT_WR)
        assert far.frame() == Frame(TEXT, b"last words")
        assert far.closed_with()[0] == (1001 if half_closes == "client" else 1011)


def test_many_tunnels_at_once(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(route("echo", plain_upstream.url))
    together = threading.Barrier(40)

    def one(number: int) -> int:
        with peers.client(proxy.url("/echo"), deflate=peers.CHROME if number % 2 else None) as client:
            together.wait(30)
            for size in range(0, 4_000, 200):
                message = content(size) + b"#%d" % number
                client.send(message)
                assert client.recv() == message
        return number

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(one, range(40))) == list(range(40))
    proxy.settled()
    assert proxy.metric("wsproxy_tunnels_total") == 40


def test_the_next_endpoint_is_tried(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"ws://127.0.0.1:{closed.getsockname()[1]}"
    both = (
        '[[routes]]\nname = "both"\nupstream = "both"\n'
        f'[upstreams.both]\nendpoints = ["{nobody}", "{plain_upstream.url}"]\nbalance = "round_robin"\n'
    )
    proxy = start_proxy(both)
    for _ in range(4):
        converse(proxy.url("/"), peers.CHROME, [10])


def test_tunnels_go_to_the_endpoint_that_has_fewest(start_proxy: StartProxy, bare: RawUpstream) -> None:
    with raw_upstream() as second, contextlib.ExitStack() as stack:
        proxy = start_proxy(
            f'[[routes]]\nname = "two"\nupstream = "two"\n[upstreams.two]\nendpoints = ["{bare.url}", "{second.url}"]\n'
        )
        for chosen in (bare, second) * 3:
            stack.enter_context(tunnel(proxy.address, chosen))
        for endpoint in (bare.url, second.url):
            assert proxy.metric("wsproxy_endpoint_connections", endpoint=endpoint) == 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_upstream(authority: trustme.CA) -> Iterator[peers.Upstream]:
    certificate = authority.issue_cert("upstream.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    with peers.upstream(deflate=peers.WIDE, tls=tls) as upstream:
        yield upstream


def test_an_upstream_over_tls(
    start_proxy: StartProxy, tls_upstream: peers.Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    url = f"wss://127.0.0.1:{tls_upstream.port}"
    tls = f'[upstreams.tls.tls]\nca = "{ca}"\nserver_name = "upstream.example"\n'
    for lines in ((), ("compression.upstream.enabled = true",)):
        proxy = start_proxy(route("tls", url, *lines) + tls)
        for offer in (None, peers.CHROME):
            converse(proxy.url("/tls"), offer)


def test_an_upstream_whose_certificate_is_not_trusted_is_a_502(tls_upstream: peers.Upstream) -> None:
    with sidecar(f"wss://127.0.0.1:{tls_upstream.port}") as proxy:
        client = Wire(socket.create_connection(proxy.address), masks=True)
        client.sock.sendall(request("/", "a"))
        assert client.head().status == 502
        client.hang_up()


def test_a_ca_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(BASE + route("tls", "wss://127.0.0.1:9") + '[upstreams.tls.tls]\nca = "/nowhere/ca.pem"\n')
    code, lines = run_to_its_end("run", str(path))
    assert (code, len(lines)) == (1, 1), lines
    assert "/nowhere/ca.pem" in lines[0]
