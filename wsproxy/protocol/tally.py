"""What one tunnel counted: plain integers, one `Tally` for each leg and direction.

Owns the names of the counted things. Imports nothing; telemetry sums these without knowing how they came about.
Invariant: every integer only grows.
"""

from enum import IntEnum

FIELDS = (
    "text",
    "binary",
    "ping",
    "pong",
    "close",
    "payload_bytes",
    "wire_bytes",
    "compressed",
    "cached",
    "skipped_small",
    "skipped_incompressible",
    "inflated",
    "passed",
    "plain",
    "cached_bytes",
    "codec_input",
    "codec_output",
    "codec_ns",
)


class Direction(IntEnum):
    """One leg's two directions, as wsproxy sees them. The values index pairs: ``tallies[side][direction]``."""

    RECEIVED = 0
    SENT = 1

    @property
    def label(self) -> str:
        return self.name.lower()


class Tally:
    """The integers of one leg and direction.

    Messages by kind (``text`` to ``close``), application bytes (``payload_bytes``), bytes of whole frames
    (``wire_bytes``), messages by what the codec did with them (``compressed`` to ``plain``), application bytes that the
    cache had compressed (``cached_bytes``), bytes into and out of the codec and its CPU time in nanoseconds. The codec
    of a received direction inflates, that of a sent one deflates.
    """

    __slots__ = FIELDS

    text: int
    binary: int
    ping: int
    pong: int
    close: int
    payload_bytes: int
    wire_bytes: int
    compressed: int
    cached: int
    skipped_small: int
    skipped_incompressible: int
    inflated: int
    passed: int
    plain: int
    cached_bytes: int
    codec_input: int
    codec_output: int
    codec_ns: int

    def __init__(self) -> None:
        # Written out: four of these are made for each tunnel, and a loop over the names takes ten times as long.
        self.text = self.binary = self.ping = self.pong = self.close = 0
        self.payload_bytes = self.wire_bytes = 0
        self.compressed = self.cached = self.skipped_small = self.skipped_incompressible = 0
        self.inflated = self.passed = self.plain = self.cached_bytes = 0
        self.codec_input = self.codec_output = self.codec_ns = 0
