"""The bounds of one route's tunnels, in bytes and counts. Sans-I/O; imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one direction of a tunnel may carry.

    A frame over ``max_frame_bytes`` is refused when its header arrives, before any of its payload is kept.
    """

    max_message_bytes: int = 16 * 1024 * 1024
    """Bytes of one message after inflation. More: close code 1009."""
    max_frame_bytes: int = 16 * 1024 * 1024
    """Bytes of one frame's payload on the wire. More: close code 1009."""
    max_expansion: int = 1000
    """Inflated bytes for each compressed byte of a message, once it has inflated to 64 KiB. More: close code 1009."""
    max_fragments: int = 16384
    """Frames of one message. More: close code 1008."""
    coalesce_bytes: int = 256 * 1024
    """An incoming frame leaves as one frame up to this size; a larger one leaves as several fragments."""
