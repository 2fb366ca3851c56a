"""What belongs to one connection stays on it, both ways, and so does what Connection names (RFC 9110 §7.6.1)."""

import socket
from collections.abc import Iterator

import pytest

from tests.endtoend.proxy import DEADLINE, Proxy, configured, route
from tests.endtoend.wire import Head, RawUpstream, Wire, answer, raw_upstream, request
from tests.hostile.grammar import read_answers
from tests.hostile.test_smuggling import LAST, ask
from tests.hostile.upstreams import Canned, Recorder, recorder

HOP = {
    "Keep-Alive": "timeout=5",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Upgrade": "h2c, h3",
}
NAMED = {"X-Hop": "1", "x-lower": "2", "Cookie": "secret=1", "Authorization": "Basic eDp4", "Accept": "*/*"}
KEPT = {"X-End": "to end", "User-Agent": "test"}
INTRODUCED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"}
"""What the proxy adds to a request, whatever Connection names."""
CONNECTIONS = (
    "close, X-Hop, X-Lower, Cookie, Authorization, Accept, Upgrade",
    "X-HOP,x-lower,,COOKIE ,\tauthorization\t,accept,upgrade,",
    "Host, X-Hop, X-Lower, Cookie, Authorization, Accept, X-Forwarded-For, Forwarded",
)


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("split", [False, True], ids=["one line", "one line each"])
def test_of_a_request(proxy: Proxy, recording: Recorder, connection: str, *, split: bool) -> None:
    values = connection.split(",") if split else [connection]
    lines = [f"Connection: {value}\r\n" for value in values]
    lines += [f"{name}: {value}\r\n" for name, value in (HOP | NAMED | KEPT).items()]
    told = ask(
        proxy, b"GET /raw/hop HTTP/1.1\r\nHost: h\r\n%s\r\n%s" % ("".join(lines).encode(), LAST.replace(b"UP", b"raw"))
    )
    assert read_answers(told)[0].status == 200
    recording.take()
    found = next(one for one in reversed(recording.requests) if one.first[1] == "/raw/hop")
    crossed = tuple(field for field in found.headers if field[0] not in INTRODUCED)
    assert crossed == (("host", "h"), *[(name.lower(), value) for name, value in KEPT.items()])
    assert {name for name, _ in found.headers} >= INTRODUCED


def test_of_an_answer() -> None:
    lines = [f"{name}: {value}\r\n" for name, value in (HOP | NAMED | KEPT).items()]
    head = "HTTP/1.1 200 OK\r\nConnection: X-Hop, Content-Length\r\nConnection: x-lower\r\nContent-Length: 2\r\n"
    canned = {"/raw/hop": Canned(f"{head}{''.join(lines)}\r\nok".encode())}
    with recorder(canned) as upstream, configured(route("raw", upstream.url)) as proxy:
        told = read_answers(ask(proxy, b"GET /raw/hop HTTP/1.1\r\nHost: h\r\n\r\n" + LAST.replace(b"UP", b"raw")))
    assert [one.body for one in told] == [b"ok", b"GET /raw/last"]
    crossed = {name for name, _ in told[0].headers}
    assert crossed == {"content-length", "cookie", "authorization", "accept", "x-end", "user-agent"}


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def before_bare(module_bare: RawUpstream) -> Iterator[Proxy]:
    with configured(route("bare", module_bare.url)) as running:
        yield running


def _shake(proxy: Proxy, upstream: RawUpstream, headers: dict[str, str], answered: bytes) -> tuple[Head, Head]:
    """What the upstream is asked and the client told, with ``answered`` as further lines of the 101."""
    client = Wire(socket.create_connection(proxy.address, DEADLINE), masks=True)
    client.sock.sendall(request("/bare", "h", None, headers))
    wire, asked = upstream.receive()
    wire.sock.sendall(answer(asked).removesuffix(b"\r\n") + answered + b"\r\n")
    told = client.head()
    wire.hang_up()
    client.hang_up()
    assert told.status == 101
    return asked, told


@pytest.mark.parametrize(
    "named",
    ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Cookie", "Origin", "X-Hop", "Upgrade", "Connection"],
)
def test_of_a_websocket_handshake(before_bare: Proxy, module_bare: RawUpstream, named: str) -> None:
    """Each leg's own headers are there whatever the client names; what it names of the others stays."""
    sent = {"Cookie": "a=1", "Origin": "https://a.example", "X-Hop": "1", "Keep-Alive": "1", "TE": "trailers"}
    asked, _ = _shake(before_bare, module_bare, sent | {"Connection": f"Upgrade, {named}"}, b"")
    own = {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "traceparent"} | INTRODUCED
    names = [name for name, _ in asked.headers]
    assert sorted(names) == sorted(own | ({"cookie", "origin", "x-hop"} - {named.lower()}))
    assert asked.all("connection") == ["Upgrade"]


def test_of_a_websocket_answer(before_bare: Proxy, module_bare: RawUpstream) -> None:
    more = b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTransfer-Encoding: chunked\r\nX-End: 1\r\n"
    _, told = _shake(before_bare, module_bare, {}, more)
    assert sorted(name for name, _ in told.headers) == ["connection", "sec-websocket-accept", "upgrade", "x-end"]
