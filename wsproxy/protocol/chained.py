"""One direction of a tunnel of which a leg agreed on more than permessage-deflate, or on something else.

Owns how a flow asks a chain of extensions what to do with a message. Sans-I/O and clock-free, as `flow`, which keeps
what matters: limits, UTF-8, counting and back pressure are the same for every extension, and none can go around them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.base import End
from wsproxy.extensions.chain import Chain, ChainDecoder, ChainEncoder, Report
from wsproxy.protocol import frames
from wsproxy.protocol.events import Piece
from wsproxy.protocol.flow import Counters, Flow
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.meter import Meter
from wsproxy.protocol.plan import Mode, Plan


@dataclass(frozen=True, slots=True)
class Terms:
    """What both directions of a tunnel have in common.

    :ivar verify: a pass decodes what it passes, to check it.
    :ivar report: told of an extension, on which leg, that failed when it was asked whether messages may pass.
    """

    mode: Mode
    verify: bool
    limits: Limits
    meter: Meter
    report: Callable[[Side, ExtensionFault], None]


def chained_flows(
    legs: tuple[Leg, Leg],
    chains: tuple[Chain | None, Chain | None],
    counters: tuple[Counters, Counters],
    terms: Terms,
) -> tuple["ChainedFlow", "ChainedFlow"]:
    """The two directions of a tunnel, by the side that sends; all pairs are indexed so.

    The messages of one end of a leg are those of the same end of the other: what the client sends, our client's end
    sends on.
    """

    def flow(source: Side, sender: End) -> ChainedFlow:
        incoming, outgoing = chains[source], chains[source.other]
        plan = choose_chained_plan(incoming, outgoing, terms.mode, sender, partial(terms.report, source))
        return ChainedFlow(legs[source.other], plan, incoming, outgoing, sender, counters[source], terms)

    return flow(Side.CLIENT, "client"), flow(Side.UPSTREAM, "server")


def choose_chained_plan(
    incoming: Chain | None, outgoing: Chain | None, mode: Mode, sender: End, report: Report
) -> Plan:
    """As `wsproxy.protocol.plan.choose_plan`: "deflate" stands for encoding, "inflate" for decoding.

    :param sender: the end of both legs whose messages these are.
    :param report: told of an extension that fails when it is asked.
    """
    if incoming is None:
        return Plan.PLAIN if outgoing is None else Plan.DEFLATE
    if outgoing is None:
        return Plan.INFLATE
    if mode != "recompress" and incoming.may_pass(outgoing, sender, report):
        return Plan.PASS
    return Plan.RECODE


class ChainedFlow(Flow):
    """A flow with chains in the place of the permessage-deflate codecs.

    :param incoming: what the messages come through.
    :param outgoing: what they leave through; not asked for by a pass.
    """

    __slots__ = ("_always", "_coded", "_decoder", "_encoder")

    def __init__(
        self,
        sink: Leg,
        plan: Plan,
        incoming: Chain | None,
        outgoing: Chain | None,
        sender: End,
        counters: Counters,
        terms: Terms,
    ) -> None:
        super().__init__(sink, plan, None, None, terms.limits, counters, terms.meter)
        self._decoder = self._encoder = None
        if incoming is not None and (terms.verify or plan is not Plan.PASS):
            self._decoder = ChainDecoder(incoming, sender, terms.limits.max_message_bytes)
        if outgoing is not None and plan is not Plan.PASS:
            self._encoder = ChainEncoder(outgoing, sender)
        self._from_wire = self._decoder
        self._to_wire = self._encoder
        # Messages that carry no reserved bit are coded too.
        self._always = incoming is not None and any(not link.rsv for link in incoming.links)
        self._coded = False

    def _begin(self, piece: Piece) -> None:
        self.between_messages = False
        self._opcode = piece.opcode
        self._size = self._wire = 0
        if self._decoder is None:
            self._inflating = False
            self._coded = self._always or piece.rsv != 0
        else:
            self._inflating = self._coded = self._decoder.begin(piece.rsv)
        self._blind = self._coded and self._decoder is None
        self._check_text = piece.opcode == frames.TEXT and not self._blind
        self._bits = piece.rsv if self.plan is Plan.PASS else 0
        self._deflating = self._encoder is not None
        if self._encoder is not None:
            self._encoder.begin(piece.opcode)

    def _deflate(self, plain: bytes, frame_end: bool, fin: bool) -> bytes:
        assert self._encoder is not None
        sent, began = self.sent, self._encoder.began
        started = self.meter.clock()
        out = self._encoder.piece(plain, frame_end, fin)
        sent.codec_ns += self.meter.clock() - started
        if not began:
            self._bits = self._encoder.bits
        if self._encoder.transformed:
            sent.codec_input += len(plain)
            sent.codec_output += len(out)
        return out

    def _count_outcome(self) -> None:
        received, sent = self.received, self.sent
        if self._coded and self.plan is Plan.PASS:
            received.passed += 1
            sent.passed += 1
            return
        received.inflated += self._inflating
        received.plain += not self._inflating
        if self._encoder is None:
            sent.plain += 1
        elif self._encoder.transformed:
            sent.compressed += 1
        else:
            sent.skipped_small += 1
