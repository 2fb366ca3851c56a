"""The counters as Prometheus samples.

Owns: every metric's name, type, labels and help text. The only place that knows prometheus_client; must never import
trio. docs/metrics.md describes what is made here, and a test holds the two together.
Invariants: a scrape changes nothing; labels come from `counters`, whose keys are bounded.
"""

import platform
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from wsproxy import __version__
from wsproxy.errors import Side
from wsproxy.extensions.engines import available
from wsproxy.protocol.tally import Direction, Tally
from wsproxy.telemetry.counters import DESTINATIONS, DURATION_BOUNDS, Counters, RouteCounters

_KINDS = ("text", "binary", "ping", "pong", "close")
_OUTCOMES = ("compressed", "skipped_small", "skipped_incompressible", "passed", "inflated", "plain")
_SIZE_EXPONENTS = range(6, 26, 2)
"""A bucket for each power of four from 64 bytes to 16 MiB: sizes are counted by powers of two, but each route would pay
for twenty series more."""
_OPENMETRICS = "application/openmetrics-text"
_OPERATIONS = {Direction.RECEIVED: "decompress", Direction.SENT: "compress"}
_DIRECTION_LABELS = {Direction.RECEIVED: "received", Direction.SENT: "sent"}

_LegTotals = list[tuple[RouteCounters, Side, Direction, Tally]]


def make_registry(counters: Counters) -> CollectorRegistry:
    """A registry of its own for one worker's counters, with prometheus-client's process and platform collectors."""
    registry = CollectorRegistry()
    registry.register(_WorkerCollector(counters))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """One scrape and its Content-Type: OpenMetrics if the Accept header names it, else the text format.

    The header itself never reaches prometheus-client, which raises on versions that are not numbers.
    """
    asked = {media_range.partition(";")[0].strip().lower() for media_range in accept.split(",")}
    encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS in asked else "")
    return encode(registry), content_type


class _WorkerCollector(Collector):
    """Reads the counters anew at each scrape."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._engines = ",".join(available())

    def collect(self) -> Iterator[Metric]:
        routes = list(self._counters.routes.values())
        legs: _LegTotals = [
            (route, side, direction, route.totals(side, direction))
            for route in routes
            for side in Side
            for direction in Direction
        ]
        yield from _build_info(self._engines)
        yield from _lives(self._counters, routes)
        yield from _openings(self._counters, routes)
        yield from _traffic(legs)
        yield from _codecs(legs)
        yield from _histograms(routes, legs)
        yield from _endpoints(self._counters)


def _build_info(engines: str) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "wsproxy_build_info", "Always 1; the labels say what runs.", labels=("version", "python", "engines")
    )
    info.add_metric((__version__, platform.python_version(), engines), 1)
    yield info


def _lives(counters: Counters, routes: list[RouteCounters]) -> Iterator[Metric]:
    sessions = GaugeMetricFamily(
        "wsproxy_sessions_active", "Client connections open now, tunnels or not.", labels=("listener",)
    )
    for listener, active in counters.sessions_active.items():
        sessions.add_metric((listener,), active)
    yield sessions
    tunnels = GaugeMetricFamily(
        "wsproxy_tunnels_active", "WebSocket tunnels open now, from the 101 on.", labels=("route", "upstream")
    )
    opened = CounterMetricFamily("wsproxy_tunnels_total", "WebSocket tunnels opened.", labels=("route", "upstream"))
    closes = CounterMetricFamily(
        "wsproxy_closes_total",
        "Tunnels ended, by who ended them and the close code; 1005: a close frame without a code, "
        "1006: a connection lost without a close frame.",
        labels=("route", "initiator", "code"),
    )
    memory = GaugeMetricFamily(
        "wsproxy_codec_memory_bytes", "Estimated bytes that the codecs of open tunnels hold.", labels=("route",)
    )
    for route in routes:
        tunnels.add_metric((route.name, route.upstream), route.tunnels_active)
        opened.add_metric((route.name, route.upstream), route.tunnels_total)
        memory.add_metric((route.name,), route.codec_memory())
        for (initiator, code), count in route.closes.items():
            closes.add_metric((route.name, initiator, code), count)
    yield from (tunnels, opened, closes, memory)


def _openings(counters: Counters, routes: list[RouteCounters]) -> Iterator[Metric]:
    handshakes = CounterMetricFamily(
        "wsproxy_handshakes_total",
        "Opening handshakes answered, by result; the route is empty where none was found.",
        labels=("route", "result"),
    )
    for (name, result), count in counters.handshakes.items():
        handshakes.add_metric((name, result), count)
    yield handshakes
    agreements = CounterMetricFamily(
        "wsproxy_agreements_total",
        "What the legs of tunnels agreed on: extension (or none), which ends keep their context, and the largest "
        "window of the leg's server end as a power of two in bytes.",
        labels=("route", "leg", "extension", "takeover", "window_bits"),
    )
    plans = CounterMetricFamily(
        "wsproxy_plans_total",
        "Flows of tunnels, by how their messages are carried across.",
        labels=("route", "direction", "plan"),
    )
    for route in routes:
        for key, count in route.agreements.items():
            labels = (route.name, key.side.label, key.extension, key.takeover, str(key.window_bits))
            agreements.add_metric(labels, count)
        for (side, plan), count in route.plans.items():
            plans.add_metric((route.name, DESTINATIONS[side], plan.value), count)
    yield from (agreements, plans)


def _traffic(legs: _LegTotals) -> Iterator[Metric]:
    messages = CounterMetricFamily(
        "wsproxy_messages_total",
        "Messages and control frames, as seen by wsproxy.",
        labels=("route", "leg", "direction", "kind"),
    )
    payload = CounterMetricFamily(
        "wsproxy_payload_bytes_total",
        "Application bytes: before compression, after inflation.",
        labels=("route", "leg", "direction"),
    )
    wire = CounterMetricFamily(
        "wsproxy_wire_bytes_total",
        "Bytes of WebSocket frames as they travelled, headers included.",
        labels=("route", "leg", "direction"),
    )
    for route, side, direction, total in legs:
        labels = (route.name, side.label, _DIRECTION_LABELS[direction])
        for kind in _KINDS:
            messages.add_metric((*labels, kind), getattr(total, kind))
        payload.add_metric(labels, total.payload_bytes)
        wire.add_metric(labels, total.wire_bytes)
    yield from (messages, payload, wire)


def _codecs(legs: _LegTotals) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(
        "wsproxy_codec_messages_total",
        "Data messages, by what the leg's codec did with them, both directions together.",
        labels=("route", "leg", "outcome"),
    )
    operation = ("route", "leg", "operation")
    taken = CounterMetricFamily("wsproxy_codec_input_bytes_total", "Bytes given to codecs.", labels=operation)
    given = CounterMetricFamily("wsproxy_codec_output_bytes_total", "Bytes that codecs gave.", labels=operation)
    cpu = CounterMetricFamily(
        "wsproxy_codec_cpu_seconds_total", "Seconds of CPU spent in codecs.", labels=(*operation, "engine")
    )
    ratio = GaugeMetricFamily(
        "wsproxy_compression_ratio",
        "Payload over wire bytes of compressed messages since start; above 1 is a saving.",
        labels=("route", "leg", "direction"),
    )
    by_outcome: Counter[tuple[str, str, str]] = Counter()
    for route, side, direction, total in legs:
        for outcome in _OUTCOMES:
            by_outcome[route.name, side.label, outcome] += getattr(total, outcome)
        codec = (route.name, side.label, _OPERATIONS[direction])
        taken.add_metric(codec, total.codec_input)
        given.add_metric(codec, total.codec_output)
        cpu.add_metric((*codec, route.engines[side]), total.codec_ns / 1e9)
        sent = direction is Direction.SENT
        payload, wire = (total.codec_input, total.codec_output)[:: 1 if sent else -1]
        if wire:
            ratio.add_metric((route.name, side.label, _DIRECTION_LABELS[direction]), payload / wire)
    for of_outcome, count in by_outcome.items():
        outcomes.add_metric(of_outcome, count)
    yield from (outcomes, taken, given, cpu, ratio)


def _histograms(routes: list[RouteCounters], legs: _LegTotals) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "wsproxy_tunnel_duration_seconds", "Seconds from the 101 to the end of ended tunnels.", labels=("route",)
    )
    for route in routes:
        bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(route.durations), strict=True))
        durations.add_metric((route.name,), buckets, route.duration_seconds)
    yield durations
    sizes = HistogramMetricFamily(
        "wsproxy_message_size_bytes",
        "Application bytes of data messages by flow.",
        labels=("route", "direction"),
    )
    for route, side, direction, total in legs:
        if direction is Direction.RECEIVED:
            destination = side.other
            counted = list(accumulate(route.sizes[destination]))
            buckets = [(f"{2**exponent - 1}.0", counted[exponent]) for exponent in _SIZE_EXPONENTS]
            buckets.append(("+Inf", counted[-1]))
            sizes.add_metric((route.name, DESTINATIONS[destination]), buckets, total.payload_bytes)
    yield sizes


def _endpoints(counters: Counters) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "wsproxy_endpoint_connections", "Connections to the endpoint now.", labels=("upstream", "endpoint")
    )
    for pool in counters.pools:
        for endpoint in pool.endpoints:
            connections.add_metric((pool.name, endpoint.url), pool.live(endpoint))
    yield connections
