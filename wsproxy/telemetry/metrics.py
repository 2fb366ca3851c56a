"""The catalogue: every metric that wsproxy tells of itself, what it means and how the numbers of workers add up.

Owns: names, kinds, labels, units, help texts and bucket bounds. Knows no number; must never import prometheus_client.
docs/metrics.md describes the same catalogue for people, and a test holds the two together.
Invariant: labels are bounded by the configuration or by closed lists.
"""

from dataclasses import dataclass
from enum import Enum, auto

SIZE_BUCKETS = 32
"""Length of a list of message sizes: index ``size.bit_length()``, so index i holds 2**(i-1) to 2**i - 1 bytes. The last
one holds everything larger."""
SIZE_EXPONENTS = range(6, 26, 2)
"""A bucket for each power of four from 64 bytes to 16 MiB: sizes are counted by powers of two, but each route would pay
for twenty series more."""
DURATION_BOUNDS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
"""Upper bounds in seconds of the buckets of a tunnel's duration; one more bucket holds everything longer."""

ROUND_TRIP_BOUNDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds in seconds of the buckets of a ping's round trip; one more bucket holds everything longer."""


class Kind(Enum):
    """What a metric is, and how its values in several workers become one."""

    COUNTER = auto()
    """Only grows. Adds up, the last values of dead workers included."""
    SUM = auto()
    """A gauge of something that each worker has a part of: adds up over those that live."""
    LEAST = auto()
    """A gauge of something that every worker judges for itself: the worst judgement of those that live."""
    INFO = auto()
    """A gauge that is always 1 and whose labels tell something."""
    HISTOGRAM = auto()
    """Adds up as counters do."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    :ivar name: as scraped; a counter's ends with ``_total``.
    :ivar unit: ``bytes``, ``seconds`` or ``ratio``; empty for plain numbers of things.
    :ivar bounds: of a histogram: the upper bounds of its buckets. One more holds what is larger.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    bounds: tuple[float, ...] = ()


_LEG = ("route", "leg", "direction")
_OPERATION = ("route", "leg", "operation")

BUILD_INFO = Metric(
    "wsproxy_build_info", Kind.INFO, ("version", "python", "engines"), "Always 1; the labels say what runs."
)
WORKER_CPU = Metric(
    "wsproxy_worker_cpu_seconds_total",
    Kind.COUNTER,
    ("worker",),
    "Seconds of CPU that the worker in this place and its predecessors used, user and system.",
    "seconds",
)
WORKERS = Metric("wsproxy_workers", Kind.SUM, (), "Workers that serve now.")
WORKER_RESTARTS = Metric(
    "wsproxy_worker_restarts_total",
    Kind.COUNTER,
    ("worker",),
    "Workers that ended although nobody told them to, and were started again; by their place.",
)
SESSIONS_ACTIVE = Metric(
    "wsproxy_sessions_active", Kind.SUM, ("listener",), "Client connections open now, tunnels or not."
)
TUNNELS_ACTIVE = Metric(
    "wsproxy_tunnels_active", Kind.SUM, ("route", "upstream"), "WebSocket tunnels open now, from the 101 on."
)
TUNNELS = Metric("wsproxy_tunnels_total", Kind.COUNTER, ("route", "upstream"), "WebSocket tunnels opened.")
HANDSHAKES = Metric(
    "wsproxy_handshakes_total",
    Kind.COUNTER,
    ("route", "result"),
    "Opening handshakes answered, by result; the route is empty where none was found.",
)
AGREEMENTS = Metric(
    "wsproxy_agreements_total",
    Kind.COUNTER,
    ("route", "leg", "extension", "takeover", "window_bits"),
    "What the legs of tunnels agreed on: extension (or none), which ends keep their context, and the largest "
    "window of the leg's server end as a power of two in bytes.",
)
EXTENSION_EVENTS = Metric(
    "wsproxy_extension_events_total",
    Kind.COUNTER,
    ("route", "leg", "extension", "event"),
    "What the extensions of routes.extensions count for themselves; fault: it broke its contract with the proxy.",
)
PLANS = Metric(
    "wsproxy_plans_total",
    Kind.COUNTER,
    ("route", "direction", "plan"),
    "Flows of tunnels, by how their messages are carried across.",
)
MESSAGES = Metric(
    "wsproxy_messages_total", Kind.COUNTER, (*_LEG, "kind"), "Messages and control frames, as seen by wsproxy."
)
PAYLOAD_BYTES = Metric(
    "wsproxy_payload_bytes_total",
    Kind.COUNTER,
    _LEG,
    "Application bytes: before compression, after inflation.",
    "bytes",
)
WIRE_BYTES = Metric(
    "wsproxy_wire_bytes_total",
    Kind.COUNTER,
    _LEG,
    "Bytes of WebSocket frames as they travelled, headers included.",
    "bytes",
)
CODEC_MESSAGES = Metric(
    "wsproxy_codec_messages_total",
    Kind.COUNTER,
    ("route", "leg", "outcome"),
    "Data messages, by what the leg's codec did with them, both directions together.",
)
CODEC_INPUT_BYTES = Metric(
    "wsproxy_codec_input_bytes_total", Kind.COUNTER, _OPERATION, "Bytes given to codecs.", "bytes"
)
CODEC_OUTPUT_BYTES = Metric(
    "wsproxy_codec_output_bytes_total", Kind.COUNTER, _OPERATION, "Bytes that codecs gave.", "bytes"
)
CODEC_CPU = Metric(
    "wsproxy_codec_cpu_seconds_total",
    Kind.COUNTER,
    (*_OPERATION, "engine"),
    "Seconds of CPU spent in codecs.",
    "seconds",
)
COMPRESSION_RATIO = Metric(
    "wsproxy_compression_ratio",
    Kind.SUM,
    _LEG,
    "Payload over wire bytes of compressed messages since start; above 1 is a saving.",
    "ratio",
)
"""Made of the bytes of all workers after these were added up: ratios do not add up themselves."""
CODEC_MEMORY = Metric(
    "wsproxy_codec_memory_bytes",
    Kind.SUM,
    ("route",),
    "Estimated bytes that the codecs of open tunnels hold.",
    "bytes",
)
CODEC_MEMORY_BUDGET = Metric(
    "wsproxy_codec_memory_budget_bytes",
    Kind.SUM,
    (),
    "What the workers' codecs may hold together (limits.codec_memory_bytes of each); 0 without a bound.",
    "bytes",
)
CODEC_MEMORY_RESERVED = Metric(
    "wsproxy_codec_memory_reserved_bytes",
    Kind.SUM,
    (),
    "Bytes that the codecs of open tunnels may come to hold, which is what limits.codec_memory_bytes bounds.",
    "bytes",
)
CACHE_BYTES = Metric(
    "wsproxy_cache_bytes", Kind.SUM, ("route",), "Bytes of recent messages that are kept compressed.", "bytes"
)
CACHE_HIT_BYTES = Metric(
    "wsproxy_cache_hit_bytes_total",
    Kind.COUNTER,
    ("route", "leg"),
    "Payload bytes found compressed in the cache.",
    "bytes",
)
MESSAGE_SIZE = Metric(
    "wsproxy_message_size_bytes",
    Kind.HISTOGRAM,
    ("route", "direction"),
    "Application bytes of data messages by flow.",
    "bytes",
    tuple(float(2**exponent - 1) for exponent in SIZE_EXPONENTS),
)
TUNNEL_DURATION = Metric(
    "wsproxy_tunnel_duration_seconds",
    Kind.HISTOGRAM,
    ("route",),
    "Seconds from the 101 to the end of ended tunnels.",
    "seconds",
    DURATION_BOUNDS,
)
CLOSES = Metric(
    "wsproxy_closes_total",
    Kind.COUNTER,
    ("route", "initiator", "code"),
    "Tunnels ended, by who ended them and the close code; 1005: a close frame without a code, "
    "1006: a connection lost without a close frame.",
)
TUNNEL_TIMEOUTS = Metric(
    "wsproxy_tunnel_timeouts_total",
    Kind.COUNTER,
    ("route", "reason"),
    "Tunnels ended because a limit of time had passed.",
)
PING_ROUND_TRIP = Metric(
    "wsproxy_ping_rtt_seconds",
    Kind.HISTOGRAM,
    ("route", "leg"),
    "Seconds from a ping of the proxy's own to its pong.",
    "seconds",
    ROUND_TRIP_BOUNDS,
)
CONNECTIONS_REFUSED = Metric(
    "wsproxy_connections_refused_total",
    Kind.COUNTER,
    ("listener", "reason"),
    "Client connections that ended before their first request could be read.",
)
ENDPOINT_CONNECTIONS = Metric(
    "wsproxy_endpoint_connections", Kind.SUM, ("upstream", "endpoint"), "Connections to the endpoint now."
)
ENDPOINT_UP = Metric(
    "wsproxy_endpoint_up",
    Kind.LEAST,
    ("upstream", "endpoint"),
    "1 if the endpoint, or one of its name's addresses, is up and not ejected; 0 as soon as one worker finds that none "
    "is.",
)
DRAINING = Metric("wsproxy_draining", Kind.SUM, (), "Workers that turn newcomers away and close what they have.")
RELOADS = Metric(
    "wsproxy_config_reloads_total", Kind.COUNTER, ("result",), "Times that the configuration was read again."
)
LAST_RELOAD_SUCCESSFUL = Metric(
    "wsproxy_config_last_reload_successful",
    Kind.LEAST,
    (),
    "1 if the configuration in force is the one that was last read, 0 if that one was refused.",
)

CATALOGUE = (
    BUILD_INFO,
    WORKER_CPU,
    WORKERS,
    WORKER_RESTARTS,
    SESSIONS_ACTIVE,
    TUNNELS_ACTIVE,
    TUNNELS,
    HANDSHAKES,
    AGREEMENTS,
    EXTENSION_EVENTS,
    PLANS,
    MESSAGES,
    PAYLOAD_BYTES,
    WIRE_BYTES,
    CODEC_MESSAGES,
    CODEC_INPUT_BYTES,
    CODEC_OUTPUT_BYTES,
    CODEC_CPU,
    COMPRESSION_RATIO,
    CODEC_MEMORY,
    CODEC_MEMORY_RESERVED,
    CODEC_MEMORY_BUDGET,
    CACHE_BYTES,
    CACHE_HIT_BYTES,
    MESSAGE_SIZE,
    TUNNEL_DURATION,
    CLOSES,
    TUNNEL_TIMEOUTS,
    PING_ROUND_TRIP,
    CONNECTIONS_REFUSED,
    ENDPOINT_CONNECTIONS,
    ENDPOINT_UP,
    DRAINING,
    RELOADS,
    LAST_RELOAD_SUCCESSFUL,
)
