"""Pings, pongs and closes cross; whoever vanishes, both connections end; one access-log line says how."""

import json
from collections.abc import Iterator

import pytest

from tests.endtoend import peers
from tests.endtoend.proxy import BASE, WIDE_UPSTREAM, Proxy, configured, route, wait_for
from tests.endtoend.wire import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawUpstream,
    Tunnel,
    deflate,
    raw_upstream,
    tunnel,
)

SIDES = ("client", "upstream")
PMD = "permessage-deflate"
JSON_LOG = BASE + '[log]\nformat = "json"\n'


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(module_bare: RawUpstream) -> Iterator[Proxy]:
    lines = [*WIDE_UPSTREAM, "timeouts.close_seconds = 1"]
    with configured(route("bare", module_bare.url, *lines), base=JSON_LOG) as running:
        yield running


@pytest.fixture
def ends(proxy: Proxy, module_bare: RawUpstream) -> Iterator[Tunnel]:
    with tunnel(proxy.address, module_bare, "/bare", offer=PMD, agree=PMD) as opened:
        yield opened


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
def test_pings_and_pongs_cross_with_their_payload(ends: Tunnel, side: str, payload: bytes) -> None:
    near, far = ends.ends_from(side)
    near.send(Frame(PING, payload))
    assert far.frame() == Frame(PING, payload)
    far.send(Frame(PONG, payload))
    assert near.frame() == Frame(PONG, payload)
    far.send(Frame(PONG, b"unasked"))
    assert near.frame() == Frame(PONG, b"unasked")


@pytest.mark.parametrize("side", SIDES)
def test_a_ping_between_the_fragments_of_a_compressed_message(ends: Tunnel, side: str) -> None:
    """Others have corrupted the message, or broken the connection, at this very spot."""
    near, far = ends.ends_from(side)
    packed = deflate(b"hello, hello, hello")
    near.send(Frame(TEXT, packed[:4], fin=False, rsv1=True), Frame(PING, b"now"), Frame(CONTINUATION, packed[4:]))
    frames = [far.frame() for _ in range(3)]
    assert Frame(PING, b"now") in frames
    data = [frame for frame in frames if frame.opcode != PING]
    assert [(frame.opcode, frame.fin, frame.rsv1) for frame in data] == [
        (TEXT, False, True),
        (CONTINUATION, True, False),
    ]
    near.send(Frame(PONG, b"end"))
    assert far.frame() == Frame(PONG, b"end")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1000, "all said"),
        (1001, ""),
        (1011, "ouch"),
        (1012, "back soon"),
        (1013, "try again later"),
        (1014, "gate"),
        (3000, "r" * 123),
        (4999, "é漢🙂"),
        (None, ""),
    ],
)
def test_a_close_crosses_as_it_is(ends: Tunnel, side: str, code: int | None, reason: str) -> None:
    near, far = ends.ends_from(side)
    near.close(code, reason)
    assert far.closed_with() == (code, reason)
    far.close(code)
    assert near.closed_with()[0] == code
    # The server of each connection ends it first (RFC 6455 §7.1.1).
    assert ends.client.at_end()
    ends.upstream.hang_up()


def test_closes_that_meet_on_the_way(ends: Tunnel) -> None:
    ends.client.close(4001, "client")
    ends.upstream.close(4002, "upstream")
    assert ends.client.until_close()[0] in {4001, 4002}
    assert ends.upstream.until_close()[0] in {4001, 4002}
    assert ends.client.at_end()


@pytest.mark.parametrize(("vanishes", "told"), [("client", 1001), ("upstream", 1011)])
@pytest.mark.parametrize("within_message", [False, True])
def test_a_side_that_vanishes(ends: Tunnel, vanishes: str, told: int, *, within_message: bool) -> None:
    near, far = ends.ends_from(vanishes)
    near.send(Frame(BINARY, b"before"))
    if within_message:
        near.send(Frame(BINARY, b"half a", fin=False))
    near.hang_up()
    assert far.frame().opcode == BINARY
    assert far.until_close()[0] == told
    far.close(told)
    assert far.at_end()


def test_messages_before_a_close_all_arrive(ends: Tunnel) -> None:
    for number in range(300):
        ends.upstream.text(f"message {number}")
    ends.upstream.close(1000, "that was all")
    seen = 0
    while (frame := ends.client.frame()).opcode == TEXT:
        seen += 1
    assert (seen, frame.payload[2:]) == (300, b"that was all")


def test_a_side_that_never_answers_a_close_is_not_waited_for(ends: Tunnel) -> None:
    ends.client.close(1000)
    assert ends.upstream.closed_with() == (1000, "")
    assert ends.upstream.at_end()
    assert ends.client.until_close()[0] in {1000, 1001}
    assert ends.client.at_end()


def test_one_line_for_each_tunnel_says_who_ended_it_and_how(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url), base=JSON_LOG) as proxy:
        for initiator, code in (("client", 4000), ("upstream", 4001)):
            with tunnel(proxy.address, bare, "/bare?secret=1") as ends:
                near, far = ends.ends_from(initiator)
                near.close(code, 'so "there"\n')
                far.until_close()
                far.close(code)
                near.until_close()
        proxy.settled()
        wait_for("two lines", lambda: len(_closed(proxy)) >= 2)
        lines = _closed(proxy)
        assert [(line["initiator"], line["code"], line["reason"]) for line in lines] == [
            ("client", 4000, 'so "there"\n'),
            ("upstream", 4001, 'so "there"\n'),
        ]
        assert all(line["route"] == "bare" for line in lines)
        assert "secret" not in "\n".join(proxy.lines)
        for side in SIDES:
            assert proxy.metric("wsproxy_closes_total", initiator=side, code="4xxx") == 1


def _closed(proxy: Proxy) -> list[dict[str, object]]:
    found = [json.loads(line) for line in list(proxy.lines)]
    return [line for line in found if line["event"] == "closed"]


def test_websockets_ends_close_each_other(plain_upstream: peers.Upstream) -> None:
    with configured(route("echo", plain_upstream.url)) as proxy:
        with peers.client(proxy.url("/echo"), deflate=peers.CHROME) as client:
            assert client.ping().wait(10)
            client.close(4321, "enough")
        proxy.settled()
        assert plain_upstream.closes[-1] == (4321, "enough")
        assert client.close_code == 4321
