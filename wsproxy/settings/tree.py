"""The configuration as one frozen, typed tree.

Owns: its root. Each part, with every setting's name, type, default, bounds and one-line description, is in a file of
its own: `process`, `listeners`, `routes`, `compression`, `upstreams`. The loader, ``wsproxy schema`` and
docs/configuration.md read them from there, so nothing is said twice. Must never import trio, socket or logging.
Invariants: every default is right for a sidecar in front of one legacy backend; a tree made by the loader has passed
every check, so nobody checks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.settings.about import NAME_HINT, NAME_PATTERN, Auto, about
from wsproxy.settings.compression import Compression, EngineName, LegCompression, Strategy
from wsproxy.settings.extensions import NamedExtension, RouteExtensions
from wsproxy.settings.listeners import (
    DEFAULT_LISTEN,
    AcceptedProxyProtocol,
    Certificate,
    Listener,
    ListenerTls,
    TlsVersion,
)
from wsproxy.settings.process import (
    DEFAULT_METRICS,
    Control,
    Log,
    LogFormat,
    LogLevel,
    Metrics,
    Shutdown,
    WorkerLimits,
)
from wsproxy.settings.routes import Headers, Route, RouteLimits, Timeouts
from wsproxy.settings.upstreams import (
    Balance,
    Health,
    HealthMode,
    SentProxyProtocol,
    Upstream,
    UpstreamTls,
    WeightedUrl,
)

__all__ = [
    "DEFAULT_LISTEN",
    "DEFAULT_METRICS",
    "AcceptedProxyProtocol",
    "Auto",
    "Balance",
    "Certificate",
    "Compression",
    "Control",
    "EngineName",
    "Headers",
    "Health",
    "HealthMode",
    "LegCompression",
    "Listener",
    "ListenerTls",
    "Log",
    "LogFormat",
    "LogLevel",
    "Metrics",
    "NamedExtension",
    "Route",
    "RouteExtensions",
    "RouteLimits",
    "SentProxyProtocol",
    "Settings",
    "Shutdown",
    "Strategy",
    "Timeouts",
    "TlsVersion",
    "Upstream",
    "UpstreamTls",
    "WeightedUrl",
    "WorkerLimits",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured."""

    routes: tuple[Route, ...] = field(metadata=about("The routes, in the order in which they are tried."))
    upstreams: Mapping[str, Upstream] = field(
        metadata=about("The upstreams by name.", pattern=NAME_PATTERN, hint=NAME_HINT)
    )
    workers: int | Auto = field(
        default=1,
        metadata=about(
            "Processes that serve, each on its own share of the connections. `auto`: one for each core.",
            minimum=1,
            maximum=1024,
        ),
    )
    log: Log = field(default=Log(), metadata=about("The log on stderr."))
    metrics: Metrics = field(default=Metrics(), metadata=about("The read-only pages."))
    control: Control = field(default=Control(), metadata=about("The socket of `wsproxy ctl`."))
    shutdown: Shutdown = field(default=Shutdown(), metadata=about("How a drain goes."))
    limits: WorkerLimits = field(default=WorkerLimits(), metadata=about("What one worker takes on."))
    listeners: tuple[Listener, ...] = field(
        default=(Listener(name="default", bind=DEFAULT_LISTEN),), metadata=about("Where clients connect.")
    )
