"""Frames against `websockets`' own parser and masking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

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
