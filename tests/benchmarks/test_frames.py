"""Frames as the load sends them, and the verdict on what arrived: it must find every kind of wrong delivery."""

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import frames
from benchmarks.frames import WrongDelivery, deflated, frame, verify

SENT = [b'{"n":%d,"text":"%s"}' % (n, b"ab" * n) for n in range(60)]
TAKEOVER, NONE = "permessage-deflate", "permessage-deflate; server_no_context_takeover"


def plain(*payloads: bytes) -> bytes:
    return b"".join(frame(payload, binary=False) for payload in payloads)


def with_takeover(payloads: list[bytes]) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
    made = (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH) for payload in payloads)
    return b"".join(frame(each.removesuffix(b"\0\0\xff\xff"), binary=False, compressed=True) for each in made)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [b"", b"\x01\x80\xff\x7f"])
def test_a_frame_has_its_length_and_payload(size: int, mask: bytes) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    made = frame(payload, binary=True, mask=mask)
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert made[0] == 0x82
    assert made[1] >> 7 == bool(mask)
    body = made[head + len(mask) :]
    assert bytes(byte ^ mask[i & 3] for i, byte in enumerate(body)) == payload if mask else body == payload


@given(st.binary(max_size=3000))
def test_a_deflated_message_stands_alone(payload: bytes) -> None:
    assert zlib.decompressobj(-12).decompress(deflated(payload) + b"\0\0\xff\xff") == payload


@given(st.integers(0, 59), st.integers(0, 100))
def test_right_deliveries_count_up_to_the_cut(start: int, cut: int) -> None:
    payloads = (SENT + SENT)[start : start + 60]
    assert verify(plain(*payloads), "", SENT, start, binary=False) == 60
    assert verify(with_takeover(payloads), TAKEOVER, SENT, start, binary=False) == 60
    alone = b"".join(frame(deflated(payload), binary=False, compressed=True) for payload in payloads)
    assert verify(alone, NONE, SENT, start, binary=False) == 60
    whole = plain(*payloads)
    counted = verify(whole[: len(whole) - cut], "", SENT, start, binary=False)
    assert len(plain(*payloads[:counted])) <= len(whole) - cut < len(plain(*payloads[: counted + 1])) or cut == 0


def test_control_frames_and_fragments_are_read() -> None:
    first, rest = SENT[5][:7], SENT[5][7:]
    fragments = bytes([1, len(first)]) + first + b"\x89\x02hi" + bytes([0x80, len(rest)]) + rest
    assert verify(plain(SENT[4]) + fragments + plain(SENT[6]), "", SENT, 4, binary=False) == 3


@pytest.mark.parametrize(
    ("what", "record", "extension", "told"),
    [
        ("lost", plain(SENT[0], SENT[2]), "", "message 1 is not"),
        ("doubled", plain(SENT[0], SENT[0]), "", "message 1 is not"),
        ("changed", plain(SENT[0], SENT[1][:-1] + b"?"), "", "message 1 is not"),
        ("wrong kind", frame(SENT[0], binary=True), "", "opcode 2"),
        ("not agreed", frame(deflated(SENT[0]), binary=False, compressed=True), "", "without an agreement"),
        ("window kept", with_takeover(SENT), NONE, "does not inflate|not what was sent"),
        ("masked", frame(SENT[0], binary=False, mask=b"abcd"), "", "masked"),
    ],
)
def test_a_wrong_delivery_is_found(what: str, record: bytes, extension: str, told: str) -> None:
    with pytest.raises(WrongDelivery, match=told):
        verify(record, extension, SENT, 0, binary=False)


def test_a_file_of_frames_has_a_count_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.frames"
    frames.write(path, SENT[:3], binary=False, compressed=False, masked=False)
    data = path.read_bytes()
    assert int.from_bytes(data[:4], "little") == 3
    assert data[8 : 8 + int.from_bytes(data[4:8], "little")] == frame(SENT[0], binary=False)
