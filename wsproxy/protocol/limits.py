"""The bounds of one route's tunnels, in bytes and counts. Sans-I/O; imports nothing."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one direction of a tunnel may carry.

    A frame over ``max_frame_bytes`` is refused when its header arrives, before any of its payload is kept.
    """

    max_message_bytes: int = field(
        default=16 * 1024 * 1024,
        metadata={
            "doc": "Bytes of one message after inflation, each direction. More: close code 1009.",
            "minimum": 1,
            "maximum": 2**40,
        },
    )
    max_frame_bytes: int = field(
        default=16 * 1024 * 1024,
        metadata={
            "doc": "Bytes of one frame's payload on the wire. More: close code 1009.",
            "minimum": 1,
            "maximum": 2**40,
        },
    )
    max_expansion: int = field(
        default=1000,
        metadata={
            "doc": "Inflated bytes for each compressed byte of a message, once it has inflated to 64 KiB. "
            "More: close code 1009. DEFLATE itself cannot exceed 1032.",
            "minimum": 1,
            "maximum": 1_000_000,
        },
    )
    max_fragments: int = field(
        default=16384,
        metadata={"doc": "Frames of one message. More: close code 1008.", "minimum": 1, "maximum": 2**31},
    )
    coalesce_bytes: int = field(
        default=256 * 1024,
        metadata={
            "doc": "An incoming frame leaves as one frame up to this many bytes; a larger one leaves as several "
            "fragments. It is also what one direction may hold of a frame before it sends.",
            "minimum": 1024,
            "maximum": 2**30,
        },
    )
    messages_per_second: int = field(
        default=0,
        metadata={
            "doc": "Messages and control frames a second that the client of one tunnel may send, over two seconds. "
            "More: close code 1008. 0: no cap.",
            "minimum": 0,
            "maximum": 2**40,
        },
    )
    bytes_per_second: int = field(
        default=0,
        metadata={
            "doc": "Bytes a second on the wire that the client of one tunnel may send, over two seconds. "
            "More: close code 1008. 0: no cap.",
            "minimum": 0,
            "maximum": 2**40,
        },
    )
