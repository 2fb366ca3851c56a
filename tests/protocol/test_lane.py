"""The lane law: with the fast lane or without it, the same messages, control frames, closes and counts leave."""

import random
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.joined import AGREEMENTS, DEFAULTS, Joined
from wsproxy.errors import Side
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.lane import MESSAGES_A_TURN
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.tally import FIELDS

TIGHT = Limits(max_message_bytes=400, max_frame_bytes=300, max_fragments=3)
BOMB = bytes(200_000)
NOISE = random.Random(0).randbytes(700)


def deflated(text: bytes) -> bytes:
    """Self-contained, so that it may come in any order, within any window."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -9)
    return (stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(first: int, payload: bytes, mask: bool, length_form: int = 0) -> bytes:
    """``length_form`` forces a longer form of the length than is needed, which is illegal."""
    bit = 0x80 if mask else 0
    if len(payload) < 126 and not length_form:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65536 and length_form < 2:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    key = b"\x01\x02\x03\x04" if mask else b"\0\0\0\0"
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return head + (key if mask else b"") + masked


payloads = st.one_of(
    st.binary(max_size=140),
    st.sampled_from([b"", b"price 1.5", "żółw".encode(), "żółw".encode()[:-1], b"\xff", b"x" * 126, b"y" * 350]),
    # Short on the wire, and inflated on either side of a tight limit; more than one step.
    st.sampled_from([b"z" * 400, b"z" * 401, BOMB, NOISE]),
)
firsts = st.sampled_from([0x81, 0x82] * 6 + [0xC1, 0xC2] * 6 + [0x01, 0x80, 0x00, 0x89, 0x8A, 0x83, 0x91, 0xC9, 0x42])
legal = st.tuples(firsts, payloads)
closes = st.one_of(
    st.sampled_from(
        [b"", b"\x03\xe8bye", b"\x03\xf6", b"\x03", b"\x03\xed", b"\x03\xe8" + b"r" * 123, b"\x03\xe8\xff"]
    ),
    st.builds(lambda code, reason: code.to_bytes(2) + reason, st.integers(990, 1020), st.binary(max_size=130)),
    st.builds(lambda code, reason: code.to_bytes(2) + reason.encode(), st.integers(0, 5100), st.text(max_size=20)),
)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[int, bytes, int, bool]]:
    frames_ = [(first, data, 0, False) for first, data in draw(st.lists(legal, max_size=12))]
    if draw(st.booleans()):
        frames_.append((0x88, draw(closes), 0, False))
    if draw(st.integers(0, 9)) == 0:
        first, data = draw(legal)
        frames_.append((first, data, draw(st.integers(1, 2)), draw(st.booleans())))
    return frames_


def told(joined: Joined) -> object:
    """All that either side and the operator can see, but for the bytes that engines choose.

    Of a message that breaks a rule, how much was counted before the fault was seen depends on how it was cut.
    """
    unsteady = {"codec_ns", "codec_output", "wire_bytes"}
    if joined.relay.ending is not None and joined.relay.ending.initiator == "proxy":
        unsteady |= {"payload_bytes", "codec_input"}
    tallies = [
        {name: getattr(tally, name) for name in FIELDS if name not in unsteady}
        # What the lane has whole, and so finds in the cache, the flow may get in pieces, which it compresses.
        | {"compressed": tally.compressed + tally.cached, "cached": 0, "cached_bytes": 0}
        for pair in joined.tallies
        for tally in pair
    ]
    return (
        [[(f.opcode, bytes(f.data), f.fin) for f in joined.received[side]] for side in Side],
        [joined.closed_with(side) for side in Side],
        joined.relay.ending,
        tallies,
    )


@given(
    stream=streams(),
    side=st.sampled_from(Side),
    client=st.sampled_from(list(AGREEMENTS.values())),
    upstream=st.sampled_from(list(AGREEMENTS.values())),
    verify=st.booleans(),
    limits=st.sampled_from([DEFAULTS, TIGHT, replace(DEFAULTS, max_expansion=5000)]),
    seed=st.integers(0, 2**32),
    cuts=st.one_of(st.none(), st.integers(0, 6)),
)
@settings(max_examples=max(400, settings().max_examples), deadline=None)
def test_lane_law(
    stream: list[tuple[int, bytes, int, bool]],
    side: Side,
    client: Agreement | None,
    upstream: Agreement | None,
    verify: bool,
    limits: Limits,
    seed: int,
    cuts: int | None,
) -> None:
    mask = side is Side.CLIENT
    chunks = [
        frame(first, deflated(text) if first & 0x40 else text, mask is not wrong_mask, form)
        for first, text, form, wrong_mask in stream
    ]
    if cuts is not None:  # else each frame comes in a read of its own
        data = b"".join(chunks)
        source = random.Random(seed)
        places = sorted(source.randrange(len(data) + 1) for _ in range(cuts))
        chunks = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    outcomes = []
    for fast_lane in (False, True):
        joined = Joined(client, upstream, verify=verify, limits=limits, fast_lane=fast_lane)
        for chunk in chunks:
            joined.send_raw(side, chunk)
        joined.run()
        outcomes.append(told(joined))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_the_lane_is_taken(agreement: str) -> None:
    """Guards the tests above against a lane that never carries anything: wsproto sees no byte of whole messages."""
    joined = Joined(AGREEMENTS[agreement], AGREEMENTS[agreement])
    text = deflated(b"text") if AGREEMENTS[agreement] else b"text"
    joined.relay.receive(Side.CLIENT, frame(0xC1 if AGREEMENTS[agreement] else 0x81, text, True), 0.0)
    joined.run()
    assert [bytes(f.data) for f in joined.received[Side.UPSTREAM]] == [b"text"]
    assert joined.relay._legs[Side.CLIENT]._wsproto is None


@pytest.mark.parametrize("fast_lane", [False, True])
@pytest.mark.parametrize("side", Side)
def test_whole_closes_need_no_wsproto(fast_lane: bool, side: Side) -> None:
    """Guards the lane law against closes that all go one way."""
    joined = Joined(fast_lane=fast_lane)
    joined.send_raw(side, frame(0x88, b"\x03\xe8bye", side is Side.CLIENT))
    joined.run()
    assert joined.closed_with(side.other) == (1000, "bye")
    assert [leg._wsproto is None for leg in joined.relay._legs] == [fast_lane, fast_lane]


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_noise_gets_the_same_verdicts(takeover: bool, compressed: bool) -> None:
    """Enough of it for every trial, between messages that are worth it, in reads that cut some of it."""
    source = random.Random(1)
    kinds = [source.randbytes(900), b"text " * 200, source.randbytes(5000), source.randbytes(300), b"\xff" * 600]
    texts = source.choices(kinds[:1] * 8 + kinds, k=300) + [source.randbytes(900) for _ in range(100)]
    first = 0xC2 if compressed else 0x82
    data = b"".join(frame(first, deflated(text) if compressed else text, False) for text in texts)
    agreement = Agreement(Window(12, takeover), Window(12, takeover))
    outcomes = []
    for fast_lane in (False, True):
        joined = Joined(agreement, AGREEMENTS["kept"] if compressed else None, mode="recompress", fast_lane=fast_lane)
        for at in range(0, len(data), 20_000):
            joined.send_raw(Side.UPSTREAM, data[at : at + 20_000])
            joined.run()
        outcomes.append(told(joined))
        assert [message for _, message in joined.messages(Side.CLIENT)] == texts
        sent = joined.tallies[Side.CLIENT][1]
        assert sent.skipped_incompressible > 80
        assert sent.compressed + sent.cached > 60
    assert outcomes[0] == outcomes[1]


def test_messages_before_a_violation_in_the_same_read_are_delivered() -> None:
    joined = Joined()
    joined.send_raw(Side.CLIENT, frame(0x81, b"good", True) + frame(0x81, b"\xff", True) + frame(0x81, b"late", True))
    joined.run()
    assert [message for _, message in joined.messages(Side.UPSTREAM)] == [b"good"]
    assert joined.closed_with(Side.CLIENT) == (1007, "text that is not UTF-8")


def test_a_turn_is_bounded() -> None:
    joined = Joined()
    joined.relay.receive(Side.CLIENT, frame(0x82, b"", True) * 3 * MESSAGES_A_TURN, 0.0)
    assert joined.relay.backlog(Side.CLIENT)
    first = joined.tallies[Side.CLIENT][0].binary
    assert MESSAGES_A_TURN <= first < 3 * MESSAGES_A_TURN


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("form", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 65535, 65536])
def test_every_form_of_a_length_in_a_read_of_its_own(side: Side, form: int, size: int) -> None:
    outcomes = []
    for fast_lane in (False, True):
        joined = Joined(fast_lane=fast_lane)
        for _ in range(2):
            joined.send_raw(side, frame(0x82, bytes(size), side is Side.CLIENT, form))
        joined.run()
        outcomes.append(told(joined))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("fast_lane", [False, True])
@pytest.mark.parametrize("side", Side)
def test_the_end_of_a_cut_frame_is_not_taken_for_a_message(fast_lane: bool, side: Side) -> None:
    """Although the read that brings it looks like one."""
    key = b"\x80\0\0\0\0" if side is Side.CLIENT else b"\0"
    inner = bytes([0x82, key[0] | 5]) + key[1:] + b"inner"
    payload = b"x" * 50 + inner
    outer = bytes([0x82, key[0] | len(payload)]) + key[1:] + payload
    joined = Joined(fast_lane=fast_lane)
    joined.send_raw(side, outer[: -len(inner)])
    joined.send_raw(side, inner)
    joined.run()
    assert [message for _, message in joined.messages(side.other)] == [payload]


@pytest.mark.parametrize("fast_lane", [False, True])
def test_a_drain_waits_for_the_end_of_a_frame_of_which_a_part_has_come(fast_lane: bool) -> None:
    joined = Joined(fast_lane=fast_lane)
    data = frame(0x81, b"the last one" * 20, False)
    joined.send_raw(Side.UPSTREAM, data[:100])
    joined.relay.drain(1001, 0.0)
    joined.run()
    assert joined.closed_with(Side.CLIENT) is None
    joined.send_raw(Side.UPSTREAM, data[100:] + data)
    joined.run()
    assert [message for _, message in joined.messages(Side.CLIENT)] == [b"the last one" * 20]
    assert joined.closed_with(Side.CLIENT) == (1001, "going away")


@given(
    kinds=st.lists(st.tuples(st.sampled_from([0xC1, 0xC2, 0xC1, 0xC2, 0x81, 0x82, 0x89]), payloads), max_size=30),
    size=st.integers(1, 400),
)
def test_a_blind_pass_copies_runs(kinds: list[tuple[int, bytes]], size: int) -> None:
    """What the client inflates is what was sent, with every cut; the counts are those of the slow path."""
    kinds = [(first, data[:125] if first == 0x89 else data) for first, data in kinds if data != BOMB]
    kinds = [(first, b"text" if first & 0x0F == 1 and not data.isascii() else data) for first, data in kinds]
    data = b"".join(frame(first, deflated(text) if first & 0x40 else text, False) for first, text in kinds)
    outcomes = []
    for fast_lane in (False, True):
        joined = Joined(AGREEMENTS["kept"], AGREEMENTS["kept"], mode="passthrough", verify=False, fast_lane=fast_lane)
        for at in range(0, len(data), size):
            joined.send_raw(Side.UPSTREAM, data[at : at + size])
        joined.run()
        assert [m for _, m in joined.messages(Side.CLIENT)] == [text for first, text in kinds if first != 0x89]
        outcomes.append(told(joined))
    assert outcomes[0] == outcomes[1]
