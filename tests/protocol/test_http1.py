"""Which headers cross, how messages are framed, and what our own errors look like."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.protocol import http1

Pairs = list[tuple[bytes, bytes]]


def request(*headers: tuple[str, str], method: str = "GET", target: str = "/", version: str = "1.1") -> h11.Request:
    """As h11 reads it from the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode())
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


HOST = ("Host", "feed.test")


def test_hop_by_hop_headers_stay_and_the_rest_keeps_case_and_order() -> None:
    found = request(
        HOST,
        ("X-First", "1"),
        ("Connection", "close, X-Mine , upgrade"),
        ("Keep-Alive", "5"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("Proxy-Connection", "keep-alive"),
        ("x-mine", "2"),
        ("cOOkie", "a=b"),
        ("Cookie", "c=d"),
    )
    assert http1.end_to_end(found.headers) == [
        (b"Host", b"feed.test"),
        (b"X-First", b"1"),
        (b"Trailer", b"X-Sum"),
        (b"cOOkie", b"a=b"),
        (b"Cookie", b"c=d"),
    ]


NAMES = st.sampled_from(
    ["connection", "Keep-Alive", "te", "Upgrade", "X-A", "x-b", "Cookie", "Proxy-Connection", "Trailer"]
)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["close", "x-a", "X-B, te", "v", ""])), max_size=12))
def test_nothing_that_connection_names_crosses(headers: list[tuple[str, str]]) -> None:
    found = request(HOST, *headers)
    crossed = {name.lower() for name, _ in http1.end_to_end(found.headers)}
    assert not crossed & http1.tokens(found.headers, b"connection")
    assert crossed <= {b"host", b"x-a", b"x-b", b"cookie", b"trailer"}


def test_connection_cannot_take_a_bodys_length_away() -> None:
    found = request(HOST, ("Connection", "content-length"), ("Content-Length", "3"), method="POST")
    assert (b"content-length", b"3") in http1.upstream_request(found, b"", b"").headers


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/", "feed.test", (b"feed.test", b"/")),
        ("/a?b=c", "Feed.test:80", (b"Feed.test:80", b"/a?b=c")),
        ("/a", "[::1]:80", (b"[::1]:80", b"/a")),
        ("/a", "", (b"", b"/a")),
        ("//a", "x", (b"x", b"//a")),
        ("http://other.test/a?b", "feed.test", (b"other.test", b"/a?b")),
        ("HTTP://other.test:1?b", "feed.test", (b"other.test:1", b"/?b")),
        ("ws://other.test", "feed.test", (b"other.test", b"/")),
    ],
)
def test_destination(target: str, host: str, expected: tuple[bytes, bytes]) -> None:
    found = http1.destination(request(("Host", host), target=target))
    assert (found.host, found.target) == expected


@pytest.mark.parametrize(
    ("method", "target", "host", "status"),
    [
        ("CONNECT", "feed.test:80", "x", 501),
        ("GET", "feed.test:80", "x", 400),
        ("GET", "*", "x", 400),
        ("GET", "http:///a", "x", 400),
        ("GET", "http://user@x/a", "x", 400),
        ("GET", "/a#b", "x", 400),
        ("GET", "/", "a b", 400),
        ("GET", "/", "a/b", 400),
        ("GET", "/", "user@a", 400),
        ("GET", "/", "[::1", 400),
        ("GET", "/", "a:b", 400),
    ],
)
def test_destinations_that_are_refused(method: str, target: str, host: str, status: int) -> None:
    with pytest.raises(Refused) as caught:
        http1.destination(request(("Host", host), method=method, target=target))
    assert (caught.value.status, caught.value.result) == (status, "bad_request")


def test_options_of_the_whole_site() -> None:
    found = request(HOST, method="OPTIONS", target="*")
    assert http1.upstream_request(found, b"/base", b"").target == b"*"


def test_the_upstreams_request() -> None:
    found = request(
        ("X-A", "1"), HOST, ("Content-Length", "3"), ("Expect", "100-continue"), method="PUT", target="/a?b"
    )
    sent = http1.upstream_request(found, b"/base", b"10.0.0.1:9000")
    assert (sent.method, sent.target) == (b"PUT", b"/base/a?b")
    assert sent.headers.raw_items() == [
        (b"Host", b"feed.test"),
        (b"X-A", b"1"),
        (b"Content-Length", b"3"),
        (b"Expect", b"100-continue"),
    ]


def test_a_request_without_host_gets_the_endpoints() -> None:
    sent = http1.upstream_request(request(version="1.0"), b"", b"10.0.0.1:9000")
    assert sent.headers.raw_items() == [(b"Host", b"10.0.0.1:9000")]


def test_chunks_stay_chunks() -> None:
    sent = http1.upstream_request(request(HOST, ("transfer-encoding", "Chunked"), method="POST"), b"", b"")
    assert sent.headers.raw_items() == [(b"Host", b"feed.test"), (b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_two_framings_are_refused(version: str) -> None:
    headers = [HOST, ("Transfer-Encoding", "chunked")]
    if version == "1.1":
        headers.append(("Content-Length", "3"))
    with pytest.raises(Refused, match="400"):
        http1.upstream_request(request(*headers, method="POST", version=version), b"", b"")


@pytest.mark.parametrize(
    ("method", "headers", "bodyless", "repeatable"),
    [
        ("GET", [], True, True),
        ("DELETE", [("Content-Length", "0")], True, True),
        ("PUT", [("Content-Length", "1")], False, False),
        ("PUT", [("Transfer-Encoding", "chunked")], False, False),
        ("POST", [], True, False),
        ("PATCH", [], True, False),
    ],
)
def test_what_may_be_sent_again(method: str, headers: list[tuple[str, str]], bodyless: bool, repeatable: bool) -> None:
    found = request(HOST, *headers, method=method)
    assert http1.is_bodyless(found) == bodyless
    assert http1.is_repeatable(found) == repeatable


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("Upgrade", "websocket"), ("Connection", "Upgrade")], True),
        ([("Upgrade", "h2c, WebSocket")], True),
        ([("Upgrade", "h2c"), ("Connection", "Upgrade")], False),
        ([("Upgrade", "websockets")], False),
        ([], False),
    ],
)
def test_who_wants_a_websocket(headers: list[tuple[str, str]], expected: bool) -> None:
    assert http1.is_websocket_upgrade(request(HOST, *headers)) == expected


def wire(response: h11.Response, method: str = "GET", version: str = "1.1") -> bytes:
    """What h11 makes of our response to such a request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    connection.next_event()
    return connection.send(response) or b""


@pytest.mark.parametrize(
    ("headers", "method", "version", "framing"),
    [
        ([("Content-Length", "3")], "GET", "1.1", b"Content-Length: 3"),
        ([("Content-Length", "3")], "HEAD", "1.1", b"Content-Length: 3"),
        ([("Transfer-Encoding", "chunked")], "GET", "1.1", b"Transfer-Encoding: chunked"),
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "3")], "GET", "1.1", b"Transfer-Encoding: chunked"),
        ([], "GET", "1.1", b"Transfer-Encoding: chunked"),
        ([("Transfer-Encoding", "chunked")], "GET", "1.0", b"Connection: close"),
        ([], "GET", "1.0", b"Connection: close"),
    ],
)
def test_an_answer_has_one_framing(headers: list[tuple[str, str]], method: str, version: str, framing: bytes) -> None:
    answer = h11.Response(status_code=200, reason="Fine", headers=[("X-A", "1"), ("Keep-Alive", "1"), *headers])
    sent = wire(http1.client_response(answer, close=False), method, version)
    assert sent == b"HTTP/1.1 200 Fine\r\nX-A: 1\r\n" + framing + b"\r\n\r\n"


def test_an_answer_can_announce_the_end() -> None:
    answer = h11.Response(status_code=204, headers=[("Connection", "keep-alive")])
    assert wire(http1.client_response(answer, close=True)) == b"HTTP/1.1 204 \r\nConnection: close\r\n\r\n"


def test_interim_answers_cross() -> None:
    hints = h11.InformationalResponse(status_code=103, headers=[("Link", "</a>"), ("Connection", "x")])
    assert http1.informational_response(hints).headers.raw_items() == [(b"Link", b"</a>")]


def test_trailers_cannot_change_the_message() -> None:
    end = h11.EndOfMessage(headers=[("X-Sum", "1"), ("Content-Length", "9"), ("Set-Cookie", "a"), ("TE", "x")])
    assert http1.trailers(end.headers) == [(b"X-Sum", b"1")]


def test_our_own_error() -> None:
    response, body = http1.error_response(503, "draining", ((b"Retry-After", b"1"),))
    assert body == b"503 Service Unavailable: draining\n"
    assert response.headers.raw_items() == [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
        (b"Retry-After", b"1"),
    ]


@pytest.mark.parametrize(
    ("headers", "target", "version", "expected"),
    [
        ([("X-A", "1"), HOST], "/old", "1.1", [(b"Host", b"feed.test"), (b"X-A", b"1")]),
        ([HOST, ("X-A", "1")], "http://other.test/old", "1.1", [(b"Host", b"other.test"), (b"X-A", b"1")]),
        ([("X-A", "1")], "/old", "1.0", [(b"X-A", b"1")]),
        ([("Host", "")], "/old", "1.1", [(b"Host", b"")]),
    ],
)
def test_another_target_keeps_everything_else(
    headers: list[tuple[str, str]], target: str, version: str, expected: Pairs
) -> None:
    old = request(*headers, method="PUT", target=target, version=version)
    new = http1.with_target(old, b"/new?x")
    assert (new.method, new.target, new.http_version) == (b"PUT", b"/new?x", old.http_version)
    assert new.headers.raw_items() == expected
    assert http1.destination(new) == http1.Destination(http1.destination(old).host, b"/new?x")
