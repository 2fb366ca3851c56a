"""What crosses in the opening handshake: subprotocols, headers, cookies, refusals; and whom the proxy refuses."""

import socket
from collections.abc import Iterator
from http import HTTPStatus
from time import monotonic

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from tests.endtoend import peers
from tests.endtoend.proxy import BASE, Proxy, configured, route, wait_for
from tests.endtoend.wire import RawUpstream, Wire, answer, full_backlog, knock, request

TEAPOT = Response(418, "I'm a teapot", Headers([("X-Pot", "short and stout"), ("Content-Length", "4")]), b"tea\n")
REDIRECT = Response(
    302, "Found", Headers([("Location", "https://example.com/login?next=%2F"), ("Content-Length", "0")])
)
UNAUTHORIZED = Response(
    401,
    "Unauthorized",
    Headers(
        [
            ("WWW-Authenticate", 'Basic realm="feed"'),
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2"),
            ("Content-Type", "application/json"),
            ("Content-Length", "15"),
        ]
    ),
    b'{"who": "you"}\n',
)
REFUSALS = {"/strict/teapot": TEAPOT, "/strict/redirect": REDIRECT, "/strict/unauthorized": UNAUTHORIZED}


def _refuse(_connection: ServerConnection, asked: Request) -> Response | None:
    return REFUSALS.get(asked.path)


@pytest.fixture(scope="module")
def strict() -> Iterator[peers.Upstream]:
    """Chooses subprotocols, sets cookies, refuses some paths."""
    cookies = [("Set-Cookie", "session=1; HttpOnly"), ("Set-Cookie", "theme=dark"), ("X-From", "upstream")]
    with peers.upstream(subprotocols=["chat.v2", "chat.v1"], answer=_refuse, headers=cookies) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(strict: peers.Upstream) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"ws://127.0.0.1:{closed.getsockname()[1]}"
    with configured(
        route("strict", strict.url),
        route("origins", strict.url, 'origins = ["https://app.example.com"]'),
        route("hosts", strict.url, 'hosts = ["*.example.org"]'),
        route("nobody", nobody),
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["chat.v1"], "chat.v1"),
        (["chat.v0", "chat.v1"], "chat.v1"),
        (["chat.v1", "chat.v2"], "chat.v2"),
        ([], None),
    ],
)
def test_the_upstream_chooses_the_subprotocol(proxy: Proxy, offered: list[str], chosen: str | None) -> None:
    with peers.client(proxy.url("/strict"), subprotocols=offered) as client:
        assert client.subprotocol == chosen


def test_request_headers_and_cookies_cross(proxy: Proxy, strict: peers.Upstream) -> None:
    sent = [
        ("Cookie", "a=1; b=2"),
        ("Authorization", "Bearer token"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("Origin", "https://anyone.example"),
    ]
    with peers.client(proxy.url("/strict/deep?q=%20x&r=1"), headers=sent):
        asked = strict.requests[-1]
    assert asked.path == "/strict/deep?q=%20x&r=1"
    assert asked.headers["Host"] == f"127.0.0.1:{proxy.address[1]}"
    for name, value in sent:
        assert value in asked.headers.get_all(name)
    assert asked.headers.get_all("X-Twice") == ["one", "two"]


def test_response_headers_and_cookies_cross(proxy: Proxy) -> None:
    with peers.client(proxy.url("/strict")) as client:
        assert client.response is not None
        assert client.response.headers.get_all("Set-Cookie") == ["session=1; HttpOnly", "theme=dark"]
        assert client.response.headers["X-From"] == "upstream"


def test_each_leg_has_its_own_key_and_headers_named_by_connection_stay(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url)) as proxy:
        client = Wire(socket.create_connection(proxy.address), masks=True)
        extra = {"Connection": "Upgrade, X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=5", "X-End": "2"}
        head = request("/bare", "a.example", None, extra)
        client.sock.sendall(head)
        upstream, asked = bare.accept()
        assert client.head().status == 101
        key = asked.get("sec-websocket-key")
        assert key is not None
        assert key.encode() not in head
        assert asked.get("x-end") == "2"
        assert asked.get("x-hop") is None
        assert asked.get("keep-alive") is None
        upstream.hang_up()
        client.hang_up()


@pytest.mark.parametrize("path", sorted(REFUSALS))
def test_an_upstreams_refusal_is_relayed_whole(proxy: Proxy, path: str) -> None:
    meant = REFUSALS[path]
    client = knock(proxy.address, path, "permessage-deflate")
    told = client.head()
    assert told.first == f"HTTP/1.1 {meant.status_code} {meant.reason_phrase}"
    assert client.body(len(meant.body or b"")) == (meant.body or b"")
    for name in set(meant.headers):
        assert told.all(name) == meant.headers.get_all(name)
    client.hang_up()


def _status(address: tuple[str, int], path: str, **headers: str) -> tuple[int, Wire]:
    wire = knock(address, path, **headers)
    return wire.head().status, wire


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/nowhere", {}, HTTPStatus.NOT_FOUND),
        ("/strictly", {}, HTTPStatus.NOT_FOUND),
        ("/origins", {"Origin": "https://evil.example"}, HTTPStatus.FORBIDDEN),
        ("/origins", {"Origin": "https://app.example.com"}, HTTPStatus.SWITCHING_PROTOCOLS),
        ("/origins", {}, HTTPStatus.SWITCHING_PROTOCOLS),
        ("/hosts", {"Host": "a.example.org:81"}, HTTPStatus.SWITCHING_PROTOCOLS),
        ("/hosts", {"Host": "example.com"}, HTTPStatus.NOT_FOUND),
        ("/nobody", {}, HTTPStatus.BAD_GATEWAY),
        ("/strict", {"Sec-WebSocket-Version": "8"}, HTTPStatus.UPGRADE_REQUIRED),
        ("/strict", {"Sec-WebSocket-Key": "short"}, HTTPStatus.BAD_REQUEST),
        ("/strict", {"X-Large": "x" * 200_000}, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_whom_the_proxy_refuses(proxy: Proxy, path: str, headers: dict[str, str], status: HTTPStatus) -> None:
    told, wire = _status(proxy.address, path, **headers)
    assert told == status
    wire.hang_up()


def test_the_version_that_is_spoken_is_told(proxy: Proxy) -> None:
    wire = knock(proxy.address, "/strict", Sec_WebSocket_Version="7")
    assert wire.head().get("sec-websocket-version") == "13"
    wire.hang_up()


@pytest.mark.parametrize("junk", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_what_is_no_http_gets_a_400_or_nothing_and_harms_nobody(proxy: Proxy, junk: bytes) -> None:
    wire = Wire(socket.create_connection(proxy.address), masks=True)
    wire.sock.sendall(junk)
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.head().status == HTTPStatus.BAD_REQUEST
    wire.hang_up()
    with peers.client(proxy.url("/strict")) as client:
        client.send("still here")
        assert client.recv() == "still here"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"])
def test_an_upstream_that_answers_nonsense_is_a_502(bare: RawUpstream, answer: bytes) -> None:
    with configured(route("bare", bare.url)) as proxy:
        client = knock(proxy.address, "/bare")
        upstream, _ = bare.receive()
        upstream.sock.sendall(answer)
        upstream.hang_up()
        assert client.head().status == HTTPStatus.BAD_GATEWAY
        client.hang_up()


@pytest.mark.parametrize(
    "wrong",
    [
        "Sec-WebSocket-Protocol: unasked",
        "Sec-WebSocket-Protocol: chat.v1\r\nSec-WebSocket-Protocol: chat.v2",
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "Upgrade: h2c",
        "Connection: close",
    ],
)
def test_an_upstream_whose_101_is_wrong_is_a_502(bare: RawUpstream, wrong: str) -> None:
    with configured(route("bare", bare.url)) as proxy:
        client = knock(proxy.address, "/bare", Sec_WebSocket_Protocol="chat.v1, chat.v2")
        upstream, asked = bare.receive()
        name = wrong.partition(":")[0].lower()
        right = answer(asked).decode().rstrip().split("\r\n")
        kept = [line for line in right if line.partition(":")[0].lower() != name]
        upstream.sock.sendall("\r\n".join([*kept, wrong, "", ""]).encode())
        assert client.head().status == HTTPStatus.BAD_GATEWAY
        assert upstream.at_end()


def test_an_upstream_whose_101_is_of_http_1_0_is_a_502(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url)) as proxy:
        client = knock(proxy.address, "/bare")
        upstream, asked = bare.receive()
        upstream.sock.sendall(answer(asked).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert client.head().status == HTTPStatus.BAD_GATEWAY
        assert upstream.at_end()


def test_an_upstream_that_does_not_answer_is_a_504(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url, "timeouts.handshake_seconds = 0.2")) as proxy:
        client = knock(proxy.address, "/bare")
        upstream, _ = bare.receive()
        assert client.head().status == HTTPStatus.GATEWAY_TIMEOUT
        assert upstream.at_end()
        client.hang_up()
        upstream.hang_up()


def test_an_upstream_that_does_not_accept_is_a_504() -> None:
    """Told to WebSockets and to plain HTTP, counted, logged, and its place is given back."""
    with full_backlog() as url, configured(route("full", url, "timeouts.connect_seconds = 0.5")) as proxy:
        begun = monotonic()
        assert knock(proxy.address, "/full").head().status == HTTPStatus.GATEWAY_TIMEOUT
        assert 0.4 < monotonic() - begun < 10
        plain = Wire(socket.create_connection(proxy.address), masks=True)
        plain.sock.sendall(b"GET /full HTTP/1.1\r\nHost: a\r\n\r\n")
        assert plain.head().status == HTTPStatus.GATEWAY_TIMEOUT
        assert proxy.metric("wsproxy_handshakes_total", route="full", result="upstream_timeout") == 1
        assert proxy.metric("wsproxy_handshakes_total") == 1
        assert proxy.metric("wsproxy_endpoint_connections", endpoint=url) == 0
        wait_for("both lines", lambda: sum(" refused " in line for line in proxy.lines) == 2)
        assert all("status=504" in line and "in time" in line for line in proxy.lines if " refused " in line)


def test_an_upstream_that_does_not_accept_leaves_time_for_another(strict: peers.Upstream) -> None:
    with full_backlog() as url:
        pool = route("pool", url, "timeouts.connect_seconds = 0.5").replace(f'"{url}"', f'"{url}", "{strict.url}"')
        logged = BASE + '[log]\nlevel = "debug"\n'
        with configured(pool + 'balance = "round_robin"\n', base=logged) as proxy:
            for _ in range(4):
                with peers.client(proxy.url("/pool")) as client:
                    client.send("through")
                    assert client.recv() == "through"
            assert proxy.metric("wsproxy_handshakes_total", result="accepted") == 4
            assert proxy.metric("wsproxy_handshakes_total") == 4
            wait_for("its line", lambda: any(" attempt failed " in line and url in line for line in proxy.lines))
