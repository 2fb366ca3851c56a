"""One direction of a tunnel: pieces of messages in, whole frames out, every byte allowed before it goes on.

Owns what a plan does to a message: inflate, check, count, deflate, coalesce. Sans-I/O and clock-free (the CPU clock is
the meter's). Knows nothing of closing.

Invariants:
* a byte is counted against the limits, and text against UTF-8, before it is written to the sink;
* inflating stops when the sink holds `HIGH_WATER` bytes and goes on with `advance`: a bomb costs what was read;
* whether a message is compressed is decided before the compressor sees it, never after (RFC 7692 §7.2.1).
"""

from codecs import getincrementaldecoder
from dataclasses import dataclass
from typing import Protocol

from wsproxy.errors import Violation
from wsproxy.extensions.deflate import Encoder
from wsproxy.extensions.incompressible import SMALLEST as VERDICT_BYTES
from wsproxy.extensions.inflate import Decoder
from wsproxy.protocol import frames
from wsproxy.protocol.events import Piece
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.meter import Meter
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import Tally

HIGH_WATER = 256 * 1024
"""Bytes waiting for a sink from which on nothing more is produced for it."""
STEP = 64 * 1024
"""The most that one call of the decoder may return, in bytes."""
READS_A_TURN = 64
"""Calls of the decoder in one turn: one that gives little each time must not hold up other tunnels."""
EXPANSION_FLOOR = 64 * 1024
"""Inflated bytes of a message before its expansion is judged: short ones cannot hurt."""

_NO_PIECE = Piece(frames.BINARY, True, 0, b"", True, True)
_Utf8 = getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True)
class Counters:
    """Where one direction counts: the tunnel's own tallies and the route's message sizes."""

    received: Tally
    sent: Tally
    sizes: list[int]
    """Messages by size: index ``n`` counts those of at most ``2**n - 1`` bytes that no lower index took; the last
    index takes the rest."""


class Codec(Protocol):
    """What codecs of both directions have in common."""

    def release(self) -> None: ...
    @property
    def memory(self) -> int: ...
    @property
    def capacity(self) -> int: ...


class FromWire(Codec, Protocol):
    """Payload as it travelled to payload as it was meant, as in `wsproxy.extensions.inflate`."""

    def feed(self, data: bytes, fin: bool) -> None: ...
    @property
    def pending(self) -> bool: ...
    def read(self, max_output: int) -> bytes: ...


class ToWire(Codec, Protocol):
    """Payload to what travels, as in `wsproxy.extensions.deflate`."""

    def piece(self, payload: bytes, frame_end: bool, fin: bool) -> bytes: ...


class Flow:
    """Carries one direction's data messages from a leg's events to the other leg's outbox.

    :param sink: the leg that the messages leave by.
    :param plan: what happens to them.
    :param decoder: for inflate, recode and a verified pass; None makes a pass blind.
    :param encoder: for deflate and recode.
    :param meter: times the codec's calls.
    """

    __slots__ = (
        "_bits",
        "_blind",
        "_check_text",
        "_deflating",
        "_from_wire",
        "_gathered",
        "_head",
        "_hits",
        "_inflating",
        "_opcode",
        "_piece",
        "_size",
        "_small",
        "_to_wire",
        "_unsent",
        "_utf8",
        "_wire",
        "between_messages",
        "decoder",
        "encoder",
        "limits",
        "meter",
        "pending",
        "plan",
        "received",
        "sent",
        "sink",
        "sizes",
    )

    def __init__(
        self,
        sink: Leg,
        plan: Plan,
        decoder: Decoder | None,
        encoder: Encoder | None,
        limits: Limits,
        counters: Counters,
        meter: Meter,
    ) -> None:
        self.plan = plan
        self.decoder = decoder
        self.encoder = encoder
        # The same, or what a chain of extensions has in their place.
        self._from_wire: FromWire | None = decoder
        self._to_wire: ToWire | None = encoder
        self.sink = sink
        self.limits = limits
        self.received = counters.received
        self.sent = counters.sent
        self.sizes = counters.sizes
        self.meter = meter
        # One message's state
        self._piece = _NO_PIECE
        self._inflating = False
        self._deflating = False
        self._blind = False
        # The reserved bits of the frame that begins the message
        self._bits = 0
        self._small = False
        self._hits = 0
        # The first inflated bytes of a message that is recoded
        self._head = b""
        self._size = 0
        self._wire = 0
        self._utf8 = _Utf8()
        self._check_text = False
        self._opcode = frames.BINARY
        # The frame being gathered, and the payload that leaves with it
        self._unsent = 0
        self._gathered = bytearray()
        self.between_messages = True
        """No message is under way: the place for a drain's close frame."""
        self.pending = False
        """Input that was taken is not all worked off: call `advance` once the sink has room."""

    def take(self, piece: Piece) -> None:
        """Work on one piece, as far as the sink has room.

        :raises Violation: 1007, 1008 or 1009; the sink has got nothing that was not allowed.
        """
        if piece.first:
            self._begin(piece)
        self._piece = piece
        if not self._inflating:
            self._deliver(piece.payload, piece.payload, piece.frame_end)
            return
        assert self._from_wire is not None
        self._wire += len(piece.payload)
        self.received.codec_input += len(piece.payload)
        limit = self.limits.max_message_bytes
        if self._wire > limit + limit // 8 + 1024:
            # Empty blocks inflate to nothing, for ever: the wire has its own bound, a little over the message's.
            raise Violation(1009, f"message over {limit} bytes")
        self._from_wire.feed(piece.payload, piece.frame_end and piece.fin)
        self.pending = True
        self.advance()

    def take_started(self, piece: Piece, plain: bytes) -> None:
        """Take over a whole message whose inflating gave ``plain`` and is not at its end.

        :raises Violation: as `take`.
        """
        self._begin(piece)
        self._piece = piece
        self._wire = len(piece.payload)
        self._inflated(plain)

    def rest(self) -> None:
        """Give back what the codecs hold between messages, and the last piece of the last one."""
        if self.between_messages:
            self._piece = _NO_PIECE
            self._head = b""
        for codec in self.codecs():
            codec.release()

    def codecs(self) -> list[Codec]:
        """The direction's codecs, what the plan has of them."""
        return [codec for codec in (self._from_wire, self._to_wire) if codec is not None]

    def advance(self) -> None:
        """Go on with what `take` left pending.

        :raises Violation: as `take`.
        """
        decoder = self._from_wire
        assert decoder is not None
        room = HIGH_WATER
        reads = READS_A_TURN
        more = True
        while more and reads > 0 and room > 0 and self.sink.outbox_bytes < HIGH_WATER:
            started = self.meter.clock()
            plain = decoder.read(STEP)
            self.received.codec_ns += self.meter.clock() - started
            reads -= 1
            room -= len(plain)
            more = self._inflated(plain)

    def _inflated(self, plain: bytes) -> bool:
        """Carry on one step of inflating; True when more is to come of this piece."""
        assert self._from_wire is not None
        piece = self._piece
        self.received.codec_output += len(plain)
        self.pending = more = self._from_wire.pending
        out = plain
        if self.plan is Plan.PASS:
            out = b"" if more else piece.payload
        self._deliver(plain, out, piece.frame_end and not more)
        return more

    def _begin(self, piece: Piece) -> None:
        whole = piece.frame_end and piece.fin
        self.between_messages = False
        self._opcode = piece.opcode
        self._size = self._wire = 0
        compressed = piece.rsv != 0
        self._inflating = compressed and self.decoder is not None
        self._blind = compressed and self.decoder is None
        self._check_text = piece.opcode == frames.TEXT and not self._blind
        self._deflating = False
        self._bits = 0
        encoder = self.encoder
        if self.plan is Plan.PASS:
            self._bits = piece.rsv
        elif encoder is not None:
            self._hits = encoder.hits
            self._small = whole and not compressed and len(piece.payload) < encoder.threshold
            if compressed:
                self._head = b""
                self._deflating = encoder.verdicts.worth_again()
            elif not self._small:
                self._deflating = self._opcode == frames.TEXT or encoder.verdicts.worth(piece.payload, whole)
            self._bits = frames.RSV1 if self._deflating else 0

    def _deliver(self, plain: bytes, out: bytes, frame_end: bool) -> None:
        """Check and count ``plain``, then gather ``out`` for the sink."""
        fin = frame_end and self._piece.fin
        self._allow(plain, fin)
        if not self._blind:
            self._unsent += len(plain)
        if self._inflating and self.encoder is not None and len(self._head) < VERDICT_BYTES:
            self._head += plain[:VERDICT_BYTES]
        if self._deflating:
            out = self._deflate(out, frame_end, fin)
        gathered = self._gathered
        if out and gathered and len(gathered) + len(out) > self.limits.coalesce_bytes:
            self._write(bytes(gathered), False)
            gathered.clear()
        if frame_end:
            self._write(bytes(gathered + out) if gathered else out, fin)
            gathered.clear()
            self.sent.payload_bytes += self._unsent
            self._unsent = 0
        else:
            gathered += out
        if fin:
            self._finish()

    def _allow(self, plain: bytes, fin: bool) -> None:
        limits = self.limits
        self._size = size = self._size + len(plain)
        if size > limits.max_message_bytes:
            raise Violation(1009, f"message over {limits.max_message_bytes} bytes")
        if self._inflating and size > EXPANSION_FLOOR and size > self._wire * limits.max_expansion:
            raise Violation(1009, f"message inflates over {limits.max_expansion} times")
        if self._check_text:
            try:
                self._utf8.decode(plain, fin)
            except UnicodeDecodeError:
                raise Violation(1007, "text that is not UTF-8") from None
        if not self._blind:
            self.received.payload_bytes += len(plain)

    def _deflate(self, plain: bytes, frame_end: bool, fin: bool) -> bytes:
        assert self._to_wire is not None
        sent = self.sent
        started = self.meter.clock()
        out = self._to_wire.piece(plain, frame_end, fin)
        sent.codec_ns += self.meter.clock() - started
        sent.codec_input += len(plain)
        sent.codec_output += len(out)
        return out

    def _write(self, payload: bytes, fin: bool) -> None:
        self.sink.send_frame(self._opcode, self._bits, payload, fin)
        self._opcode = frames.CONTINUATION
        self._bits = 0

    def _finish(self) -> None:
        self._count_message()
        self._count_outcome()

    def _count_message(self) -> None:
        self.between_messages = True
        received, sent = self.received, self.sent
        if not self._blind:
            self.sizes[min(self._size.bit_length(), len(self.sizes) - 1)] += 1
        if self._piece.opcode == frames.TEXT:
            received.text += 1
            sent.text += 1
        else:
            received.binary += 1
            sent.binary += 1

    def _count_outcome(self) -> None:
        received, sent = self.received, self.sent
        if self._piece.rsv and self.plan is Plan.PASS:
            received.passed += 1
            sent.passed += 1
            return
        received.inflated += self._inflating
        received.plain += not self._inflating
        encoder = self.encoder
        if encoder is None:
            sent.plain += 1
            return
        if self._inflating:
            encoder.verdicts.inflated(self._head, self._wire, self._size)
        if self._deflating:
            cached = encoder.hits - self._hits
            sent.cached += cached
            sent.cached_bytes += cached * self._size
            sent.compressed += 1 - cached
        elif self._small:
            sent.skipped_small += 1
        else:
            sent.skipped_incompressible += 1
