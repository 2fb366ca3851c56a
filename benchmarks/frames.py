"""Frames built before a run, and what arrived read back after it (RFC 6455 §5, RFC 7692 §7.2).

Owns: the files that the load program sends from, and the verdict on its records. Independent of wsproxy and of every
other proxy here: zlib and a few lines of framing, so that a fault of theirs cannot hide in it.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

_TAIL = b"\x00\x00\xff\xff"
_WINDOW_BITS = 12
"""Of compressed frames that the load sends: every agreement that the load takes part in allows as much."""


class WrongDelivery(Exception):
    """What arrived is not what was sent."""


def frame(payload: bytes, *, binary: bool, compressed: bool = False, mask: bytes = b"") -> bytes:
    """One whole data frame; masked if there is a mask."""
    masked = 128 if mask else 0
    head = bytes([128 | (64 if compressed else 0) | (2 if binary else 1)])
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", masked | 126, len(payload))
    else:
        head += struct.pack("!BQ", masked | 127, len(payload))
    return head + mask + (xor(payload, mask) if mask else payload)


def xor(payload: bytes, mask: bytes) -> bytes:
    key = mask * (len(payload) // 4 + 1)
    size = len(payload)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key[:size], "little")).to_bytes(size, "little")


def deflated(payload: bytes) -> bytes:
    """A compressed message that refers to nothing before it: legal whatever was agreed about takeover."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -_WINDOW_BITS, 8)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def write(path: Path, messages: Sequence[bytes], *, binary: bool, compressed: bool, masked: bool) -> None:
    """The file that the load program sends from: a count, then the length and the bytes of each frame."""
    rng = Random(6455)
    with path.open("wb") as file:
        file.write(struct.pack("=I", len(messages)))
        for message in messages:
            payload = deflated(message) if compressed else message
            mask = rng.randbytes(4) if masked else b""
            made = frame(payload, binary=binary, compressed=compressed, mask=mask)
            file.write(struct.pack("=I", len(made)) + made)


def verify(record: bytes, extension: str, expected: Sequence[bytes], start: int, *, binary: bool) -> int:
    """Check one client's record, from its first frame to where the record was cut.

    :param extension: what the client was answered in Sec-WebSocket-Extensions.
    :param start: which of ``expected`` comes first; they follow each other without end.
    :returns: the number of messages that were checked.
    :raises WrongDelivery: one of them is missing, doubled, changed, or of the wrong kind.
    """
    fresh = "server_no_context_takeover" in extension
    stream = zlib.decompressobj(-15)
    count = 0
    for opcode, compressed, payload in _messages(record):
        if compressed and not extension:
            raise WrongDelivery("a compressed message without an agreement")
        if compressed:
            if fresh:
                stream = zlib.decompressobj(-15)
            try:
                payload = stream.decompress(payload + _TAIL)
            except zlib.error as error:
                raise WrongDelivery(f"message {count} does not inflate: {error}") from error
            if stream.eof:
                raise WrongDelivery(f"message {count} ends its DEFLATE stream, which this reader does not follow")
        if payload != expected[(start + count) % len(expected)]:
            raise WrongDelivery(f"message {count} is not what was sent")
        if opcode != (2 if binary else 1):
            raise WrongDelivery(f"message {count} has opcode {opcode}")
        count += 1
    return count


def _messages(record: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """Opcode, RSV1 and payload of the data messages that are in the record as a whole."""
    opcode, compressed, parts = 0, False, list[bytes]()
    for first, payload in _frames(record):
        if first & 8:
            continue
        if first & 15:
            opcode, compressed, parts = first & 15, bool(first & 64), []
        parts.append(payload)
        if first & 128:
            yield opcode, compressed, b"".join(parts)


def _frames(record: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(record):
        first, size = record[at], record[at + 1]
        if size & 128:
            raise WrongDelivery("a masked frame from the proxy")
        at += 2
        if size > 125:
            width = 2 if size == 126 else 8
            if at + width > len(record):
                return
            size = int.from_bytes(record[at : at + width], "big")
            at += width
        if at + size > len(record):
            return
        yield first, record[at : at + size]
        at += size
