"""Who a client is: the PROXY protocol in and out, X-Forwarded-* and Forwarded, a route's own header changes, origins.

Whoever connects from 127.0.0.9 is a trusted proxy here; everybody else is a stranger.
"""

import contextlib
import http.client
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.proxy import Proxy, configured, route, wait_for
from tests.endtoend.web import web_upstream
from tests.endtoend.wire import TEXT, Frame, RawUpstream, Wire, answer, knock, request

TRUSTED = "127.0.0.9"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.7 203.0.113.1 5000 443\r\n"
V2 = (
    SIGNATURE
    + b"\x21\x11\x00\x13"
    + bytes([203, 0, 113, 7, 203, 0, 113, 1])
    + struct.pack("!HH", 5000, 443)
    + b"\x04\x00\x04noop"
)
V2_LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def arriving(address: tuple[str, int], source: str = TRUSTED) -> socket.socket:
    return socket.create_connection(address, 15, source_address=(source, 0))


def speaking(protocol: str) -> str:
    """The lines that make the listener of `BASE` speak the PROXY protocol."""
    return f'proxy_protocol = "{protocol}"\ntrusted_proxies = ["{TRUSTED}"]\n'


TRUSTING = f'trusted_proxies = ["{TRUSTED}"]\n'


def ask(proxy: Proxy, sock: socket.socket, path: str = "/feed", **headers: str) -> Wire:
    """Send a WebSocket request on a connection that is open."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sock.sendall(request(path, f"{proxy.address[0]}:{proxy.address[1]}", None, named))
    return Wire(sock, masks=True)


def talk(wire: Wire) -> None:
    assert wire.head().status == 101
    wire.text("hello")
    assert wire.frame() == Frame(TEXT, b"hello")
    wire.close(1000)
    assert wire.closed_with() == (1000, "")
    wire.hang_up()


def closed_line(proxy: Proxy) -> str:
    """The line of the tunnel that ended last."""
    total = proxy.metric("wsproxy_tunnels_total")
    wait_for("its line", lambda: sum(" closed " in line for line in proxy.lines) == total)
    return [line for line in proxy.lines if " closed " in line][-1]


def last_request(upstream: peers.Upstream) -> dict[str, str]:
    return {name.lower(): value for name, value in upstream.requests[-1].headers.raw_items()}


@pytest.mark.parametrize(
    ("protocol", "header", "client"),
    [
        ("v1", V1, "203.0.113.7:5000"),
        ("v2", V2, "203.0.113.7:5000"),
        ("any", V1, "203.0.113.7:5000"),
        ("any", V2, "203.0.113.7:5000"),
        ("v2", V2_LOCAL, TRUSTED),
        ("v1", b"PROXY UNKNOWN\r\n", TRUSTED),
        ("v1", b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n", "[2001:db8::7]:5000"),
    ],
)
def test_the_client_is_the_one_that_is_told(
    start_proxy: StartProxy, plain_upstream: peers.Upstream, protocol: str, header: bytes, client: str
) -> None:
    proxy = start_proxy(speaking(protocol), route("feed", plain_upstream.url))
    sock = arriving(proxy.address)
    sock.sendall(header)
    talk(ask(proxy, sock))
    assert re.search(rf" client=\W?{re.escape(client)}", closed_line(proxy))
    address = client.rpartition(":")[0].strip("[]") or client
    assert last_request(plain_upstream)["x-forwarded-for"] == address


def test_a_header_that_comes_byte_by_byte_with_the_request_behind_it(
    start_proxy: StartProxy, plain_upstream: peers.Upstream
) -> None:
    proxy = start_proxy(speaking("any"), route("feed", plain_upstream.url))
    for header in (V1, V2):
        sock = arriving(proxy.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(header) - 1):
            sock.sendall(header[at : at + 1])
            if at % 8 == 0:
                time.sleep(0.002)  # so that most bytes are a read of their own
        sock.sendall(header[-1:] + request("/feed", "feed"))
        talk(Wire(sock, masks=True))


@pytest.mark.parametrize(
    ("source", "data", "words"),
    [
        ("127.0.0.1", V1, "not a trusted proxy"),
        (TRUSTED, b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n", "no PROXY protocol header"),
        (TRUSTED, V1.replace(b"203", b"999"), "malformed address"),
        (TRUSTED, V1.replace(b"\r\n", b"x" * 100), "more than 107 bytes"),
        (TRUSTED, SIGNATURE + b"\x21\x11\xff\xff", "more than 4096 bytes"),
    ],
)
def test_a_wrong_beginning_closes_the_connection(
    start_proxy: StartProxy, plain_upstream: peers.Upstream, source: str, data: bytes, words: str
) -> None:
    proxy = start_proxy(speaking("any"), route("feed", plain_upstream.url))
    with arriving(proxy.address, source) as sock:
        sock.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    wait_for("the line", lambda: len([line for line in proxy.lines if "turned away" in line]) == 1)
    (line,) = [line for line in proxy.lines if "turned away" in line]
    assert "reason=proxy_protocol" in line and words in line and f"client={source}:" in line
    assert proxy.metric("wsproxy_connections_refused_total", listener="public", reason="proxy_protocol") == 1


def test_a_header_that_does_not_come_is_not_waited_for(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(speaking("v1"), route("feed", plain_upstream.url))
    begun = time.monotonic()
    with arriving(proxy.address) as sock:
        sock.settimeout(30)
        sock.sendall(V1[:20])
        assert sock.recv(100) == b""
    assert 8 < time.monotonic() - begun < 25
    assert proxy.metric("wsproxy_connections_refused_total", reason="timeout") == 1


def test_proxy_protocol_before_tls(start_proxy: StartProxy, plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    ca = trustme.CA()
    leaf = ca.issue_cert("feed.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    both = tmp_path / "both.pem"
    tls_lines = f'[listeners.tls]\ncertificates = [{{ cert = "{both}", key = "{both}" }}]\n'
    proxy = start_proxy(speaking("v2") + tls_lines, route("feed", plain_upstream.url))
    client = ssl.create_default_context()
    ca.configure_trust(client)
    sock = arriving(proxy.address)
    sock.sendall(V2)
    talk(ask(proxy, client.wrap_socket(sock, server_hostname="feed.example")))
    told = last_request(plain_upstream)
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == ("203.0.113.7", "https")


@contextlib.contextmanager
def proxied_upstream(proxy: Proxy, upstream: RawUpstream, client: Wire) -> Iterator[bytes]:
    """What an upstream gets before the request, which is answered then."""
    sock, _ = upstream.listener.accept()
    sock.settimeout(15)
    data = b""
    while b"GET " not in data:
        data += sock.recv(65536)
    preamble, _, rest = data.partition(b"GET ")
    wire = Wire(sock, masks=False)
    wire.put_back(b"GET " + rest)
    sock.sendall(answer(wire.head()))
    assert client.head().status == 101
    yield preamble
    wire.hang_up()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_upstream_is_told_by_proxy_protocol(start_proxy: StartProxy, bare: RawUpstream, version: str) -> None:
    # A route's last table is its upstream's.
    proxy = start_proxy(TRUSTING, route("feed", bare.url), f'proxy_protocol = "{version}"')
    port = proxy.address[1]
    client = knock(proxy.address, "/feed")
    own = client.sock.getsockname()[1]
    expected = {
        "v1": f"PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\n".encode(),
        "v2": SIGNATURE + b"\x21\x11\x00\x0c" + bytes([127, 0, 0, 1] * 2) + struct.pack("!HH", own, port),
    }
    with proxied_upstream(proxy, bare, client) as preamble:
        assert preamble == expected[version]
    behind = ask(proxy, arriving(proxy.address), X_Forwarded_For="203.0.113.7")
    with proxied_upstream(proxy, bare, behind) as preamble:
        if version == "v1":
            assert preamble == f"PROXY TCP4 203.0.113.7 127.0.0.1 0 {port}\r\n".encode()
        else:
            assert preamble[16:20] == bytes([203, 0, 113, 7])


def test_a_kept_connection_is_not_used_for_another_client(start_proxy: StartProxy, bare: RawUpstream) -> None:
    """Plain HTTP of several clients on one connection of a trusted proxy, to an upstream with the PROXY protocol."""
    proxy = start_proxy(TRUSTING, route("feed", bare.url), 'proxy_protocol = "v1"')
    with arriving(proxy.address) as sock:
        upstreams: list[socket.socket] = []
        for number, (client, new) in enumerate([("203.0.113.7", True), ("203.0.113.7", False), ("203.0.113.8", True)]):
            sock.sendall(f"GET /feed HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n".encode())
            if new:
                upstreams.append(bare.listener.accept()[0])
                upstreams[-1].settimeout(15)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += upstreams[-1].recv(65536)
            assert asked.startswith(f"PROXY TCP4 {client} ".encode() if new else b"GET /feed ")
            body = str(number).encode()
            upstreams[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)
            told = b""
            while not told.endswith(b"\r\n\r\n" + body):
                told += sock.recv(65536)
        for upstream in upstreams:
            upstream.close()


def test_forwarded_headers_of_strangers_are_replaced(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(TRUSTING, route("feed", plain_upstream.url))
    lies = {
        "X_Forwarded_For": "10.1.1.1",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "evil.example",
        "Forwarded": "for=10.1.1.1",
        "X_Real_IP": "10.1.1.1",
    }
    talk(knock(proxy.address, "/feed", **lies))
    told = last_request(plain_upstream)
    host = f"{proxy.address[0]}:{proxy.address[1]}"
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert told["x-forwarded-proto"] == "http"
    assert told["x-forwarded-host"] == host
    assert told["forwarded"] == f'for=127.0.0.1;host="{host}";proto=http'
    assert "x-real-ip" not in told
    assert " client=127.0.0.1:" in closed_line(proxy)
    talk(ask(proxy, arriving(proxy.address), **lies))
    told = last_request(plain_upstream)
    assert told["x-forwarded-for"] == f"10.1.1.1, {TRUSTED}"
    assert told["x-forwarded-proto"] == "https"
    assert told["x-forwarded-host"] == "evil.example"
    assert told["forwarded"] == f'for=10.1.1.1, for={TRUSTED};host="{host}";proto=http'
    assert told["x-real-ip"] == "10.1.1.1"
    assert " client=10.1.1.1 " in closed_line(proxy)


def test_a_proxy_in_front_may_tell_in_either_way(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    """An upstream that reads the other of the two fields sees the client all the same."""
    proxy = start_proxy(TRUSTING, route("feed", plain_upstream.url))
    host = f"{proxy.address[0]}:{proxy.address[1]}"
    ours = f'for={TRUSTED};host="{host}";proto=http'
    talk(ask(proxy, arriving(proxy.address), X_Forwarded_For="203.0.113.7, 2001:db8::7", X_Forwarded_Proto="https"))
    told = last_request(plain_upstream)
    assert told["x-forwarded-for"] == f"203.0.113.7, 2001:db8::7, {TRUSTED}"
    assert told["forwarded"] == f'for=203.0.113.7, for="[2001:db8::7]";proto=https, {ours}'
    talk(ask(proxy, arriving(proxy.address), Forwarded='for="[2001:db8::7]:80";proto=https;host=out.example'))
    told = last_request(plain_upstream)
    assert told["x-forwarded-for"] == f"2001:db8::7, {TRUSTED}"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", "out.example")
    assert told["forwarded"] == f'for="[2001:db8::7]:80";proto=https;host=out.example, {ours}'
    # What a client wrote and a proxy that only adds to X-Forwarded-For let pass.
    talk(ask(proxy, arriving(proxy.address), Forwarded="for=10.9.9.9;proto=https", X_Forwarded_For="203.0.113.7"))
    assert last_request(plain_upstream)["forwarded"] == f"for=203.0.113.7, {ours}"


def test_plain_http_is_introduced_and_changed_too(start_proxy: StartProxy) -> None:
    with web_upstream() as upstream:
        proxy = start_proxy(
            TRUSTING,
            route(
                "web",
                upstream.url,
                'replace_prefix = "/"',
                'headers.set = { "X-Env" = "prod", "Host" = "inside.example" }',
                'headers.remove = ["Cookie"]',
            ),
        )
        connection = http.client.HTTPConnection(*proxy.address, timeout=15)
        sent = {"X-Forwarded-For": "10.1.1.1", "Cookie": "a=b", "x-env": "theirs", "X-Kept": "1"}
        for _ in range(2):
            connection.request("GET", "/web/page", headers=sent)
            connection.getresponse().read()
            told = dict(upstream.seen[-1][2])
            assert told["x-forwarded-for"] == "127.0.0.1"
            assert told["x-forwarded-host"] == f"{proxy.address[0]}:{proxy.address[1]}"
            assert told["host"] == "inside.example"
            assert told["x-env"] == "prod" and told["x-kept"] == "1" and "cookie" not in told
        connection.close()


def test_a_route_changes_the_header_of_a_handshake(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(
        route(
            "feed",
            plain_upstream.url,
            'headers.set = { "X-Env" = "prod", "Host" = "inside.example", "Origin" = "https://inside.example" }',
            'headers.remove = ["Cookie", "x-forwarded-for", "Forwarded"]',
        )
    )
    talk(knock(proxy.address, "/feed", Cookie="a=b", X_Env="theirs", Origin="https://app.example"))
    told = last_request(plain_upstream)
    assert told["host"] == told["origin"].removeprefix("https://") == "inside.example"
    assert told["x-env"] == "prod"
    assert not {"cookie", "x-forwarded-for", "forwarded"} & set(told)
    assert told["x-forwarded-proto"] == "http"


def test_what_belongs_to_a_connection_cannot_be_set(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    names = "Connection", "Upgrade", "Transfer-Encoding", "Content-Length", "Sec-WebSocket-Key", "sec-websocket-Accept"
    for name in names:
        path.write_text(route("feed", "ws://127.0.0.1:9", f'headers.set = {{ "{name}" = "x" }}'))
        command = [sys.executable, "-m", "wsproxy", "check", str(path)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 2 and name in found.stdout + found.stderr, found


def test_a_unix_socket_has_its_mode_and_its_clients_are_trusted(tmp_path: Path, plain_upstream: peers.Upstream) -> None:
    path = tmp_path / "proxy.sock"
    listener = f'[[listeners]]\nname = "local"\nbind = "unix:{path}"\nunix_mode = 0o620\ntrusted_proxies = ["unix"]\n'
    with configured(listener, route("feed", plain_upstream.url)) as proxy:
        assert path.stat().st_mode & 0o777 == 0o620
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(os.fspath(path))
            talk(ask(proxy, sock, X_Forwarded_For="203.0.113.7"))
        assert last_request(plain_upstream)["x-forwarded-for"] == "203.0.113.7"
        assert " client=203.0.113.7 " in closed_line(proxy)


ORIGINS = [
    ("https://app.example.com", 101),
    ("HTTPS://APP.example.com", 101),
    ("https://app.example.com:443", 101),
    ("https://app.example.com:8443", 403),
    ("http://app.example.com", 403),
    ("https://app.example.com.evil.example", 403),
    ("https://other.example.com", 403),
    ("null", 403),
    ("", 403),
    ("http://local.example:8080", 101),
    ("http://local.example", 403),
    ("file://", 403),
    ("https://app.example.com https://evil.example", 403),
]


def test_origins(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    allowed = 'origins = ["https://app.example.com", "http://local.example:8080"]'
    proxy = start_proxy(
        route("feed", plain_upstream.url, allowed), route("sandboxed", plain_upstream.url, 'origins = ["null"]')
    )
    for origin, status in ORIGINS:
        wire = knock(proxy.address, "/feed", Origin=origin)
        assert wire.head().status == status, origin
        wire.hang_up()
    assert knock(proxy.address, "/feed").head().status == 101
    assert knock(proxy.address, "/sandboxed", Origin="null").head().status == 101
    assert knock(proxy.address, "/sandboxed", Origin="https://app.example.com").head().status == 403
