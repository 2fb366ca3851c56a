"""A tunnel's life: from two agreements to a relay, to the switchboard, to its counters and its one line.

Owns: what a route's settings mean for one tunnel. The 101 has been sent on both sides when this begins.
Invariant: every tunnel that is counted as opened is counted as ended, and logged, exactly once.
"""

import random
from dataclasses import dataclass
from math import inf

import trio

from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.cache import Cache
from wsproxy.extensions.chain import Chain
from wsproxy.extensions.deflate import Encoder
from wsproxy.extensions.engines import choose, choose_to_decompress
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.negotiation import LegAgreement, as_chain, reserved_bits
from wsproxy.extensions.permessage_deflate import Window
from wsproxy.gateway.endpoints import Instance
from wsproxy.network.ends import Tunnel
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.protocol.chained import ChainedFlow, Terms, chained_flows
from wsproxy.protocol.ending import ABNORMAL, NO_STATUS, Ending
from wsproxy.protocol.flow import Codec, Counters, Flow
from wsproxy.protocol.keepalive import TOKEN_BYTES, Spans, Watch
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.plan import Plan, choose_plan
from wsproxy.protocol.randomness import random_bytes
from wsproxy.protocol.rates import Toll
from wsproxy.protocol.relay import Relay
from wsproxy.protocol.tally import Direction, Tally
from wsproxy.service.codecs import Share, make_meter
from wsproxy.service.live import LiveTunnel
from wsproxy.service.proxy import Proxy
from wsproxy.settings.tree import LegCompression, Route, RouteLimits, Timeouts
from wsproxy.telemetry.access_log import TunnelClosed, log_tunnel_closed
from wsproxy.telemetry.counters import RouteCounters, Tallies

_METER = make_meter()

Agreements = tuple[LegAgreement, LegAgreement]
"""Of the leg to the client and the leg to the upstream, indexed by `Side`."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Two finished opening handshakes.

    :ivar share: of the budget of memory; with the route that they were made for.
    :ivar counters: the route's; by now the configuration in force may not have it any more.
    """

    share: Share
    counters: RouteCounters
    instance: Instance
    client: Http1Connection
    upstream: Http1Connection
    agreements: Agreements
    trace_id: str

    @property
    def route(self) -> Route:
        return self.share.route


async def run_tunnel(proxy: Proxy, opened: Opened) -> None:
    """Carry the tunnel until both sides are closed. Cancelled, it closes both at once; it is told either way."""
    route = opened.route
    counters = opened.counters
    tallies: Tallies = ((Tally(), Tally()), (Tally(), Tally()))
    flows = _make_flows(proxy, opened, tallies)
    started = trio.current_time()
    relay = _make_relay(route, counters, flows, tallies, started)
    plans = (flows.flows[Side.UPSTREAM].plan, flows.flows[Side.CLIENT].plan)  # by the side that receives
    tunnel = Tunnel(relay, opened.client.transport, opened.upstream.transport)
    counted = counters.open(tallies, opened.agreements, plans, flows.codec_memory)
    if proxy.is_draining(opened.instance.endpoint.url):
        # The drain began while the 101 was being sent, and looked for tunnels before this one was there.
        relay.drain(proxy.close_code, started)
    live = LiveTunnel(
        tunnel=tunnel,
        route=route,
        instance=opened.instance,
        client=opened.client.transport.peer,
        upstream=opened.upstream.transport.peer,
        tallies=tallies,
        agreements=opened.agreements,
        plans=plans,
        started=started,
    )
    proxy.tunnels.add(live)
    try:
        opened.share.settle(flows.codec_capacity())
        await proxy.switchboard.carry(tunnel, (opened.client.trailing(), opened.upstream.trailing()))
    finally:
        proxy.tunnels.discard(live)
        ending = relay.ending or Ending("proxy", ABNORMAL, "cut off")
        code = None if ending.code == NO_STATUS else ending.code
        duration = trio.current_time() - started
        if relay.fault is not None:
            proxy.extension_failed(route.name, *relay.fault, opened.trace_id)
        counters.end(counted, duration, ending.initiator, code, ending.lapse)
        log_tunnel_closed(
            TunnelClosed(
                route=route.name,
                upstream=route.upstream,
                endpoint=opened.instance.endpoint.url,
                client=opened.client.transport.peer,
                duration_seconds=duration,
                tallies=tallies,
                agreements=opened.agreements,
                plans=plans,
                initiator=ending.initiator,
                code=code,
                reason=ending.reason,
                trace_id=opened.trace_id,
            )
        )


def _make_relay(route: Route, counters: RouteCounters, flows: "_Flows", tallies: Tallies, now: float) -> Relay:
    return Relay(
        flows.legs,
        flows.flows,
        tallies,
        route.timeouts.close_seconds,
        route.fast_lane and not flows.chained,
        _make_watch(route.timeouts, tallies, counters, now),
        _make_toll(route.limits, tallies, now),
    )


def _make_watch(timeouts: Timeouts, tallies: Tallies, counters: RouteCounters, now: float) -> Watch | None:
    spans = Spans(
        ping_interval=timeouts.ping_interval_seconds,
        ping_timeout=timeouts.ping_timeout_seconds,
        idle=timeouts.idle_seconds,
        max_age=timeouts.max_age_seconds * (1 - timeouts.max_age_jitter * random.random()),
    )
    if spans.shortest == inf:
        return None
    return Watch(spans, tallies, lambda _: random_bytes(TOKEN_BYTES), now, counters.round_trip)


def _make_toll(limits: RouteLimits, tallies: Tallies, now: float) -> Toll | None:
    if not (limits.messages_per_second or limits.bytes_per_second):
        return None
    received = tallies[Side.CLIENT][Direction.RECEIVED]
    return Toll(limits.messages_per_second, limits.bytes_per_second, received, now)


class _Flows:
    """The two legs of a tunnel and what goes between them, indexed by the `Side` that sends."""

    def __init__(self, legs: tuple[Leg, Leg], flows: tuple[Flow, Flow]) -> None:
        self.legs = legs
        self.flows = flows
        self.chained = any(isinstance(flow, ChainedFlow) for flow in flows)

    def codec_memory(self) -> int:
        """Bytes that the tunnel's codecs hold now, estimated."""
        return sum(codec.memory for codec in self._codecs())

    def codec_capacity(self) -> int:
        """Bytes that the tunnel's codecs may come to hold, estimated."""
        return sum(codec.capacity for codec in self._codecs())

    def _codecs(self) -> list[Codec]:
        return [codec for flow in self.flows for codec in flow.codecs()]


def _make_flows(proxy: Proxy, opened: Opened, tallies: Tallies) -> _Flows:
    route, cache = opened.route, proxy.codecs.cache(opened.route)
    client, upstream = opened.agreements
    legs = (
        Leg(Side.CLIENT, route.limits, rsv=reserved_bits(client)),
        Leg(Side.UPSTREAM, route.limits, rsv=reserved_bits(upstream)),
    )
    if isinstance(client, Chain) or isinstance(upstream, Chain):
        return _Flows(legs, _chained_flows(proxy, opened, tallies, legs))
    from_client = (client.client if client else None, upstream.client if upstream else None)
    from_upstream = (upstream.server if upstream else None, client.server if client else None)

    def flow(source: Side, windows: tuple[Window | None, Window | None]) -> Flow:
        compression = route.compression
        settings = (compression.client, compression.upstream)
        incoming, outgoing = windows
        plan = choose_plan(incoming, outgoing, compression.mode)
        return Flow(
            sink=legs[source.other],
            plan=plan,
            decoder=_decoder(settings[source], incoming, plan, compression.verify),
            # Only what upstreams send goes to many.
            encoder=_encoder(settings[source.other], outgoing, plan, cache if source is Side.UPSTREAM else None),
            limits=route.limits,
            counters=_counted(opened.counters, tallies, source),
            meter=_METER,
        )

    return _Flows(legs, (flow(Side.CLIENT, from_client), flow(Side.UPSTREAM, from_upstream)))


def _chained_flows(proxy: Proxy, opened: Opened, tallies: Tallies, legs: tuple[Leg, Leg]) -> tuple[Flow, Flow]:
    """The flows of a tunnel of which a leg agreed on anything but permessage-deflate alone."""
    route, compression = opened.route, opened.route.compression
    settings = (compression.client, compression.upstream)

    def report(leg: Side, fault: ExtensionFault) -> None:
        proxy.extension_failed(route.name, leg, fault, opened.trace_id)

    return chained_flows(
        legs,
        (
            as_chain(opened.agreements[Side.CLIENT], settings[Side.CLIENT].deflate_options),
            as_chain(opened.agreements[Side.UPSTREAM], settings[Side.UPSTREAM].deflate_options),
        ),
        (
            _counted(opened.counters, tallies, Side.CLIENT),
            _counted(opened.counters, tallies, Side.UPSTREAM),
        ),
        Terms(compression.mode, compression.verify, route.limits, _METER, report),
    )


def _counted(counters: RouteCounters, tallies: Tallies, source: Side) -> Counters:
    return Counters(
        received=tallies[source][Direction.RECEIVED],
        sent=tallies[source.other][Direction.SENT],
        sizes=counters.sizes[source.other],
    )


def _decoder(settings: LegCompression, window: Window | None, plan: Plan, verify: bool) -> Decoder | None:
    if window is None or (plan is Plan.PASS and not verify):
        return None
    return Decoder(choose_to_decompress(settings.engine), window)


def _encoder(settings: LegCompression, window: Window | None, plan: Plan, cache: Cache | None) -> Encoder | None:
    if window is None or plan is Plan.PASS:
        return None
    return Encoder(choose(settings.engine, window.bits), window, settings.deflate_options, cache)
