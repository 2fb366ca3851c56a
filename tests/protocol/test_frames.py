"""Frames against `websockets`' own parser and masking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection
from wsproto.frame_protocol import CloseReason

from wsproxy.protocol import frames


def parse(data: bytes, *, mask: bool) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=mask)
    with pytest.raises(StopIteration) as result:
        next(parser)
    frame = result.value.value
    assert isinstance(frame, Frame)
    return frame


@given(data=st.binary(max_size=2000), key=st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse_and_what_the_rfc_says(data: bytes, key: bytes) -> None:
    masked = frames.apply_mask(data, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    assert frames.apply_mask(masked, key) == data


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_of_every_length_form(size: int, masked: bool) -> None:
    payload = bytes(i % 251 for i in range(size))
    write = frames.masked_frame if masked else frames.plain_frame
    frame = parse(write(frames.FIN | frames.BINARY, payload), mask=masked)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.BINARY, payload, True)
    assert write(frames.FIN | frames.RSV1 | frames.BINARY, payload)[0] == 0xC2


def test_every_frame_has_a_new_masking_key() -> None:
    keys = {frames.masked_frame(frames.FIN | frames.TEXT, b"x" * 8)[2:6] for _ in range(100)}
    assert len(keys) > 95


reasons = st.one_of(st.text(max_size=130), st.text("żółw", min_size=55, max_size=70))


@given(code=st.one_of(st.none(), st.integers(1000, 4999)), reason=reasons)
def test_a_close_frame_is_the_one_that_wsproto_writes(code: int | None, reason: str) -> None:
    said = CloseConnection(CloseReason.NO_STATUS_RCVD, "") if code is None else CloseConnection(code, reason)
    frame = frames.plain_frame(frames.FIN | frames.CLOSE, frames.close_payload(code, reason))
    assert frame == bytes(Connection(ConnectionType.SERVER).send(said))


@given(
    payload=st.one_of(
        st.binary(max_size=125),
        st.builds(lambda code, reason: code.to_bytes(2) + reason, st.integers(990, 5010), st.binary(max_size=8)),
        st.builds(lambda code, reason: code.to_bytes(2) + reason.encode(), st.integers(990, 5010), st.text(max_size=9)),
    )
)
def test_what_is_read_of_a_close_frame_is_what_wsproto_reads(payload: bytes) -> None:
    found = frames.read_close(payload)
    judge = Connection(ConnectionType.CLIENT)
    judge.receive_data(frames.plain_frame(frames.FIN | frames.CLOSE, payload))
    (event,) = judge.events()
    assert isinstance(event, CloseConnection)
    legal = judge.state.name == "REMOTE_CLOSING"
    if found is not None:
        assert legal
        assert (1005 if found[0] is None else found[0], found[1]) == (event.code, event.reason or "")
    elif legal:
        raise AssertionError(f"{payload!r} is left to wsproto, though it is as plain as others")
