"""Quiet tunnels give back memory, and nobody can tell: the windows that were agreed on still hold."""

import struct
import tracemalloc

from tests.protocol.joined import KEPT, SMALL, Joined
from wsproxy.errors import Side
from wsproxy.protocol.flow import Flow

TEXT = b"price 101.5, size 7, " * 40


def held(joined: Joined) -> int:
    flows: tuple[Flow, ...] = joined.relay._flows
    codecs = [codec for flow in flows for codec in (flow.decoder, flow.encoder)]
    return sum(codec.memory for codec in codecs if codec is not None)


def exchange(joined: Joined, text: bytes) -> None:
    for side in Side:
        joined.ends[side].send_text(text)
        joined.run()
        assert joined.messages(side.other)[-1][1] == text


def test_a_tunnel_rests_once_it_carried_nothing_since_the_last_look() -> None:
    joined = Joined(KEPT, SMALL, mode="recompress")
    assert not joined.relay.rest(), "there is nothing to give back yet"
    exchange(joined, TEXT)
    before = held(joined)
    assert not joined.relay.rest()
    assert held(joined) == before
    assert joined.relay.rest()
    assert held(joined) < before / 3
    assert not joined.relay.rest(), "it rests already"
    # Both ends still refer to what was said before the rest.
    for _ in range(3):
        exchange(joined, TEXT)
        joined.relay.rest()
        joined.relay.rest()


def test_what_was_read_is_given_back() -> None:
    """Without a codec too: a frame that two reads brought leaves its last piece and the last read behind."""
    joined = Joined()
    frame = b"\x82\x7e" + struct.pack("!H", 60_000) + bytes(60_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for part in (slice(1000), slice(1000, None)):
            joined.relay.receive(Side.UPSTREAM, frame[part], 0.0)
            joined.relay.take(Side.CLIENT)
        assert joined.tallies[Side.CLIENT][1].binary == 1
        assert not joined.relay.rest()
        held = tracemalloc.get_traced_memory()[0] - before
        assert joined.relay.rest()
        assert tracemalloc.get_traced_memory()[0] - before < 10_000 < 50_000 < held
    finally:
        tracemalloc.stop()
    exchange(joined, TEXT)


def test_pings_keep_nothing_awake() -> None:
    joined = Joined(KEPT, None)
    exchange(joined, TEXT)
    assert not joined.relay.rest()
    joined.ends[Side.CLIENT].send_ping(b"still there?")
    joined.run()
    assert joined.relay.rest()


def test_a_message_under_way_is_not_cut() -> None:
    joined = Joined(KEPT, SMALL, mode="recompress")
    exchange(joined, TEXT)
    for side in Side:
        joined.ends[side].send_text(TEXT, fin=False)
        joined.run()
    joined.relay.rest()
    assert joined.relay.rest()
    for side in Side:
        joined.ends[side].send_continuation(TEXT, fin=True)
        joined.run()
        assert joined.messages(side.other)[-1][1] == TEXT * 2
