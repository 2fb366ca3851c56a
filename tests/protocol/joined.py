"""A relay between two independent ends: `websockets`' sans-I/O protocol, joined in memory, any chunking."""

from collections.abc import Callable, Sequence

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.protocol.chains import extensions_of
from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.cache import Cache
from wsproxy.extensions.chain import Chain
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import choose, choose_to_decompress
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.negotiation import LegAgreement, as_chain, reserved_bits
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.chained import Terms, chained_flows
from wsproxy.protocol.flow import Counters, Flow
from wsproxy.protocol.keepalive import Spans, Watch
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.meter import Meter
from wsproxy.protocol.plan import Mode, Plan, choose_plan
from wsproxy.protocol.rates import Toll
from wsproxy.protocol.relay import Relay
from wsproxy.protocol.tally import Tally

Chunks = Callable[[bytes], Sequence[bytes]]
DEFAULTS = Limits()
TOKENS = (b"to-client", b"to-upstream")
Tallies = tuple[tuple[Tally, Tally], tuple[Tally, Tally]]


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def make_relay(
    client: LegAgreement,
    upstream: LegAgreement,
    *,
    mode: Mode = "auto",
    verify: bool = True,
    limits: Limits = DEFAULTS,
    engine: str = "auto",
    fast_lane: bool = True,
    spans: Spans | None = None,
    round_trips: list[tuple[Side, float]] | None = None,
    meter: Meter | None = None,
) -> tuple[Relay, tuple[Plan, Plan], Tallies]:
    """A relay, its plans by sending side, and its tallies; codec time is measured only with a ``meter``."""
    tallies: Tallies = ((Tally(), Tally()), (Tally(), Tally()))
    legs = (
        Leg(Side.CLIENT, limits, rsv=reserved_bits(client)),
        Leg(Side.UPSTREAM, limits, rsv=reserved_bits(upstream)),
    )
    counters = (
        Counters(tallies[Side.CLIENT][0], tallies[Side.UPSTREAM][1], [0] * 32),
        Counters(tallies[Side.UPSTREAM][0], tallies[Side.CLIENT][1], [0] * 32),
    )
    meter = meter or Meter(lambda: 0)
    flows: tuple[Flow, Flow]
    if isinstance(client, Chain) or isinstance(upstream, Chain):
        options = DeflateOptions(engine)
        chains = as_chain(client, options), as_chain(upstream, options)
        flows = chained_flows(legs, chains, counters, Terms(mode, verify, limits, meter, _no_fault))
        fast_lane = False
    else:
        flows = _flows(client, upstream, mode, verify, limits, engine, legs, counters, meter)
    watch = toll = None
    if spans is not None:
        seen = [] if round_trips is None else round_trips
        watch = Watch(spans, tallies, TOKENS.__getitem__, 0.0, lambda side, seconds: seen.append((side, seconds)))
    if limits.messages_per_second or limits.bytes_per_second:
        toll = Toll(limits.messages_per_second, limits.bytes_per_second, tallies[0][0], 0.0)
    relay = Relay(legs, flows, tallies, close_seconds=5, fast_lane=fast_lane, watch=watch, toll=toll)
    return relay, (flows[0].plan, flows[1].plan), tallies


def _flows(
    client: Agreement | None,
    upstream: Agreement | None,
    mode: Mode,
    verify: bool,
    limits: Limits,
    engine: str,
    legs: tuple[Leg, Leg],
    counters: tuple[Counters, Counters],
    meter: Meter,
) -> tuple[Flow, Flow]:
    shared_cache = Cache(1 << 20)
    windows = (
        (client.client if client else None, upstream.client if upstream else None),
        (upstream.server if upstream else None, client.server if client else None),
    )

    def flow(source: Side) -> Flow:
        incoming, outgoing = windows[source]
        plan = choose_plan(incoming, outgoing, mode)
        decoder = encoder = None
        if incoming is not None and (verify or plan is not Plan.PASS):
            decoder = Decoder(choose_to_decompress(engine), incoming)
        if outgoing is not None and plan is not Plan.PASS:
            encoder = Encoder(choose(engine, outgoing.bits), outgoing, DeflateOptions(), shared_cache)
        return Flow(legs[source.other], plan, decoder, encoder, limits, counters[source], meter)

    return flow(Side.CLIENT), flow(Side.UPSTREAM)


def _no_fault(leg: Side, fault: ExtensionFault) -> None:
    raise AssertionError(f"{leg.label}: {fault}")


def make_end(side: Side, agreement: LegAgreement) -> Protocol:
    """An independent end: what sits on ``side`` of the proxy."""
    end: Protocol
    if side is Side.CLIENT:
        end = ClientProtocol(parse_uri("ws://example.test/"), state=State.OPEN, max_size=None)
    else:
        end = ServerProtocol(state=State.OPEN, max_size=None)
    end.extensions = extensions_of(side, agreement)
    return end


class Joined:
    """Two ends with a relay between them; `run` moves bytes until nothing moves."""

    def __init__(
        self,
        client: LegAgreement = None,
        upstream: LegAgreement = None,
        *,
        mode: Mode = "auto",
        verify: bool = True,
        limits: Limits = DEFAULTS,
        engine: str = "auto",
        chunks: Chunks = whole,
        fast_lane: bool = True,
        spans: Spans | None = None,
    ) -> None:
        self.round_trips: list[tuple[Side, float]] = []
        self.relay, self.plans, self.tallies = make_relay(
            client,
            upstream,
            mode=mode,
            verify=verify,
            limits=limits,
            engine=engine,
            fast_lane=fast_lane,
            spans=spans,
            round_trips=self.round_trips,
        )
        self.ends = (make_end(Side.CLIENT, client), make_end(Side.UPSTREAM, upstream))
        self.received: tuple[list[Frame], list[Frame]] = ([], [])
        self.wire = [bytearray(), bytearray()]
        """Every byte that the relay sent to each side."""
        self._chunks = chunks
        self.now = 0.0

    def send_raw(self, side: Side, data: bytes) -> None:
        """Bytes as if that end had sent them."""
        for chunk in self._chunks(data):
            self.relay.receive(side, chunk, self.now)
            self._finish(side)

    def run(self) -> None:
        """Exchange until both ends and the relay are silent."""
        moved = True
        while moved:
            moved = False
            for side in Side:
                for data in self.ends[side].data_to_send():
                    moved = True
                    if data:
                        self.send_raw(side, data)
                    else:
                        self.relay.ended(side, self.now)
            for side in Side:
                moved = self._deliver(side) or moved

    def _finish(self, side: Side) -> None:
        while self.relay.backlog(side):
            self._deliver(side.other)
            self.relay.resume(side, self.now)

    def _deliver(self, side: Side) -> bool:
        data = self.relay.take(side)
        self.wire[side] += data
        end = self.ends[side]
        for chunk in self._chunks(data):
            end.receive_data(chunk)
        for event in end.events_received():
            assert isinstance(event, Frame)
            self.received[side].append(event)
        return bool(data)

    def messages(self, side: Side) -> list[tuple[Opcode, bytes]]:
        """The data messages that arrived at ``side``, put together."""
        found: list[tuple[Opcode, bytes]] = []
        opcode, parts = Opcode.CONT, b""
        for frame in self.received[side]:
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                opcode = opcode if frame.opcode is Opcode.CONT else frame.opcode
                parts += bytes(frame.data)
                if frame.fin:
                    found.append((opcode, parts))
                    parts = b""
        return found

    def closed_with(self, side: Side) -> tuple[int, str] | None:
        """Code and reason of the close frame that ``side`` got; 1005 where it had no code."""
        close = self.ends[side].close_rcvd
        return None if close is None else (close.code, close.reason)


KEPT = Agreement(server=Window(15, True), client=Window(15, True))
SMALL = Agreement(server=Window(9, True), client=Window(10, True))
RESET = Agreement(server=Window(12, False), client=Window(12, False))
MIXED = Agreement(server=Window(12, False), client=Window(15, True))
AGREEMENTS: dict[str, Agreement | None] = {
    "none": None,
    "kept": KEPT,
    "small": SMALL,
    "reset": RESET,
    "mixed": MIXED,
}
