"""What one worker counts: plain integers, prefilled for everything that the configuration names.

Owns: the numbers behind every metric, and the snapshot of them that leaves the worker. Must never import
prometheus_client, trio or logging.
Invariants
* No total ever falls: a tunnel's tallies move from the live ones to the sum of the ended ones in one synchronous call,
  and what a former configuration counted stays.
* Every key is bounded by the configuration or by a closed list in this file, whatever clients and upstreams send.
* The bytes' path is not slowed: flows add to their own tallies. A snapshot sums them, in slices between which whoever
  wants it lets tunnels go on.
"""

import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import accumulate
from operator import attrgetter
from typing import Literal

from wsproxy import __version__
from wsproxy.errors import Side
from wsproxy.extensions.cache import Cache
from wsproxy.extensions.engines import available, choose, choose_to_decompress
from wsproxy.extensions.negotiation import LegAgreement
from wsproxy.gateway.pools import Pool
from wsproxy.protocol.keepalive import Lapse
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import FIELDS, Direction, Tally
from wsproxy.settings.tree import Route, Settings
from wsproxy.telemetry import metrics
from wsproxy.telemetry.labels import AgreementKey, agreement_key, close_label
from wsproxy.telemetry.metrics import DURATION_BOUNDS, ROUND_TRIP_BOUNDS, SIZE_BUCKETS, SIZE_EXPONENTS
from wsproxy.telemetry.snapshot import Snapshot

Initiator = Literal["client", "upstream", "proxy"]
Tallies = tuple[tuple[Tally, Tally], tuple[Tally, Tally]]
"""``tallies[side][direction]``."""

Engines = tuple[tuple[str, str], tuple[str, str]]
"""``engines[side][direction]``, by name."""

DESTINATIONS = ("to_client", "to_upstream")
"""The labels of the two flows, indexed by the `Side` that receives."""
RESULTS = (
    "accepted",
    "rejected_by_upstream",
    "no_route",
    "forbidden",
    "bad_request",
    "upstream_unreachable",
    "upstream_timeout",
    "draining",
    "limited",
)
"""The ``result`` labels of the opening handshakes."""
NO_ROUTE = ""
"""The ``route`` label of a handshake that failed before a route was found."""
REFUSALS = ("proxy_protocol", "tls", "timeout", "limited")
"""The ``reason`` labels of connections that ended before their first request could be read."""
KINDS = ("text", "binary", "ping", "pong", "close")
OUTCOMES = ("compressed", "cached", "skipped_small", "skipped_incompressible", "passed", "inflated", "plain")
TUNNELS_A_SLICE = 200
"""Tunnels that are summed at a time: half a millisecond, and few enough to stay in the processor's cache, which halves
the time of the whole."""
ESTIMATES_A_SNAPSHOT = 2500
"""Tunnels whose codecs are asked for their memory in one snapshot: it takes three microseconds each and changes slowly.
Of more tunnels each is asked in its turn, every second or third snapshot."""

_ENDED_A_SUM = 64
"""Ended tunnels that are added to the totals together, in a fifth of the time that it takes one by one."""

Pause = Callable[[], Awaitable[object]]
"""Lets everything else in this process go on for a moment, such as ``trio.lowlevel.checkpoint``."""
Legs = dict[tuple[Side, Direction], Tally]

# An enum makes its members anew for each loop over it.
_SIDES = tuple(Side)
_values = attrgetter(*FIELDS)
_OPERATIONS = {Direction.RECEIVED: "decompress", Direction.SENT: "compress"}
_LEGS = tuple((side, direction) for side in Side for direction in Direction)


class Tunnel:
    """One live tunnel as telemetry sees it. Made by `RouteCounters.open`, ended by `RouteCounters.end`."""

    __slots__ = ("codec_memory", "estimate", "tallies")

    def __init__(self, tallies: Tallies, codec_memory: Callable[[], int]) -> None:
        self.tallies = tallies
        self.codec_memory = codec_memory
        self.estimate: int | None = None


class RouteCounters:
    """Everything counted under one ``route`` label. Raises EngineUnavailable if a leg's engine is not installed.

    :ivar engines: the engine's name by `Side` and `Direction`: what is received is decompressed.
    :ivar sizes: message sizes of each flow, indexed by the `Side` that receives; flows add to these lists themselves.
    """

    __slots__ = (
        "_ended",
        "_just_ended",
        "_live",
        "_turn",
        "agreements",
        "closes",
        "duration_seconds",
        "durations",
        "engines",
        "name",
        "plans",
        "round_trip_seconds",
        "round_trips",
        "sizes",
        "timeouts",
        "tunnels_total",
        "upstream",
    )

    def __init__(self, route: Route) -> None:
        self.name = route.name
        self.upstream = route.upstream
        client, upstream = route.compression.client, route.compression.upstream
        # At each leg the proxy compresses as that leg's server or client, and the engine must fit that end's window.
        self.engines: Engines = (
            (choose_to_decompress(client.engine).name, choose(client.engine, client.server_max_window_bits).name),
            (choose_to_decompress(upstream.engine).name, choose(upstream.engine, upstream.client_max_window_bits).name),
        )
        self.sizes: tuple[list[int], list[int]] = ([0] * SIZE_BUCKETS, [0] * SIZE_BUCKETS)
        self.durations = [0] * (len(DURATION_BOUNDS) + 1)
        self.duration_seconds = 0.0
        self.tunnels_total = 0
        self.agreements: Counter[AgreementKey] = Counter()
        self.plans: dict[tuple[Side, Plan], int] = {(side, plan): 0 for side in Side for plan in Plan}
        self.closes: Counter[tuple[Initiator, str]] = Counter()
        self.timeouts = dict.fromkeys(Lapse, 0)
        self.round_trips = tuple([0] * (len(ROUND_TRIP_BOUNDS) + 1) for _ in Side)
        self.round_trip_seconds = [0.0, 0.0]
        self._live: dict[Tunnel, None] = {}
        self._just_ended: list[Tallies] = []
        self._turn = 0
        self._ended: dict[tuple[Side, Direction], tuple[int, ...]] = {
            (side, direction): (0,) * len(FIELDS) for side in Side for direction in Direction
        }

    @property
    def tunnels_active(self) -> int:
        return len(self._live)

    def open(
        self,
        tallies: Tallies,
        agreements: tuple[LegAgreement, LegAgreement],
        plans: tuple[Plan, Plan],
        codec_memory: Callable[[], int],
    ) -> Tunnel:
        """Count a tunnel from its 101 on.

        :param agreements: of each leg, indexed by `Side`.
        :param plans: of each flow, indexed by the `Side` that receives.
        :param codec_memory: gives the bytes that the tunnel's codecs hold now; called at each scrape.
        """
        for side in _SIDES:
            self.agreements[agreement_key(side, agreements[side])] += 1
            self.plans[side, plans[side]] += 1
        self.tunnels_total += 1
        tunnel = Tunnel(tallies, codec_memory)
        self._live[tunnel] = None
        return tunnel

    def round_trip(self, side: Side, seconds: float) -> None:
        """Count a ping of ours that was answered."""
        self.round_trips[side][bisect_left(ROUND_TRIP_BOUNDS, seconds)] += 1
        self.round_trip_seconds[side] += seconds

    def end(
        self,
        tunnel: Tunnel,
        duration_seconds: float,
        initiator: Initiator,
        code: int | None,
        lapse: Lapse | None = None,
    ) -> None:
        """Fold a tunnel into the totals. Call once, after its flows have stopped.

        :param code: the close code, None when the close frame had none, 1006 for a connection lost without one.
        :param lapse: the limit of time that it was over, if it was one.
        :raises KeyError: the tunnel is not a live one of this route.
        """
        del self._live[tunnel]
        self._just_ended.append(tunnel.tallies)
        if len(self._just_ended) >= _ENDED_A_SUM:
            self._sum_up()
        self.durations[bisect_left(DURATION_BOUNDS, duration_seconds)] += 1
        self.duration_seconds += duration_seconds
        self.closes[initiator, close_label(code)] += 1
        if lapse is not None:
            self.timeouts[lapse] += 1

    def _sum_up(self) -> None:
        _add(self._ended, self._just_ended)
        self._just_ended.clear()

    async def totals(self, pause: Pause) -> tuple[Legs, int]:
        """The sums of each leg and direction over ended and live tunnels, and the bytes that live codecs hold.

        Ten thousand live tunnels are forty thousand tallies: they are summed slice by slice, column by column in C.
        Tunnels that end in the meantime count as live ones with what they counted in the end, newer ones not yet.
        """
        self._sum_up()
        live = list(self._live)
        sums = dict(self._ended)
        memory = 0
        rounds = -(-len(live) // ESTIMATES_A_SNAPSHOT)
        self._turn += 1
        for start in range(0, len(live), TUNNELS_A_SLICE):
            part = live[start : start + TUNNELS_A_SLICE]
            _add(sums, [tunnel.tallies for tunnel in part])
            memory += self._memory(part, anew=(start // TUNNELS_A_SLICE + self._turn) % rounds == 0)
            await pause()
        return {leg: _tally(values) for leg, values in sums.items()}, memory

    def _memory(self, part: list[Tunnel], anew: bool) -> int:
        """What the codecs of these tunnels hold; a tunnel that was never asked is asked in any case."""
        memory = 0
        for tunnel in part:
            if anew or tunnel.estimate is None:
                tunnel.estimate = tunnel.codec_memory()
            memory += tunnel.estimate
        return memory

    async def tell(self, snapshot: Snapshot, pause: Pause) -> None:
        """Add everything of this route to a snapshot."""
        name = self.name
        snapshot.add(metrics.TUNNELS_ACTIVE, (name, self.upstream), len(self._live))
        snapshot.add(metrics.TUNNELS, (name, self.upstream), self.tunnels_total)
        for key, count in self.agreements.items():
            labels = (name, key.side.label, key.extension, key.takeover, str(key.window_bits))
            snapshot.add(metrics.AGREEMENTS, labels, count)
        for (side, plan), count in self.plans.items():
            snapshot.add(metrics.PLANS, (name, DESTINATIONS[side], plan.value), count)
        for (initiator, code), count in self.closes.items():
            snapshot.add(metrics.CLOSES, (name, initiator, code), count)
        for lapse, count in self.timeouts.items():
            snapshot.add(metrics.TUNNEL_TIMEOUTS, (name, lapse.label), count)
        for side in _SIDES:
            observed = (*self.round_trips[side], self.round_trip_seconds[side])
            snapshot.observe(metrics.PING_ROUND_TRIP, (name, side.label), observed)
        snapshot.observe(metrics.TUNNEL_DURATION, (name,), (*self.durations, self.duration_seconds))
        legs, memory = await self.totals(pause)
        snapshot.add(metrics.CODEC_MEMORY, (name,), memory)
        for (side, direction), total in legs.items():
            self._tell_leg(snapshot, side, direction, total)

    def _tell_leg(self, snapshot: Snapshot, side: Side, direction: Direction, total: Tally) -> None:
        leg = (self.name, side.label)
        for kind in KINDS:
            snapshot.add(metrics.MESSAGES, (*leg, direction.label, kind), getattr(total, kind))
        snapshot.add(metrics.PAYLOAD_BYTES, (*leg, direction.label), total.payload_bytes)
        snapshot.add(metrics.WIRE_BYTES, (*leg, direction.label), total.wire_bytes)
        for outcome in OUTCOMES:
            snapshot.add(metrics.CODEC_MESSAGES, (*leg, outcome), getattr(total, outcome))
        operation = _OPERATIONS[direction]
        snapshot.add(metrics.CODEC_INPUT_BYTES, (*leg, operation), total.codec_input)
        snapshot.add(metrics.CODEC_OUTPUT_BYTES, (*leg, operation), total.codec_output)
        snapshot.add(metrics.CODEC_CPU, (*leg, operation, self.engines[side][direction]), total.codec_ns / 1e9)
        snapshot.add(metrics.CACHE_HIT_BYTES, leg, total.cached_bytes)
        if direction is Direction.RECEIVED:
            flow = (self.name, DESTINATIONS[side.other])
            snapshot.observe(metrics.MESSAGE_SIZE, flow, (*_by_bound(self.sizes[side.other]), total.payload_bytes))


class Counters:
    """Everything one worker counts. Prefilled, so that a series is there before its first event.

    :ivar sessions_active: live client connections by listener.
    :ivar routes: of the configuration in force, by route name.
    :ivar caches: whose bytes are shown as they are, by route name; not every route has one.
    :ivar codec_memory_reserved: gives the bytes that the codecs of open tunnels may come to hold.
    :ivar extension_events: gives what extensions count: route, leg, extension and event, and the number.
    :ivar handshakes: opening handshakes by (route or `NO_ROUTE`, result).
    :ivar refused: connections that ended before a request could be read, by (listener, one of `REFUSALS`).
    :ivar draining: newcomers are turned away for good.
    """

    def __init__(self, settings: Settings, pools: Iterable[Pool] = (), worker: str = "0") -> None:
        """:param worker: the place of this worker among the workers; a successor takes the same."""
        self.sessions_active: dict[str, int] = {}
        self.routes: dict[str, RouteCounters] = {}
        self.handshakes: dict[tuple[str, str], int] = {}
        self.refused: dict[tuple[str, str], int] = {}
        self.draining = False
        self._worker = worker
        self._every: dict[tuple[str, str, Engines], RouteCounters] = {}
        self._build = (__version__, platform.python_version(), ",".join(available()))
        self.caches: Mapping[str, Cache] = {}
        self.codec_memory_reserved: Callable[[], int] = int
        self.extension_events: Callable[[], list[tuple[tuple[str, str, str, str], int]]] = list
        self.adopt(settings, pools)

    def adopt(self, settings: Settings, pools: Iterable[Pool]) -> None:
        """Count for this configuration from now on; what former ones counted stays.

        :param pools: whose live counts are shown as they are; the pools own them.
        """
        self.pools = tuple(pools)
        self._codec_memory_budget = settings.limits.codec_memory_bytes
        for listener in settings.listeners:
            self.sessions_active.setdefault(listener.name, 0)
            for reason in REFUSALS:
                self.refused.setdefault((listener.name, reason), 0)
        fresh = [RouteCounters(route) for route in settings.routes]
        # Not by name alone: with another upstream or engine, the same route's numbers have other labels.
        self.routes = {
            route.name: self._every.setdefault((route.name, route.upstream, route.engines), route) for route in fresh
        }
        for name in (*self.routes, NO_ROUTE):
            for result in RESULTS:
                self.handshakes.setdefault((name, result), 0)

    async def snapshot(self, pause: Pause) -> Snapshot:
        """All of it as plain data. Two may be under way at the same time."""
        snapshot = Snapshot()
        snapshot.add(metrics.BUILD_INFO, self._build, 1)
        snapshot.add(metrics.WORKERS, (), 1)
        snapshot.add(metrics.WORKER_CPU, (self._worker,), time.process_time())
        for listener, active in self.sessions_active.items():
            snapshot.add(metrics.SESSIONS_ACTIVE, (listener,), active)
        for labels, count in self.handshakes.items():
            snapshot.add(metrics.HANDSHAKES, labels, count)
        for labels, count in self.refused.items():
            snapshot.add(metrics.CONNECTIONS_REFUSED, labels, count)
        snapshot.add(metrics.DRAINING, (), self.draining)
        for event, count in self.extension_events():
            snapshot.add(metrics.EXTENSION_EVENTS, event, count)
        snapshot.add(metrics.CODEC_MEMORY_RESERVED, (), self.codec_memory_reserved())
        snapshot.add(metrics.CODEC_MEMORY_BUDGET, (), self._codec_memory_budget)
        for pool in self.pools:
            for endpoint in pool.endpoints:
                snapshot.add(metrics.ENDPOINT_CONNECTIONS, (pool.name, endpoint.url), pool.live(endpoint))
                snapshot.add(metrics.ENDPOINT_UP, (pool.name, endpoint.url), pool.is_up(endpoint))
        for name in self.routes:
            cache = self.caches.get(name)
            snapshot.add(metrics.CACHE_BYTES, (name,), cache.held if cache is not None else 0)
        for route in list(self._every.values()):
            await route.tell(snapshot, pause)
            await pause()
        return snapshot


def _add(sums: dict[tuple[Side, Direction], tuple[int, ...]], ended: list[Tallies]) -> None:
    for side, direction in _LEGS:
        rows = [_values(tallies[side][direction]) for tallies in ended]
        rows.append(sums[side, direction])
        sums[side, direction] = tuple(map(sum, zip(*rows, strict=True)))


def _tally(values: Iterable[int]) -> Tally:
    tally = Tally()
    for name, value in zip(FIELDS, values, strict=True):
        setattr(tally, name, value)
    return tally


def _by_bound(sizes: list[int]) -> list[int]:
    """Counts by power of two as counts by the catalogue's buckets."""
    counted = list(accumulate(sizes))
    upto = [counted[exponent] for exponent in SIZE_EXPONENTS]
    return [*(high - low for low, high in zip([0, *upto], [*upto, counted[-1]], strict=True))]
