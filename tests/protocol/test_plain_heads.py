"""Heads that are read without h11: for any bytes, what h11 would have made of them, or nothing."""

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.protocol.http1 import HEAD_LIMIT, Headers, check_head
from wsproxy.protocol.plain_heads import read_request, read_switch

REQUEST = (
    b"GET /feed?a=b HTTP/1.1\r\nHost: feed.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version:13\r\n"
    b"Cookie: a=b; \xe4=\xff\r\nX-Empty:\r\nX-Spaces: \t a \t b \t \r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nset-cookie:  a=b  \r\nSet-Cookie: c\r\n\r\n"
)
FIRST_FRAME = b"\x81\x02\r\n"

PIECES = st.sampled_from(
    [
        *(b"GET ", b"POST ", b"/x", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"HTTP/1.1 101", b"HTTP/1.1 200 OK"),
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b"\x7f", b"\x85", b"\xa0", b"\x0b", b":"),
        *(b"Host: x\r\n", b"host:\r\n", b"Upgrade: websocket\r\n", b"Connection: close\r\n", b" folded\r\n"),
        *(b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-length: x\r\n", b"Expect: 100-continue\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b": x\r\n", b"\xe4: x\r\n"),
        *(b"(): x\r\n", b"X : y\r\n"),
    ]
)


@st.composite
def changed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some way away from a good head: pieces put in, taken out and cut off, and bytes behind."""
    data = whole + draw(st.sampled_from([b"", FIRST_FRAME, b"GET / HTTP/1.1\r\n", b"\r\n"]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(PIECES | st.binary(max_size=3))
        data = data[:at] + piece + data[at + draw(st.integers(0, 12)) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


def fields(headers: Headers) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    return [*headers], [*headers.raw_items()]


def holds_for_request(data: bytes) -> bool:
    """The law; whether the head was read."""
    found = read_request(data)
    if found is None:
        return False
    request, behind = found
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    check_head(event, from_client=True)
    assert (request.method, request.target, request.http_version) == (event.method, event.target, event.http_version)
    assert fields(request.headers) == fields(event.headers)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.trailing_data == (behind, False)
    assert connection.our_state is h11.SEND_RESPONSE
    return True


def holds_for_switch(data: bytes) -> bool:
    found = read_switch(data)
    if found is None:
        return False
    switch, behind = found
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    asked = [("Host", "x"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    connection.send(h11.Request(method="GET", target="/", headers=asked))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.InformationalResponse)
    check_head(event, from_client=False)
    assert switch.status_code == event.status_code
    assert fields(switch.headers) == fields(event.headers)
    assert connection.trailing_data == (behind, False)
    return True


@given(changed(REQUEST))
@example(REQUEST + FIRST_FRAME)
def test_requests_are_what_h11_makes_of_them(data: bytes) -> None:
    holds_for_request(data)


@given(changed(SWITCH))
@example(SWITCH + FIRST_FRAME)
def test_answers_are_what_h11_makes_of_them(data: bytes) -> None:
    holds_for_switch(data)


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=12).map(b"".join))
def test_anything_is_what_h11_makes_of_it(data: bytes) -> None:
    holds_for_request(data)
    holds_for_request(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n" + data)
    holds_for_switch(data)
    holds_for_switch(b"HTTP/1.1 101" + data)


def test_most_handshakes_are_read() -> None:
    """Else the law above says nothing."""
    assert holds_for_request(REQUEST)
    assert holds_for_request(REQUEST + FIRST_FRAME)
    assert holds_for_switch(SWITCH)
    assert holds_for_switch(SWITCH + FIRST_FRAME)
    assert holds_for_switch(SWITCH.replace(b" Switching Protocols", b""))
    # As browsers and libraries write their names.
    assert holds_for_request(REQUEST.replace(b"Upgrade: websocket", b"upgrade:WebSocket"))


def with_field(line: bytes) -> bytes:
    return REQUEST.replace(b"Upgrade: ", line + b"\r\nUpgrade: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REQUEST[:-1],
        b"\r\n" + REQUEST,
        REQUEST.replace(b"GET", b"POST"),
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
        REQUEST.replace(b"Host: feed.test\r\n", b""),
        REQUEST.replace(b"\r\n", b"\n"),
        REQUEST.replace(b"Upgrade: websocket\r\n", b""),
        REQUEST.replace(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n"),
        with_field(b"Host: other.test"),
        with_field(b"Content-Length: 0"),
        with_field(b"Transfer-Encoding: chunked"),
        with_field(b"Expect: 100-continue"),
        with_field(b"X: a\r\n folded"),
        with_field(b"X : a"),
        with_field(b"X: a\0b"),
        with_field(b"X: a\rb"),
        with_field(b"X: \x7f"),
    ],
)
def test_what_is_unusual_is_for_h11(data: bytes) -> None:
    assert read_request(data) is None


def test_control_characters_are_refused_either_way() -> None:
    """h11 lets most of them through; `check_head` does not, and here they are not read at all."""
    data = with_field(b"X: a\x01b")
    assert read_request(data) is None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    with pytest.raises(Refused):
        check_head(event, from_client=True)


def test_a_long_head_takes_linear_time() -> None:
    """Nothing is looked at twice: 64 KiB of the worst ends at once, where a pattern that backtracks would not end."""
    for tail in (b"a" * HEAD_LIMIT, b"a:" * HEAD_LIMIT, b"a: \t" * HEAD_LIMIT, b"a: b\r\n" * HEAD_LIMIT):
        assert read_request(REQUEST[:-2] + tail[:HEAD_LIMIT]) is None
