"""The relay as a table: what a side did, and what each side was told."""

import struct
from dataclasses import replace

import pytest
from websockets.frames import Opcode

from tests.protocol.joined import KEPT, RESET, Chunks, Joined, byte_by_byte, whole
from wsproxy.errors import Side
from wsproxy.protocol.ending import Ending
from wsproxy.protocol.limits import Limits

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
SMALL_LIMITS = Limits(max_message_bytes=1000, max_frame_bytes=500, max_fragments=4)


def frame(first: int, payload: bytes = b"", *, masked: bool) -> bytes:
    """A hand-made frame; the masking key is zero, so that the payload is legible in a failure."""
    assert len(payload) < 126 or len(payload) < 65536
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
    if masked:
        return bytes([first, size[0] | 0x80]) + size[1:] + bytes(4) + payload
    return bytes([first]) + size + payload


VIOLATIONS = [
    ("reserved bit", frame(0xA1, b"x", masked=True), 1002),
    ("RSV1 without agreement", frame(0xC1, b"x", masked=True), 1002),
    ("reserved opcode", frame(0x83, b"", masked=True), 1002),
    ("fragmented ping", frame(0x09, b"", masked=True), 1002),
    ("long ping", bytes([0x89, 0xFE]) + struct.pack("!H", 126) + bytes(4 + 126), 1002),
    ("unmasked", frame(0x81, b"x", masked=False), 1002),
    ("continuation of nothing", frame(0x80, b"x", masked=True), 1002),
    ("message inside a message", frame(0x01, b"a", masked=True) + frame(0x81, b"b", masked=True), 1002),
    ("length not minimal", bytes([0x81, 0xFE, 0, 1]) + bytes(5), 1002),
    ("close of one byte", frame(0x88, b"x", masked=True), 1002),
    ("close code 1004", frame(0x88, struct.pack("!H", 1004), masked=True), 1002),
    ("close code 1005", frame(0x88, struct.pack("!H", 1005), masked=True), 1002),
    ("close code 1006", frame(0x88, struct.pack("!H", 1006), masked=True), 1002),
    ("close code 1015", frame(0x88, struct.pack("!H", 1015), masked=True), 1002),
    ("close code 1016", frame(0x88, struct.pack("!H", 1016), masked=True), 1002),
    ("close code 2999", frame(0x88, struct.pack("!H", 2999), masked=True), 1002),
    ("close code 0", frame(0x88, bytes(2), masked=True), 1002),
    ("close code 65535", frame(0x88, b"\xff\xff", masked=True), 1002),
    ("close code 999", frame(0x88, struct.pack("!H", 999), masked=True), 1002),
    ("close code 5000", frame(0x88, struct.pack("!H", 5000), masked=True), 1002),
    ("close code 2000", frame(0x88, struct.pack("!H", 2000), masked=True), 1002),
    ("close reason not UTF-8", frame(0x88, struct.pack("!H", 1000) + b"\xff", masked=True), 1007),
    ("text not UTF-8", frame(0x81, b"\xff", masked=True), 1007),
    ("text cut inside a character", frame(0x81, b"\xe2\x82", masked=True), 1007),
    ("frame over its limit", bytes([0x82, 0xFE]) + struct.pack("!H", 501) + bytes(4), 1009),
    (
        "message over its limit",
        frame(0x02, bytes(500), masked=True) + frame(0x00, bytes(500), masked=True) + frame(0x80, b"!", masked=True),
        1009,
    ),
    ("too many fragments", frame(0x02, masked=True) + 4 * frame(0x00, masked=True), 1008),
]


@pytest.mark.parametrize("data, code", [v[1:] for v in VIOLATIONS], ids=[v[0] for v in VIOLATIONS])
@pytest.mark.parametrize("chunks", [whole, byte_by_byte])
def test_violation_of_a_client(data: bytes, code: int, chunks: Chunks) -> None:
    joined = Joined(limits=SMALL_LIMITS, chunks=chunks)
    joined.send_raw(CLIENT, data + frame(0x81, b"never read", masked=True))
    joined.run()
    told = joined.closed_with(CLIENT)
    assert told is not None and told[0] == code
    other = joined.closed_with(UPSTREAM)
    assert other is not None and other[0] == (1001 if code == 1002 else code)
    assert joined.relay.ending is not None
    assert (joined.relay.ending.initiator, joined.relay.ending.code) == ("proxy", code)
    assert not any(message == (Opcode.TEXT, b"never read") for message in joined.messages(UPSTREAM))
    assert joined.relay.half_close_due(CLIENT)


def test_violation_of_an_upstream_tells_the_client_1011() -> None:
    joined = Joined()
    joined.send_raw(UPSTREAM, frame(0x81, b"masked by a server", masked=True))
    joined.run()
    assert joined.closed_with(CLIENT) == (1011, "the other side broke the protocol")
    told = joined.closed_with(UPSTREAM)
    assert told is not None and told[0] == 1002


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_crosses_and_its_answer_comes_back(side: Side, code: int) -> None:
    joined = Joined(KEPT, None)
    joined.ends[side].send_close(code, "because")
    joined.run()
    assert joined.closed_with(side.other) == (code, "because")
    assert joined.closed_with(side) == (code, "because")  # websockets echoes
    assert joined.relay.ending == Ending(side.label, code, "because")
    assert joined.relay.half_close_due(CLIENT)
    assert not joined.relay.half_close_due(UPSTREAM)


@pytest.mark.parametrize("side", Side)
def test_close_without_a_code_stays_without(side: Side) -> None:
    joined = Joined()
    joined.ends[side].send_close()
    joined.run()
    assert joined.closed_with(side.other) == (1005, "")
    assert bytes(joined.wire[side.other])[1] & 0x7F == 0
    assert joined.relay.ending == Ending(side.label, 1005, "")


def test_crossing_closes_keep_their_own_codes() -> None:
    joined = Joined()
    joined.ends[CLIENT].send_close(4001, "from the client")
    joined.ends[UPSTREAM].send_close(4002, "from the upstream")
    joined.run()
    assert joined.closed_with(UPSTREAM) == (4001, "from the client")
    assert joined.closed_with(CLIENT) == (4002, "from the upstream")


def test_messages_still_arrive_after_the_other_end_began_to_close() -> None:
    joined = Joined(KEPT, None)
    joined.ends[CLIENT].send_close(1000)
    joined.ends[UPSTREAM].send_text(b"last words")
    joined.run()
    assert joined.messages(CLIENT) == [(Opcode.TEXT, b"last words")]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("orderly", [True, False])
def test_lost_connection(side: Side, orderly: bool) -> None:
    joined = Joined()
    joined.now = 7.0
    if orderly:
        joined.relay.ended(side, 7.0)
    else:
        joined.relay.lost(side, 7.0)
    joined.run()
    assert joined.closed_with(side.other) == (1001 if side is CLIENT else 1011, "connection lost")
    assert joined.relay.ending == Ending(side.label, 1006, "connection lost")
    assert joined.relay.over(side)
    assert joined.relay.deadline == 12.0


def test_half_closed_client_gets_its_close_answered() -> None:
    joined = Joined()
    joined.ends[CLIENT].send_close(1000)
    for data in joined.ends[CLIENT].data_to_send():
        joined.send_raw(CLIENT, data)
    joined.relay.ended(CLIENT, 0.0)
    assert not joined.relay.over(CLIENT)
    joined.run()
    assert joined.closed_with(CLIENT) == (1000, "")
    assert joined.relay.over(CLIENT)


def test_input_after_a_close_frame_is_thrown_away() -> None:
    joined = Joined()
    joined.send_raw(CLIENT, frame(0x88, masked=True) + frame(0x81, b"late", masked=True))
    joined.send_raw(CLIENT, b"\xff\xff not even frames")
    joined.run()
    assert joined.messages(UPSTREAM) == []
    assert joined.closed_with(UPSTREAM) == (1005, "")
    assert joined.relay.wants_input(CLIENT, other_side_drained=False)


def test_drain_closes_the_client_then_the_upstream() -> None:
    joined = Joined()
    joined.now = 3.0
    joined.relay.drain(1012, joined.now)
    assert not joined.relay.take(UPSTREAM)
    joined.ends[CLIENT].send_text(b"was on its way")
    joined.run()
    assert joined.closed_with(CLIENT) == (1012, "going away")
    assert joined.closed_with(UPSTREAM) == (1001, "going away")
    assert joined.messages(UPSTREAM) == [(Opcode.TEXT, b"was on its way")]
    assert joined.relay.ending == Ending("proxy", 1012, "going away")
    assert joined.relay.deadline == 8.0


def test_drain_waits_for_the_end_of_a_message() -> None:
    joined = Joined()
    joined.send_raw(UPSTREAM, frame(0x01, b"first ", masked=False))
    joined.relay.drain(1001, 3.0)
    joined.run()
    assert joined.closed_with(CLIENT) is None
    joined.now = 4.0
    joined.send_raw(UPSTREAM, frame(0x80, b"second", masked=False) + frame(0x81, b"after", masked=False))
    joined.run()
    assert joined.messages(CLIENT) == [(Opcode.TEXT, b"first second")]
    assert joined.closed_with(CLIENT) == (1001, "going away")
    assert joined.relay.deadline == 9.0


def test_drain_of_a_tunnel_whose_upstream_is_lost_in_the_midst_has_a_deadline() -> None:
    joined = Joined()
    joined.send_raw(UPSTREAM, frame(0x01, b"first ", masked=False))
    joined.relay.drain(1001, 3.0)
    joined.relay.lost(UPSTREAM, 4.0)
    assert joined.relay.deadline == 9.0


def test_expiry_answers_a_close_that_the_other_side_did_not() -> None:
    joined = Joined()
    joined.send_raw(CLIENT, frame(0x88, struct.pack("!H", 4000) + b"bye", masked=True))
    joined.relay.take(UPSTREAM)
    joined.relay.expire()
    joined.run()
    assert joined.closed_with(CLIENT) == (4000, "bye")


def test_expiry_of_a_drain_tells_the_upstream() -> None:
    joined = Joined()
    joined.relay.drain(1001, 0.0)
    joined.relay.take(CLIENT)
    joined.relay.expire()
    joined.run()
    assert joined.closed_with(UPSTREAM) == (1001, "going away")


def test_pings_and_pongs_cross_between_fragments() -> None:
    joined = Joined(KEPT, RESET)
    client = joined.ends[CLIENT]
    client.send_text(b"one ", fin=False)
    client.send_ping(b"p")
    client.send_continuation(b"two", fin=True)
    joined.run()
    assert [bytes(f.data) for f in joined.received[UPSTREAM] if f.opcode is Opcode.PING] == [b"p"]
    assert [bytes(f.data) for f in joined.received[CLIENT] if f.opcode is Opcode.PONG] == [b"p"]
    assert joined.messages(UPSTREAM) == [(Opcode.TEXT, b"one two")]
    assert joined.tallies[CLIENT][0].ping == joined.tallies[UPSTREAM][1].ping == 1
    assert joined.tallies[UPSTREAM][0].pong == joined.tallies[CLIENT][1].pong == 1


def test_output_is_bounded_while_the_other_side_does_not_read() -> None:
    """16 MiB of zeros in 16 KiB: what is inflated at once is bounded, the rest waits compressed."""
    limits = replace(Limits(), max_expansion=2000)
    joined = Joined(KEPT, None, limits=limits)
    joined.ends[CLIENT].send_binary(bytes(16 * 1024 * 1024))
    (data,) = joined.ends[CLIENT].data_to_send()
    joined.relay.receive(CLIENT, data, 0.0)
    assert joined.relay.backlog(CLIENT)
    assert not joined.relay.wants_input(CLIENT, other_side_drained=True)
    largest = 0
    total = 0
    while joined.relay.backlog(CLIENT):
        taken = len(joined.relay.take(UPSTREAM))
        largest, total = max(largest, taken), total + taken
        joined.relay.resume(CLIENT, 0.0)
    total += len(joined.relay.take(UPSTREAM))
    assert total > 16 * 1024 * 1024
    assert largest < 1024 * 1024


def test_a_read_full_of_tiny_frames_takes_more_than_one_turn() -> None:
    joined = Joined()
    joined.relay.receive(CLIENT, frame(0x82, masked=True) * 1000, 0.0)
    assert joined.relay.backlog(CLIENT)
