"""The settings of routes: what each matches, changes, allows and waits for.

Owns: their names, types, defaults, bounds and descriptions. Must never import trio, socket or logging.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.protocol.limits import Limits
from wsproxy.settings.about import (
    DAY,
    FIELD_VALUE_HINT,
    FIELD_VALUE_PATTERN,
    MOST,
    NAME_HINT,
    NAME_PATTERN,
    PATH_HINT,
    PATH_PATTERN,
    TOKEN_PATTERN,
    about,
)
from wsproxy.settings.compression import Compression
from wsproxy.settings.extensions import RouteExtensions

_HOST_PATTERN = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")
_ORIGIN_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

_OPTIONAL_PATH_PATTERN = rf"({PATH_PATTERN})?"
_FIELD_NAME_HINT = "a header field's name (RFC 9110 §5.1)"


def _parse_host_pattern(text: str) -> None:
    if not _HOST_PATTERN.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r} is neither a host name nor *.name (no scheme, no port)")


def _parse_origin(text: str) -> None:
    if text != "null" and not _ORIGIN_PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not an origin such as https://app.example.com (no path, no slash at the end)")


@dataclass(frozen=True, slots=True)
class RouteLimits(Limits):
    """What a route's tunnels may carry, each direction on its own, and how many there may be (per worker)."""

    max_tunnels: int = field(
        default=0,
        metadata=about("Tunnels at once; a further handshake gets 503. 0: no cap.", minimum=0, maximum=MOST),
    )
    max_tunnels_per_address: int = field(
        default=0,
        metadata=about(
            "Tunnels at once from one client address; a further handshake gets 429. 0: no cap.", minimum=0, maximum=MOST
        ),
    )
    handshakes_per_second: float = field(
        default=0.0,
        metadata=about("WebSocket handshakes a second; a further one gets 429. 0: no cap.", minimum=0, maximum=MOST),
    )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of a route."""

    connect_seconds: float = field(
        default=5.0,
        metadata=about(
            "Seconds to connect to one endpoint, TLS included. Others are tried until twice that is over.",
            minimum=0.001,
            maximum=DAY,
        ),
    )
    handshake_seconds: float = field(
        default=10.0,
        metadata=about("Seconds for the upstream's answer to a WebSocket handshake.", minimum=0.001, maximum=DAY),
    )
    response_seconds: float = field(
        default=60.0,
        metadata=about(
            "Seconds from the end of a plain HTTP request to the head of its answer: above the longest long poll.",
            minimum=0.001,
            maximum=DAY,
        ),
    )
    close_seconds: float = field(
        default=5.0,
        metadata=about(
            "Seconds from one close frame to the end of both connections (RFC 6455 §7.1.1).",
            minimum=0.001,
            maximum=DAY,
        ),
    )
    idle_seconds: float = field(
        default=0.0,
        metadata=about(
            "Seconds without a message in either direction, until a tunnel is closed with 1001. 0: no limit.",
            minimum=0,
            maximum=DAY,
        ),
    )
    ping_interval_seconds: float = field(
        default=20.0,
        metadata=about(
            "Seconds without a byte from a leg, until the proxy sends it a ping of its own. 0: never.",
            minimum=0,
            maximum=DAY,
        ),
    )
    ping_timeout_seconds: float = field(
        default=20.0,
        metadata=about(
            "Seconds that a leg may stay silent after such a ping, until it counts as lost.", minimum=0.1, maximum=DAY
        ),
    )
    write_stall_seconds: float = field(
        default=30.0,
        metadata=about(
            "Seconds that a side may take nothing of what waits for it, until its connection is lost. 0: no limit.",
            minimum=0,
            maximum=DAY,
        ),
    )
    max_age_seconds: float = field(
        default=0.0,
        metadata=about(
            "Seconds from the 101, until a tunnel is closed with 1001. 0: no limit.", minimum=0, maximum=30 * DAY
        ),
    )
    max_age_jitter: float = field(
        default=0.1,
        metadata=about(
            "Each tunnel's age is shortened by a random part of up to this much, so that clients do not all return "
            "at once: 0.1 is a tenth.",
            minimum=0,
            maximum=1,
        ),
    )


@dataclass(frozen=True, slots=True)
class Headers:
    """Changes to the header of the request to the upstream, made last."""

    set: Mapping[str, str] = field(
        default_factory=dict,
        metadata=about(
            'Fields to set, such as `{ "X-Env" = "prod" }`; what the client sent under these names is gone.',
            pattern=TOKEN_PATTERN,
            hint=_FIELD_NAME_HINT,
            values=about("", pattern=FIELD_VALUE_PATTERN, hint=FIELD_VALUE_HINT),
            secret=True,
        ),
    )
    remove: tuple[str, ...] = field(
        default=(), metadata=about("Names of fields to remove.", pattern=TOKEN_PATTERN, hint=_FIELD_NAME_HINT)
    )


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests go to which upstream. The first route that matches takes the request; no match is a 404."""

    name: str = field(metadata=about("The `route` label; different for each.", pattern=NAME_PATTERN, hint=NAME_HINT))
    upstream: str = field(
        metadata=about("The key of its table in `upstreams`.", pattern=r".+", hint="the name of an upstream")
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Host names, exact or `*.name`; any port, any case. Empty: every host.",
            parse=_parse_host_pattern,
        ),
    )
    path: str = field(
        default="",
        metadata=about(
            "The whole path, exactly. Empty: `path_prefix` decides.", pattern=_OPTIONAL_PATH_PATTERN, hint=PATH_HINT
        ),
    )
    path_prefix: str = field(
        default="/",
        metadata=about(
            "The path or its first segments: `/feed` matches `/feed` and `/feed/x`, not `/feedback`.",
            pattern=PATH_PATTERN,
            hint=PATH_HINT,
        ),
    )
    match_headers: Mapping[str, str] = field(
        default_factory=dict,
        metadata=about(
            'Header fields that the request must have with these values, such as `{ "X-Tenant" = "a" }`.',
            pattern=TOKEN_PATTERN,
            hint=_FIELD_NAME_HINT,
            values=about("", pattern=FIELD_VALUE_PATTERN, hint=FIELD_VALUE_HINT),
            secret=True,
        ),
    )
    subprotocols: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "The request must offer one of these WebSocket subprotocols. Empty: any or none.",
            pattern=TOKEN_PATTERN,
            hint="a subprotocol's name (RFC 6455 §4.1)",
        ),
    )
    replace_prefix: str = field(
        default="",
        metadata=about(
            "What the upstream gets instead of `path_prefix` (or of the whole `path`): "
            "`/` strips it. Empty: the path stays.",
            pattern=_OPTIONAL_PATH_PATTERN,
            hint=PATH_HINT,
        ),
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Origins that browsers may come from; others get 403. Empty: any. A request without Origin passes.",
            parse=_parse_origin,
        ),
    )
    headers: Headers = field(default=Headers(), metadata=about("Changes to the request."))
    compression: Compression = field(default=Compression(), metadata=about("How its tunnels compress."))
    extensions: RouteExtensions = field(
        default=RouteExtensions(), metadata=about("What its tunnels do besides permessage-deflate.")
    )
    limits: RouteLimits = field(default=RouteLimits(), metadata=about("What its tunnels may carry, and how many."))
    timeouts: Timeouts = field(default=Timeouts(), metadata=about("Its deadlines."))
    fast_lane: bool = field(
        default=True,
        metadata=about("Carry whole messages without a state machine. `false`: everything goes through wsproto."),
    )
