"""The settings of upstreams: their endpoints, how one is chosen, how its health is judged, how it is spoken to.

Owns: their names, types, defaults, bounds and descriptions. Must never import trio, socket or logging.
"""

from dataclasses import dataclass, field
from typing import Literal

from wsproxy.settings.about import DAY, FILE_HINT, MOST, OPTIONAL_FILE_PATTERN, PATH_HINT, PATH_PATTERN, about
from wsproxy.settings.endpoints import parse_endpoint

Balance = Literal["least_connections", "round_robin", "random", "client_hash"]
HealthMode = Literal["off", "passive", "tcp", "http", "websocket"]
SentProxyProtocol = Literal["off", "v1", "v2"]
_SERVER_NAME_PATTERN = r"([^\s\x00.][^\s\x00]{0,252})?"
"""Names that are not in ASCII are `ssl`'s to understand."""


@dataclass(frozen=True, slots=True)
class WeightedUrl:
    """One endpoint. A string is the same as a table with nothing but its `url`."""

    url: str = field(
        metadata=about(
            "`ws://` or `wss://` (`http://`, `https://`: the same) with host, port and perhaps a base path, "
            "or `unix:/path`.",
            parse=parse_endpoint,
        )
    )
    weight: int = field(
        default=1, metadata=about("Its share of the connections, beside the others'.", minimum=1, maximum=1000)
    )


@dataclass(frozen=True, slots=True)
class Health:
    """Which endpoints are up. When probes say that none is, handshakes get 503. Each worker judges for itself."""

    mode: HealthMode = field(
        default="passive",
        metadata=about(
            "`passive`: failures of clients' handshakes eject an endpoint for a while; `tcp`, `http`, `websocket`: "
            "probes take it down too, which connect, want a 2xx or 3xx to a GET, or want a 101; `off`: neither."
        ),
    )
    interval_seconds: float = field(
        default=5.0, metadata=about("Seconds between the probes of an endpoint.", minimum=0.1, maximum=DAY)
    )
    timeout_seconds: float = field(
        default=2.0,
        metadata=about("Seconds that a probe may take.", minimum=0.01, maximum=DAY),
    )
    rise: int = field(
        default=2, metadata=about("Good probes in a row that bring an endpoint up.", minimum=1, maximum=1000)
    )
    fall: int = field(
        default=3,
        metadata=about(
            "Failures in a row: of probes, that take an endpoint down, or of clients' handshakes, that eject it.",
            minimum=1,
            maximum=1000,
        ),
    )
    path: str = field(
        default="/",
        metadata=about(
            "What `http` and `websocket` probes ask for, below the endpoint's base path.",
            pattern=PATH_PATTERN,
            hint=PATH_HINT,
        ),
    )
    eject_seconds: float = field(
        default=10.0,
        metadata=about(
            "Seconds for which an endpoint is ejected when clients' handshakes failed there: it is tried only when no "
            "other is left. The next failure after that ejects it for twice, three times … ten times as long.",
            minimum=0.1,
            maximum=DAY,
        ),
    )
    close_tunnels: bool = field(
        default=False,
        metadata=about(
            "Close the tunnels of an endpoint that probes take down, with 1001 to both ends, so that clients come back."
        ),
    )


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS to `wss://` and `https://` endpoints. Certificates are always verified. Files are read again on reload."""

    ca: str = field(
        default="",
        metadata=about(
            "Path of a PEM file of trusted CAs. Empty: the system's.", pattern=OPTIONAL_FILE_PATTERN, hint=FILE_HINT
        ),
    )
    server_name: str = field(
        default="",
        metadata=about(
            "The name to ask for and to verify. Empty: the endpoint's own host.",
            pattern=_SERVER_NAME_PATTERN,
            hint="a host's name or address",
        ),
    )
    client_cert: str = field(
        default="",
        metadata=about(
            "Path of a PEM file: the certificate to present, and its chain. Empty: none.",
            pattern=OPTIONAL_FILE_PATTERN,
            hint=FILE_HINT,
        ),
    )
    client_key: str = field(
        default="",
        metadata=about(
            "Path of a PEM file: that certificate's private key.", pattern=OPTIONAL_FILE_PATTERN, hint=FILE_HINT
        ),
    )


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named group of endpoints that serve the same thing."""

    endpoints: tuple[WeightedUrl, ...] = field(
        metadata=about(
            "URLs, or tables `{ url = URL, weight = N }`. A URL is `ws://` or `wss://` (`http://`, `https://`: the "
            "same) with host, port and perhaps a base path, or `unix:/path`.",
            shorthand="url",
        )
    )
    balance: Balance = field(
        default="least_connections",
        metadata=about(
            "Which endpoint is tried first; the others follow. `least_connections`: the fewest for its weight; "
            "`random`: the better one of two; `client_hash`: the same one for the same client address."
        ),
    )
    max_connections: int = field(
        default=0,
        metadata=about(
            "Connections at once to one address of an endpoint, per worker; when all are full, 503. 0: no cap.",
            minimum=0,
            maximum=MOST,
        ),
    )
    slow_start_seconds: float = field(
        default=0.0,
        metadata=about(
            "Seconds in which the share of an endpoint that came up grows to its full weight. 0: at once.",
            minimum=0,
            maximum=DAY,
        ),
    )
    resolve_seconds: float = field(
        default=30.0,
        metadata=about(
            "Seconds after which an endpoint's name is looked up again. Each of its addresses counts as an endpoint of "
            "its own; tunnels to one that vanished stay. 0: looked up for each connection, the first that answers.",
            minimum=0,
            maximum=DAY,
        ),
    )
    proxy_protocol: SentProxyProtocol = field(
        default="off", metadata=about("Begin each connection with the client's addresses in the PROXY protocol.")
    )
    health: Health = field(default=Health(), metadata=about("Which of its endpoints are up."))
    tls: UpstreamTls = field(default=UpstreamTls(), metadata=about("TLS to its endpoints."))
