"""Whatever an upstream answers, the client gets well-formed answers, each to its own request, or a 502.

The client asks twice on one connection; the first answer is the hostile one.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.endtoend.proxy import DEADLINE, Proxy, configured, route
from tests.endtoend.wire import RawUpstream, knock
from tests.hostile.grammar import Incomplete, read_answers
from tests.hostile.test_smuggling import LAST, ask
from tests.hostile.upstreams import Canned, recorder

OK = b"HTTP/1.1 200 OK\r\n"
TWO = b"Content-Length: 2\r\n\r\nok"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@dataclass(frozen=True, slots=True)
class Hostile:
    """``status`` and ``body``: what the client gets as its first final answer; ``cut``: not to its end."""

    name: str
    data: bytes
    status: int = 502
    body: bytes = b""
    close: bool = False
    cut: bool = False
    interim: int = 0
    """1xx answers before it."""


ANSWERS = (
    Hostile(
        "length and chunks",
        OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
    ),
    Hostile("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\nokok"),
    Hostile("two lengths in one line", OK + b"Content-Length: 2, 4\r\n\r\nokok"),
    Hostile("one length twice", OK + b"Content-Length: 2\r\n" + TWO, 200, b"ok"),
    Hostile("a negative length", OK + b"Content-Length: -1\r\n\r\n"),
    Hostile("a length with a sign", OK + b"Content-Length: +2\r\n\r\nok"),
    Hostile("another coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    Hostile("xchunked", OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    Hostile("a folded coding", OK + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
    Hostile("a bad chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n", 200, b"ok", cut=True),
    Hostile("a chunk that is longer", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n", 200, cut=True),
    Hostile("a space before a colon", OK + b"Content-Length : 2\r\n\r\nok"),
    Hostile("NUL in a value", OK + b"X: a\x00\r\n" + TWO),
    Hostile("CR in a value", OK + b"X: a\rSet-Cookie: b\r\n" + TWO),
    Hostile("a control character in a value", OK + b"X: a\x01b\r\n" + TWO),
    Hostile("LF ends lines", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
    Hostile("a folded value", OK + b"X: a\r\n b\r\n" + TWO, 200, b"ok"),
    Hostile("a control character in the reason", b"HTTP/1.1 200 O\x01K\r\n" + TWO),
    Hostile("a status of two digits", b"HTTP/1.1 20 OK\r\n" + TWO),
    Hostile("a status of four digits", b"HTTP/1.1 2000 OK\r\n" + TWO),
    Hostile("status 000", b"HTTP/1.1 000 OK\r\n" + TWO),
    Hostile("status 999", b"HTTP/1.1 999 OK\r\n" + TWO, 999, b"ok"),
    Hostile("no reason", b"HTTP/1.1 200\r\n" + TWO, 200, b"ok"),
    Hostile("ICY", b"ICY 200 OK\r\n" + TWO),
    Hostile("HTTP/2.0", b"HTTP/2.0 200 OK\r\n" + TWO),
    Hostile("a request", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    Hostile("nothing", b"", close=True),
    Hostile("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", close=True),
    Hostile("TLS", b"\x15\x03\x01\x00\x02\x02\x46", close=True),
    Hostile(
        "101 that nobody asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + EVIL,
    ),
    Hostile("a head of 70 KB", OK + b"X: " + b"x" * 70_000 + b"\r\n" + TWO),
    Hostile("a head of 200 KB", OK + b"X: " + b"x" * 200_000 + b"\r\n" + TWO),
    Hostile("20,000 headers of 10 bytes", OK + b"X-A: abc\r\n" * 20_000 + TWO),
    Hostile("too much body", OK + TWO + EVIL, 200, b"ok"),
    Hostile("chunks and more", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EVIL, 200, b"ok"),
    Hostile("no length", OK + b"\r\nall of it", 200, b"all of it", close=True),
    Hostile("HTTP/1.0 without a length", b"HTTP/1.0 200 OK\r\n\r\nall of it", 200, b"all of it", close=True),
    Hostile("less body than announced", OK + b"Content-Length: 9\r\n\r\nok", 200, close=True, cut=True),
    Hostile("chunks without an end", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, close=True, cut=True),
    Hostile("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, 204),
    Hostile("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n" + EVIL, 204),
    Hostile(
        "204 with chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", 204
    ),
    Hostile("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 60\r\n\r\n" + EVIL, 304),
    Hostile(
        "103 with a length",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 60\r\n\r\n" + OK + TWO,
        200,
        b"ok",
        interim=1,
    ),
    Hostile(
        "103 with chunks",
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK + TWO,
        200,
        b"ok",
        interim=1,
    ),
    Hostile("100 that nobody waits for", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + TWO, 200, b"ok", interim=1),
    Hostile(
        "2,000 interim answers",
        b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 2_000 + OK + TWO,
        200,
        b"ok",
        interim=2_000,
    ),
    Hostile("Connection names the length", OK + b"Connection: Content-Length\r\n" + TWO + EVIL, 200, b"ok"),
)


def _name(number: int) -> str:
    return f"/raw/{number}"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Proxy]:
    canned = {_name(number): Canned(one.data, one.close) for number, one in enumerate(ANSWERS)}
    with recorder(canned) as upstream:
        with configured(route("raw", upstream.url, "timeouts.response_seconds = 5")) as proxy:
            yield proxy
        upstream.take()  # no connection of the proxy's is left open


CASES = [pytest.param(number, id=one.name) for number, one in enumerate(ANSWERS)]


@pytest.mark.parametrize("number", CASES)
def test_each_answer_belongs_to_its_request(hostile: Proxy, number: int) -> None:
    case = ANSWERS[number]
    first = f"GET {_name(number)} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    told = ask(hostile, first + LAST.replace(b"UP", b"raw"))
    if case.cut:
        with pytest.raises(Incomplete):
            read_answers(told)
        assert told.startswith(b"HTTP/1.1 %d " % case.status)
        return
    answers = read_answers(told)
    final = [one for one in answers if one.status >= 200]
    assert len(answers) - len(final) == case.interim
    assert final[0].status == case.status
    if case.status == 502:
        assert len(final) == 1
        return
    assert [one.body for one in final] == [case.body, b"GET /raw/last"]


@pytest.mark.parametrize("body", [b"", b"evil", EVIL])
def test_an_answer_to_head_has_no_body(body: bytes) -> None:
    canned = {"/raw/head": Canned(OK + b"Content-Length: 4\r\n\r\n" + body)}
    with recorder(canned) as upstream, configured(route("raw", upstream.url)) as proxy:
        told = ask(
            proxy, b"HEAD /raw/head HTTP/1.1\r\nHost: h\r\n\r\n" + LAST.replace(b"UP", b"raw").replace(b"GET", b"HEAD")
        )
    assert [one.all("content-length") for one in read_answers(told, to_head=True)] == [["4"], ["14"]]


@pytest.mark.parametrize("websocket", [False, True], ids=["plain", "websocket"])
def test_interim_answers_without_end_are_a_504(bare: RawUpstream, *, websocket: bool) -> None:
    """Each of them is progress, and none of them is the answer: the deadline is for the answer."""
    deadlines = ("timeouts.handshake_seconds = 0.3", "timeouts.response_seconds = 0.3")
    with configured(route("bare", bare.url, *deadlines)) as proxy:
        if websocket:
            sock = knock(proxy.address, "/bare").sock
        else:
            sock = socket.create_connection(proxy.address, DEADLINE)
            sock.sendall(b"GET /bare HTTP/1.1\r\nHost: h\r\n\r\n")
        upstream, _ = bare.receive()

        def flood() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    upstream.sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 10)

        flooding = threading.Thread(target=flood)
        flooding.start()
        told = b""
        with sock:
            while chunk := sock.recv(65_536):
                told = told[-10_000:] + chunk
        flooding.join(DEADLINE)
        assert not flooding.is_alive()
    assert b"\r\n\r\nHTTP/1.1 504 " in b"\r\n\r\n" + told
