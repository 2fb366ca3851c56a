"""The fast lane: whole, unfragmented messages of one read, without a state machine.

Owns the tight loops that carry what is already legal. `Leg.whole_messages` yields the messages that lie whole in one
read; everything else goes through wsproto and `flow`. Sans-I/O.

Invariants:
* the lane law: for every stream of bytes and every chunking, with the lane or without it, the same messages, control
  frames and closes leave; only the cost differs (`tests/protocol/test_lane.py` holds it);
* a message that inflates to more than one step is the flow's, which can stop in its midst;
* what came before a violation is delivered, as it would be without the lane.
"""

from collections.abc import Iterator

from wsproxy.errors import Side, Violation
from wsproxy.extensions.deflate import Encoder
from wsproxy.extensions.inflate import Decoder
from wsproxy.protocol.events import Piece
from wsproxy.protocol.flow import HIGH_WATER, STEP, Flow
from wsproxy.protocol.frames import RSV1, TEXT
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.plan import Plan

MESSAGES_A_TURN = 256
_OPCODE = 0x0F
_WHOLE_TEXT = 0x81
_WHOLE_BINARY = 0x82

Messages = Iterator[tuple[int, bytes]]
"""The first byte of a frame and its payload, unmasked."""


class Lane:
    """One direction's fast lane; it shares the codecs, limits and counters of its flow."""

    __slots__ = (
        "_copies",
        "_fault",
        "_flow",
        "_largest",
    )

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._largest = flow.limits.max_message_bytes
        self._fault: Violation | None = None
        # A blind pass to the side that gets no masks: compressed frames leave as they came.
        self._copies = flow.plan is Plan.PASS and flow.decoder is None and flow.sink.side is Side.CLIENT

    def carry(self, leg: Leg) -> int:
        """Carry what lies whole in the input of ``leg``, until the turn is over or the sink is full; how many messages.

        :raises Violation: after everything before it has been written to the sink.
        """
        flow = self._flow
        if self._copies and (count := self._carry_copies(leg)):
            return count
        messages = leg.whole_messages()
        if flow.decoder is not None:
            count = self._carry_inflating(messages, flow.decoder)
        elif flow.encoder is not None:
            count = self._carry_deflating(messages, flow.encoder)
        else:
            count = self._carry_raw(messages)
        if self._fault is not None:
            raise self._fault
        return count

    def carry_one(self, first: int, payload: bytes) -> None:
        """`carry` for a read that was one message, as nearly all are where messages come one by one (an echo, a quiet
        feed): no iterator, no lists.

        :raises Violation: as `carry`.
        """
        flow = self._flow
        plain = payload
        blind = False
        if first & RSV1:
            decoder = flow.decoder
            if decoder is None:
                blind = True
            else:
                plain = self._inflate(payload, decoder)
                if decoder.pending:
                    flow.take_started(Piece(first & _OPCODE, True, RSV1, payload, True, True), plain)
                    return
        size = len(plain)
        # The two questions of `_is_allowed`, which is asked itself where one is not answered at once.
        doubted = size > self._largest or (first & _OPCODE == TEXT and not plain.isascii())
        if doubted and not (blind or self._is_allowed(first, plain)):
            assert self._fault is not None
            raise self._fault
        leaving, out = self._turn(first, payload, plain)
        for tally in (flow.received, flow.sent):
            if first & _OPCODE == TEXT:
                tally.text += 1
            else:
                tally.binary += 1
            if not blind:
                tally.payload_bytes += size
        if not blind:
            flow.sizes[size.bit_length()] += 1
        flow.sink.send_message(leaving, out)

    def _carry_copies(self, leg: Leg) -> int:
        run, count, texts = leg.compressed_run(MESSAGES_A_TURN)
        if count:
            flow = self._flow
            for tally in (flow.received, flow.sent):
                tally.passed += count
                tally.text += texts
                tally.binary += count - texts
            flow.sink.send_run(run)
        return count

    def _carry_raw(self, messages: Messages) -> int:
        """The plans plain and blind pass: no codec sees the messages."""
        firsts, payloads = self._gather(messages)
        if not firsts:
            return 0
        flow = self._flow
        counted = payloads
        passed = 0
        if flow.plan is Plan.PASS:
            counted = [payload for first, payload in zip(firsts, payloads, strict=True) if not first & RSV1]
            passed = len(payloads) - len(counted)
        flow.received.passed += passed
        flow.sent.passed += passed
        flow.received.plain += len(counted)
        flow.sent.plain += len(counted)
        self._count(firsts, counted)
        flow.sink.send_messages(firsts, payloads)
        return len(firsts)

    def _carry_deflating(self, messages: Messages, encoder: Encoder) -> int:
        firsts, payloads = self._gather(messages)
        if not firsts:
            return 0
        flow, sent, encode = self._flow, self._flow.sent, encoder.encode
        hits, hit_bytes = encoder.hits, encoder.hit_bytes
        started = flow.meter.clock()
        outs = [encode(payload, first & _OPCODE == TEXT) for first, payload in zip(firsts, payloads, strict=True)]
        sent.codec_ns += flow.meter.clock() - started
        marked = [
            first if out is payload else first | RSV1
            for first, payload, out in zip(firsts, payloads, outs, strict=True)
        ]
        taken, given, skipped, small = sum(map(len, payloads)), sum(map(len, outs)), 0, 0
        if marked.count(_WHOLE_TEXT) or marked.count(_WHOLE_BINARY):
            raws = [len(out) for first, out in zip(marked, outs, strict=True) if not first & RSV1]
            taken -= sum(raws)
            given -= sum(raws)
            skipped = len(raws)
            small = sum(size < encoder.threshold for size in raws)
        flow.received.plain += len(payloads)
        sent.skipped_small += small
        sent.skipped_incompressible += skipped - small
        sent.cached += encoder.hits - hits
        sent.cached_bytes += encoder.hit_bytes - hit_bytes
        sent.compressed += len(payloads) - skipped - (encoder.hits - hits)
        sent.codec_input += taken
        sent.codec_output += given
        self._count(firsts, payloads)
        flow.sink.send_messages(marked, outs)
        return len(firsts)

    def _carry_inflating(self, messages: Messages, decoder: Decoder) -> int:
        """The plans inflate, recode and verified pass: one by one, because any message may be one that grows."""
        flow = self._flow
        firsts: list[int] = []
        plains: list[bytes] = []
        outs: list[bytes] = []
        count = produced = 0
        for first, payload in messages:
            count += 1
            try:
                plain = self._inflate(payload, decoder) if first & RSV1 else payload
            except Violation as fault:
                self._fault = fault
                break
            if decoder.pending:
                self._send(firsts, plains, outs)
                piece = Piece(first & _OPCODE, True, RSV1, payload, True, True)
                flow.take_started(piece, plain)
                return count
            if not self._is_allowed(first, plain):
                break
            leaving, out = self._turn(first, payload, plain)
            firsts.append(leaving)
            outs.append(out)
            plains.append(plain)
            produced += len(plain)
            if count == MESSAGES_A_TURN or produced >= HIGH_WATER:
                break
        self._send(firsts, plains, outs)
        return count

    def _inflate(self, payload: bytes, decoder: Decoder) -> bytes:
        received, meter = self._flow.received, self._flow.meter
        received.codec_input += len(payload)
        meter.left -= 1
        if meter.left > 0:
            plain = decoder.start(payload, STEP)
        else:
            started = meter.clock()
            plain = decoder.start(payload, STEP)
            meter.spent(received, started)
        if not decoder.pending:
            # Else the flow counts it. One step is below `EXPANSION_FLOOR`: no expansion to judge here.
            received.codec_output += len(plain)
        return plain

    def _turn(self, first: int, payload: bytes, plain: bytes) -> tuple[int, bytes]:
        """The frame that leaves: its first byte and its payload. Counts what is done to the message."""
        flow = self._flow
        received, sent, compressed = flow.received, flow.sent, first & RSV1
        if compressed and flow.plan is Plan.PASS:
            received.passed += 1
            sent.passed += 1
            return first, payload
        if compressed:
            received.inflated += 1
        else:
            received.plain += 1
        encoder = flow.encoder
        if encoder is None:
            sent.plain += 1
            return first & ~RSV1, plain
        hits, hit_bytes, meter = encoder.hits, encoder.hit_bytes, flow.meter
        meter.left -= 1
        started = meter.clock() if meter.left <= 0 else None
        if compressed:
            out = encoder.message(plain) if encoder.verdicts.worth_again() else plain
            encoder.verdicts.inflated(plain, len(payload), len(plain))
        else:
            out = encoder.encode(plain, first & _OPCODE == TEXT)
        if started is not None:
            meter.spent(sent, started)
        if out is plain:
            if compressed or len(plain) >= encoder.threshold:
                sent.skipped_incompressible += 1
            else:
                sent.skipped_small += 1
            return first & ~RSV1, plain
        hits = encoder.hits - hits
        sent.cached += hits
        sent.cached_bytes += encoder.hit_bytes - hit_bytes
        sent.compressed += 1 - hits
        sent.codec_input += len(plain)
        sent.codec_output += len(out)
        return first | RSV1, out

    def _send(self, firsts: list[int], plains: list[bytes], outs: list[bytes]) -> None:
        if outs:
            self._count(firsts, plains)
            self._flow.sink.send_messages(firsts, outs)

    def _gather(self, messages: Messages) -> tuple[list[int], list[bytes]]:
        """Messages that no codec has to see before they are allowed, up to a fault."""
        firsts: list[int] = []
        payloads: list[bytes] = []
        for first, payload in messages:
            if first == _WHOLE_TEXT and not payload.isascii() and not self._is_allowed(first, payload):
                break
            firsts.append(first)
            payloads.append(payload)
            if len(firsts) == MESSAGES_A_TURN:
                break
        return firsts, payloads

    def _is_allowed(self, first: int, plain: bytes) -> bool:
        """Whether a message is within its limit and, if it is text, UTF-8; if not, `_fault` says what it is."""
        if len(plain) > self._largest:
            self._fault = Violation(1009, f"message over {self._largest} bytes")
            return False
        if first & _OPCODE == TEXT and not plain.isascii():
            try:
                plain.decode()
            except UnicodeDecodeError:
                self._fault = Violation(1007, "text that is not UTF-8")
                return False
        return True

    def _count(self, firsts: list[int], payloads: list[bytes]) -> None:
        flow = self._flow
        texts = firsts.count(_WHOLE_TEXT) + firsts.count(_WHOLE_TEXT | RSV1)
        binaries = len(firsts) - texts
        size = sum(map(len, payloads))
        for tally in (flow.received, flow.sent):
            tally.text += texts
            tally.binary += binaries
            tally.payload_bytes += size
        sizes = flow.sizes
        for size in map(len, payloads):
            sizes[size.bit_length()] += 1
