"""Frames as bytes: headers and masking (RFC 6455 §5.2, §5.3).

Owns how an outgoing frame is written, and what stands in a close frame. Knows nothing of messages, extensions or state.
Invariant: a frame written here is always whole, so a control frame may follow it at once.
"""

from struct import Struct

from wsproxy.protocol.randomness import random_bytes

TEXT = 0x1
BINARY = 0x2
CONTINUATION = 0x0
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FIN = 0x80
RSV1 = 0x40
MASKED = 0x80

SHORT_HEADER = Struct("!BB").pack
"""The first byte and the second one: the mask bit and up to 125 bytes of payload."""
_MEDIUM = Struct("!BBH").pack
_LONG = Struct("!BBQ").pack
_NEVER_SENT = frozenset({1005, 1006, 1015})
"""For a program to tell itself how a connection ended (RFC 6455 §7.4.1)."""
_LONGEST_REASON = 123


def apply_mask(data: bytes, key: bytes) -> bytes:
    """XOR ``data`` with the four bytes of ``key``, repeated (RFC 6455 §5.3); masks and unmasks alike.

    Whole-number arithmetic does the work of a loop: the fastest way that CPython offers without an extension module.
    """
    size = len(data)
    repeated = key * (size // 4 + 1)
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated[:size], "little")).to_bytes(size, "little")


def header(first: int, size: int, masked: int) -> bytes:
    """A frame header without its masking key.

    :param first: FIN, RSV and opcode bits.
    :param size: payload bytes.
    :param masked: ``MASKED`` or 0.
    """
    if size < 126:
        return SHORT_HEADER(first, masked | size)
    if size < 65536:
        return _MEDIUM(first, masked | 126, size)
    return _LONG(first, masked | 127, size)


def frame_size(data: bytes) -> int | None:
    """Bytes of the whole frame that begins with ``data``; None while its length is not there."""
    if len(data) < 2:
        return None
    size = data[1] & 0x7F
    head = 6 if data[1] & MASKED else 2
    if size < 126:
        return head + size
    if size == 126:
        return None if len(data) < 4 else head + 2 + int.from_bytes(data[2:4], "big")
    return None if len(data) < 10 else head + 8 + int.from_bytes(data[2:10], "big")


def masked_frame(first: int, payload: bytes) -> bytes:
    """A whole frame as a client sends it, under a fresh key (RFC 6455 §5.3: unpredictable, from a strong source)."""
    key = random_bytes(4)
    return header(first, len(payload), MASKED) + key + apply_mask(payload, key)


def plain_frame(first: int, payload: bytes) -> bytes:
    """A whole frame as a server sends it."""
    size = len(payload)
    # The most common case without a call.
    return (_MEDIUM(first, 126, size) if 125 < size < 65536 else header(first, size, 0)) + payload


def close_payload(code: int | None, reason: str) -> bytes:
    """What a close frame says (RFC 6455 §5.5.1); a reason is cut at its 123rd byte, between two characters."""
    if code is None:
        return b""
    said = reason.encode()
    if len(said) > _LONGEST_REASON:
        said = said[:_LONGEST_REASON].decode(errors="ignore").encode()
    return (1000 if code in _NEVER_SENT else code).to_bytes(2) + said


def read_close(payload: bytes) -> tuple[int | None, str] | None:
    """Code and reason of a close frame; None if they are illegal, or so rare that others may judge them."""
    if not payload:
        return None, ""
    code = int.from_bytes(payload[:2])
    if len(payload) < 2 or not (1000 <= code <= 1003 or 1007 <= code <= 1013 or 3000 <= code <= 4999):
        return None
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        return None
