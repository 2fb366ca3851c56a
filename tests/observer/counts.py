"""What went over one leg, out of its raw bytes: frames read with a few lines of struct, messages inflated with zlib.

Must never import wsproxy. Invariant: counted is what travelled: of a message that broke off, its whole frames.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("text", "binary", "ping", "pong", "close")
_KIND_OF = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
TAIL = b"\x00\x00\xff\xff"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, or the beginning of one: ``whole`` tells."""

    fin: bool
    rsv1: bool
    opcode: int
    payload: bytes
    whole: bool


def after_head(stream: bytes) -> tuple[bytes, bytes]:
    """The HTTP head of one side, and what it sent after it."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    return head, rest


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of one direction; a header that broke off is none."""
    at = 0
    while len(data) - at >= 2:
        first, second = data[at], data[at + 1]
        size, at = second & 0x7F, at + 2
        extended = {126: "!H", 127: "!Q"}.get(size)
        width = (struct.calcsize(extended) if extended else 0) + (4 if second & 0x80 else 0)
        if len(data) - at < width:
            return
        if extended:
            (size,) = struct.unpack_from(extended, data, at)
        at += width
        payload = data[at : at + size]
        if second & 0x80:
            payload = _unmasked(payload, data[at - 4 : at])
        yield Frame(bool(first & 0x80), bool(first & 0x40), first & 0x0F, payload, len(payload) == size)
        at += size


def _unmasked(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3, as one number: byte by byte it would take seconds."""
    size = len(payload)
    whole = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


def count(stream: bytes, takeover: bool) -> Counter[str]:
    """Messages by kind, and bytes as ``payload`` and ``wire``, of what one side sent.

    :param takeover: it keeps its window between messages.
    """
    _, rest = after_head(stream)
    counted = Counter(dict.fromkeys((*KINDS, "payload"), 0))
    counted["wire"] = len(rest)
    inflater = zlib.decompressobj(-15)
    kind, compressed = "", False
    for frame in frames(rest):
        if frame.opcode >= 8:
            counted[_KIND_OF[frame.opcode]] += frame.whole
            continue
        if frame.opcode not in (0, 1, 2) or not frame.whole:
            return counted  # reserved, or broken off: the end of what can be understood
        if frame.opcode:
            kind, compressed = _KIND_OF[frame.opcode], frame.rsv1
        plain = inflater.decompress(frame.payload + TAIL * frame.fin) if compressed else frame.payload
        counted["payload"] += len(plain)
        counted[kind] += frame.fin
        if frame.fin and compressed and not takeover:
            inflater = zlib.decompressobj(-15)
    return counted


def leg(sent: bytes, got: bytes) -> tuple[Counter[str], Counter[str]]:
    """What the side that opened the connection sent, and what it got."""
    answer = after_head(got)[0].lower()
    return count(sent, b"client_no_context_takeover" not in answer), count(
        got, b"server_no_context_takeover" not in answer
    )
