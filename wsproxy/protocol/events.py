"""What one side said, as a leg tells it: pieces of data messages, control frames.

Owns these values. Imports nothing of ours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """Some payload of a data message, raw as it travelled (unmasked, not inflated)."""

    opcode: int
    """Of the message: `frames.TEXT` or `frames.BINARY`, also in a continuation."""
    first: bool
    """The message begins here."""
    rsv: int
    """The message's reserved bits, as in a frame's first byte; `frames.RSV1`: it is compressed (RFC 7692 §6)."""
    payload: bytes
    frame_end: bool
    fin: bool
    """The message ends with this frame; meaningful where ``frame_end`` is."""


@dataclass(frozen=True, slots=True)
class PingFrame:
    payload: bytes


@dataclass(frozen=True, slots=True)
class PongFrame:
    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseFrame:
    code: int | None
    """None where the frame had no status code (RFC 6455 §7.1.5)."""
    reason: str


LegEvent = Piece | PingFrame | PongFrame | CloseFrame
