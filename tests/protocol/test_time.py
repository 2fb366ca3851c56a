"""What time does to a tunnel, as tables with a clock of the test's own: pings, silence, idleness, age, rates."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from websockets.frames import Opcode

from tests.protocol.joined import KEPT, TOKENS, Joined
from tests.protocol.test_relay import frame
from wsproxy.errors import Side
from wsproxy.protocol.ending import Ending
from wsproxy.protocol.keepalive import Lapse, Spans
from wsproxy.protocol.limits import Limits

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
NONE = Spans(ping_interval=0, ping_timeout=20, idle=0, max_age=0)
PINGS = replace(NONE, ping_interval=20)
JUDGED = (True, True)


def sweep(
    joined: Joined,
    until: float,
    judged: tuple[bool, bool] = JUDGED,
    each: Callable[[], None] = lambda: None,
    answer: bool = True,
) -> Side | None:
    """A second at a time, as the switchboard does: the side that is given up, if any."""
    while joined.now < until:
        joined.now += 1.0
        each()
        if joined.relay.look_at <= joined.now:
            lost = joined.relay.look(judged, joined.now)
            if lost is not None:
                joined.relay.lost(lost, joined.now, Lapse.PING)
                joined.run()
                return lost
        if answer:
            joined.run()
    return None


def pings(joined: Joined, side: Side) -> int:
    return len([each for each in joined.received[side] if each.opcode is Opcode.PING])


def test_silent_ends_are_pinged_and_their_pongs_are_swallowed() -> None:
    joined = Joined(spans=PINGS)
    assert sweep(joined, 100) is None
    for side in Side:
        # websockets answers a ping by itself, and what comes of it is a byte: the next silence begins there.
        assert 3 <= pings(joined, side) <= 5
        assert not [each for each in joined.received[side] if each.opcode is Opcode.PONG]
        assert [seconds for one, seconds in joined.round_trips if one is side] == [0.0] * pings(joined, side)
        received, sent = joined.tallies[side]
        assert received.pong == sent.ping == pings(joined, side)
        assert received.ping == sent.pong == 0


def test_an_end_that_talks_is_not_pinged() -> None:
    joined = Joined(spans=PINGS)
    sweep(joined, 100, each=lambda: joined.ends[CLIENT].send_text(b"still here"))
    assert pings(joined, CLIENT) == 0
    assert pings(joined, UPSTREAM) >= 3


def test_the_ends_own_pings_and_pongs_cross_untouched() -> None:
    joined = Joined(spans=PINGS)
    sweep(joined, 22)
    assert pings(joined, UPSTREAM) == 1
    own = joined.received[UPSTREAM][0].data
    joined.received[UPSTREAM].clear()
    # A client that has seen no token of the other leg can still try to send one: it is another leg's, and crosses.
    for payload in (b"", b"mine", bytes(own), TOKENS[UPSTREAM]):
        joined.ends[CLIENT].send_ping(payload)
        joined.run()
    assert [bytes(each.data) for each in joined.received[UPSTREAM]] == [b"", b"mine", bytes(own), TOKENS[UPSTREAM]]
    pongs = [bytes(each.data) for each in joined.received[CLIENT] if each.opcode is Opcode.PONG]
    assert pongs == [b"", b"mine"]  # the upstream's pongs with its own leg's token are taken for ours
    joined.ends[UPSTREAM].send_pong(b"unasked")
    joined.run()
    assert bytes(joined.received[CLIENT][-1].data) == b"unasked"


@pytest.mark.parametrize("side", Side)
def test_a_side_that_stays_silent_after_a_ping_is_lost(side: Side) -> None:
    joined = Joined(spans=PINGS)

    def other_end_talks() -> None:
        joined.ends[side.other].send_text(b"x")
        for data in joined.ends[side.other].data_to_send():
            joined.send_raw(side.other, data)
        joined.relay.take(side)

    assert sweep(joined, 100, each=other_end_talks, answer=False) is side
    assert 40 <= joined.now <= 46
    assert joined.relay.ending == Ending(side.label, 1006, "ping timeout", Lapse.PING)
    assert joined.closed_with(side.other) == (1001 if side is CLIENT else 1011, "connection lost")


def test_a_late_word_is_as_good_as_a_pong() -> None:
    joined = Joined(spans=PINGS)
    assert sweep(joined, 38, answer=False) is None
    joined.send_raw(CLIENT, frame(0x8A, b"something else", masked=True))
    joined.send_raw(UPSTREAM, frame(0x8A, b"", masked=False))
    assert sweep(joined, 55, answer=False) is None
    assert joined.round_trips == []


def test_a_side_that_is_not_read_is_not_judged() -> None:
    joined = Joined(spans=PINGS)
    assert sweep(joined, 200, judged=(False, True), each=lambda: joined.ends[UPSTREAM].send_text(b"x")) is None
    assert pings(joined, CLIENT) == 0


def test_a_late_pong_is_swallowed_and_measures_nothing() -> None:
    joined = Joined(spans=PINGS)
    assert sweep(joined, 10) is None
    joined.send_raw(CLIENT, frame(0x8A, TOKENS[CLIENT] + (7).to_bytes(4), masked=True))
    joined.run()
    assert joined.received[UPSTREAM] == [] and joined.round_trips == []


@pytest.mark.parametrize("talker", Side)
def test_idle_counts_messages_of_both_directions(talker: Side) -> None:
    joined = Joined(KEPT, None, spans=replace(PINGS, idle=30))
    sweep(joined, 100, each=lambda: joined.ends[talker].send_text(b"x"))
    assert joined.relay.ending is None
    sweep(joined, 140)
    assert joined.closed_with(CLIENT) == (1001, "idle timeout")
    assert joined.closed_with(UPSTREAM) == (1001, "going away")
    assert joined.relay.ending == Ending("proxy", 1001, "idle timeout", Lapse.IDLE)


def test_pings_do_not_keep_an_idle_tunnel() -> None:
    joined = Joined(spans=replace(PINGS, ping_interval=2, idle=30))
    sweep(joined, 40, each=lambda: joined.ends[CLIENT].send_ping(b"x"))
    assert joined.relay.ending == Ending("proxy", 1001, "idle timeout", Lapse.IDLE)


def test_a_long_message_is_not_idle() -> None:
    joined = Joined(spans=replace(NONE, idle=30))
    sweep(
        joined,
        100,
        each=lambda: (
            joined.ends[CLIENT].send_continuation(b"x", fin=False)
            if joined.now > 1
            else (joined.ends[CLIENT].send_text(b"x", fin=False))
        ),
    )
    assert joined.relay.ending is None


def test_an_old_tunnel_is_closed_at_a_message_boundary() -> None:
    joined = Joined(spans=replace(NONE, max_age=10))
    joined.ends[UPSTREAM].send_text(b"begun, ", fin=False)
    joined.run()
    sweep(joined, 15)
    assert joined.relay.ending == Ending("proxy", 1001, "maximum age", Lapse.MAX_AGE)
    assert joined.closed_with(CLIENT) is None
    joined.ends[UPSTREAM].send_continuation(b"done", fin=True)
    joined.run()
    assert joined.messages(CLIENT) == [(Opcode.TEXT, b"begun, done")]
    assert joined.closed_with(CLIENT) == (1001, "maximum age")
    assert joined.closed_with(UPSTREAM) == (1001, "going away")


def test_an_old_tunnel_does_not_wait_for_ever_for_the_boundary() -> None:
    joined = Joined(spans=replace(NONE, max_age=10))
    joined.ends[UPSTREAM].send_text(b"never done", fin=False)
    joined.run()
    sweep(joined, 15)
    assert 40 <= joined.relay.deadline <= 45
    joined.relay.expire()
    joined.run()
    assert joined.closed_with(CLIENT) == (1001, "maximum age")


def test_a_drain_goes_before_the_age() -> None:
    joined = Joined(spans=replace(NONE, max_age=10))
    joined.relay.drain(1012, 5.0)
    sweep(joined, 20)
    assert joined.closed_with(CLIENT) == (1012, "going away")
    assert joined.relay.ending == Ending("proxy", 1012, "going away")


def test_without_limits_nothing_is_looked_at() -> None:
    assert Joined().relay.look_at == float("inf")
    assert Joined(spans=NONE).relay.look_at == float("inf")


@pytest.mark.parametrize("fast_lane", [True, False])
@pytest.mark.parametrize("kind", [0x81, 0x82, 0x89, 0x8A])
def test_a_flood_of_messages_is_a_violation(kind: int, fast_lane: bool) -> None:
    joined = Joined(limits=Limits(messages_per_second=10), fast_lane=fast_lane)
    for second in range(20):
        joined.now = float(second)
        joined.send_raw(CLIENT, 10 * frame(kind, b"x", masked=True))
        joined.run()
    assert joined.relay.ending is None
    joined.send_raw(CLIENT, 21 * frame(kind, b"x", masked=True))
    joined.run()
    assert joined.closed_with(CLIENT) == joined.closed_with(UPSTREAM) == (1008, "too many messages a second")
    assert joined.relay.ending == Ending("proxy", 1008, "too many messages a second")


def test_a_flood_of_bytes_is_a_violation_before_any_of_it_is_delivered() -> None:
    joined = Joined(limits=Limits(bytes_per_second=1000))
    for second in range(5):
        joined.now = float(second)
        joined.send_raw(CLIENT, frame(0x82, bytes(900), masked=True))
        joined.run()
    assert len(joined.messages(UPSTREAM)) == 5
    joined.send_raw(CLIENT, frame(0x82, bytes(2000), masked=True))
    joined.run()
    assert len(joined.messages(UPSTREAM)) == 5
    assert joined.closed_with(CLIENT) == joined.closed_with(UPSTREAM) == (1008, "too many bytes a second")


def test_what_an_upstream_sends_costs_nothing() -> None:
    joined = Joined(limits=Limits(messages_per_second=1, bytes_per_second=10))
    for _ in range(100):
        joined.ends[UPSTREAM].send_text(b"a good deal of text")
    joined.run()
    assert len(joined.messages(CLIENT)) == 100 and joined.relay.ending is None
