"""The configuration as one frozen, typed tree.

Owns: every setting's name, type, default, bounds and one-line description. The loader, ``wsproxy schema`` and the test
of docs/configuration.md read them from here, so nothing is said twice. Must never import trio, socket or logging.
Invariants: every default is right for a sidecar in front of one legacy backend; a tree made by the loader has passed
every check, so nobody checks again.

A field's metadata (`about`): ``doc``; ``minimum`` and ``maximum`` of a number, both included; ``pattern`` that a
string (or each key of a mapping) fully matches, with ``hint`` saying it in words; ``parse``, called with the value (or
each value of an array), raising ValueError.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.permessage_deflate import Policy
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.plan import Mode
from wsproxy.settings.addresses import parse_address
from wsproxy.settings.endpoints import parse_endpoint

Auto = Literal["auto"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Balance = Literal["least_connections", "round_robin"]
EngineName = Literal["auto", "zlib", "zlib-ng", "isal"]
Strategy = Literal["default", "filtered", "huffman_only", "rle", "fixed"]

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_METRICS = "127.0.0.1:9464"
_DAY = 86_400.0

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
"""Names become metric labels and words of log lines, so they are short and need no quoting."""
_NAME_HINT = "1 to 63 letters, digits, '_', '.' and '-', starting with a letter or a digit"
_HOST_PATTERN = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")
_ORIGIN_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_CLOSE_CODES = frozenset({1000, 1001, 1008, 1011, 1012, 1013})


def about(
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    hint: str | None = None,
    parse: Callable[[Any], object] | None = None,
) -> dict[str, object]:
    """The metadata of one setting; only what is given."""
    facts: dict[str, object] = {
        "doc": doc,
        "minimum": minimum,
        "maximum": maximum,
        "pattern": pattern,
        "hint": hint,
        "parse": parse,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _parse_host_pattern(text: str) -> None:
    if not _HOST_PATTERN.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r} is neither a host name nor *.name (no scheme, no port)")


def _parse_origin(text: str) -> None:
    if text != "null" and not _ORIGIN_PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not an origin such as https://app.example.com (no path, no slash at the end)")


def _parse_close_code(code: int) -> None:
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        codes = ", ".join(str(code) for code in sorted(_CLOSE_CODES))
        raise ValueError(f"{code} is not a code for going away: use one of {codes}, or 3000 to 4999")


def _parse_listen(text: str) -> None:
    if text:
        parse_address(text)


@dataclass(frozen=True, slots=True)
class Log:
    """The log on stderr."""

    format: LogFormat = field(
        default="text", metadata=about("`text`: one line of `key=value` words; `json`: one object a line.")
    )
    level: LogLevel = field(
        default="info", metadata=about("The least severe lines written. Access lines and `ready` are `info`.")
    )


@dataclass(frozen=True, slots=True)
class Metrics:
    """The read-only pages: /metrics, /livez, /readyz."""

    listen: str = field(
        default=DEFAULT_METRICS,
        metadata=about('ADDR of the pages; `""` turns them off.', parse=_parse_listen),
    )


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a drain goes, after TERM or INT."""

    grace_seconds: float = field(
        default=30.0, metadata=about("Seconds that a drain may take altogether.", minimum=0, maximum=_DAY)
    )
    close_spread_seconds: float = field(
        default=10.0,
        metadata=about(
            "Closes are spread over this many seconds, so that clients do not all return at once. "
            "Never longer than `grace_seconds`.",
            minimum=0,
            maximum=_DAY,
        ),
    )
    close_code: int = field(
        default=1001,
        metadata=about(
            "The close code that clients get (RFC 6455 §7.4).", minimum=1000, maximum=4999, parse=_parse_close_code
        ),
    )


@dataclass(frozen=True, slots=True)
class Listener:
    """One address where clients connect."""

    name: str = field(
        metadata=about("The `listener` label; different for each.", pattern=NAME_PATTERN, hint=_NAME_HINT)
    )
    bind: str = field(
        metadata=about("ADDR: `host:port`, `[v6]:port`, `unix:/path` or `fd:N`. Port 0: any free.", parse=parse_address)
    )
    unix_mode: int = field(
        default=0o660,
        metadata=about("Permissions of a Unix socket's file, such as `0o660`.", minimum=0, maximum=0o777),
    )


@dataclass(frozen=True, slots=True)
class LegCompression:
    """permessage-deflate on one leg (RFC 7692): what is agreed to, and how this proxy compresses."""

    enabled: bool = field(
        default=False,
        metadata=about("Negotiate permessage-deflate on this leg."),
    )
    engine: EngineName = field(
        default="auto", metadata=about("The implementation of DEFLATE; `auto` takes the best one installed.")
    )
    level: int | Auto = field(
        default="auto",
        metadata=about(
            "Compression level on the engine's own scale: zlib and zlib-ng 0 to 9, isal 0 to 3.", minimum=0, maximum=9
        ),
    )
    mem_level: int = field(
        default=5, metadata=about("Memory of a compressor, 1 (little) to 9 (much).", minimum=1, maximum=9)
    )
    strategy: Strategy = field(default="default", metadata=about("The strategy of zlib and zlib-ng; isal has one."))
    server_max_window_bits: int = field(
        default=12,
        metadata=about(
            "Largest window, as a power of two in bytes, of what the leg's server end compresses.",
            minimum=9,
            maximum=15,
        ),
    )
    client_max_window_bits: int = field(
        default=12,
        metadata=about(
            "Largest window, as a power of two in bytes, of what the leg's client end compresses, "
            "where that end lets itself be limited.",
            minimum=9,
            maximum=15,
        ),
    )
    server_no_context_takeover: bool = field(
        default=False,
        metadata=about("The leg's server end forgets its window after each message: less memory, worse ratio."),
    )
    client_no_context_takeover: bool = field(
        default=False, metadata=about("The leg's client end forgets its window after each message.")
    )
    threshold: int | Auto = field(
        default="auto",
        metadata=about(
            "Bytes; smaller messages go uncompressed. `auto`: none while the window is kept, "
            "because small messages gain most from it.",
            minimum=0,
            maximum=2**31,
        ),
    )
    lenient: bool = field(
        default=False,
        metadata=about("Upstream leg only: put up with an answer that leaves out what was asked for."),
    )

    @property
    def policy(self) -> Policy:
        """What the leg's negotiation is willing to run."""
        return Policy(
            server_max_window_bits=self.server_max_window_bits,
            client_max_window_bits=self.client_max_window_bits,
            server_no_context_takeover=self.server_no_context_takeover,
            client_no_context_takeover=self.client_no_context_takeover,
            lenient=self.lenient,
        )

    @property
    def deflate_options(self) -> DeflateOptions:
        """How the proxy compresses on this leg."""
        return DeflateOptions(
            engine=self.engine,
            level=None if self.level == "auto" else self.level,
            mem_level=self.mem_level,
            strategy=self.strategy,
            threshold=None if self.threshold == "auto" else self.threshold,
        )


@dataclass(frozen=True, slots=True)
class Compression:
    """How a route compresses: the two legs negotiate separately."""

    mode: Mode = field(
        default="auto",
        metadata=about(
            "`auto`: compressed frames pass unchanged where both agreements allow it; `recompress`: never; "
            "`passthrough`: also ask the upstream for what the client offered, so that they can."
        ),
    )
    verify: bool = field(
        default=True,
        metadata=about(
            "Inflate passing messages to check them. `false`: they pass unread, without UTF-8 checks, limits on "
            "inflated size or payload counts."
        ),
    )
    client: LegCompression = field(
        default=LegCompression(enabled=True), metadata=about("The leg to the client, where this proxy is the server.")
    )
    upstream: LegCompression = field(
        default=LegCompression(), metadata=about("The leg to the upstream, where this proxy is the client.")
    )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of a route."""

    connect_seconds: float = field(
        default=5.0, metadata=about("Seconds to connect to one endpoint, TLS included.", minimum=0.001, maximum=_DAY)
    )
    handshake_seconds: float = field(
        default=10.0,
        metadata=about("Seconds for the upstream's answer to a WebSocket handshake.", minimum=0.001, maximum=_DAY),
    )
    response_seconds: float = field(
        default=60.0,
        metadata=about(
            "Seconds from the end of a plain HTTP request to the head of its answer: above the longest long poll.",
            minimum=0.001,
            maximum=_DAY,
        ),
    )
    close_seconds: float = field(
        default=5.0,
        metadata=about(
            "Seconds from one close frame to the end of both connections (RFC 6455 §7.1.1).",
            minimum=0.001,
            maximum=_DAY,
        ),
    )


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests go to which upstream. The first match wins."""

    name: str = field(metadata=about("The `route` label; different for each.", pattern=NAME_PATTERN, hint=_NAME_HINT))
    upstream: str = field(metadata=about("The key of its table in `upstreams`."))
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Host names, exact or `*.name`; any port, any case. Empty: every host.",
            parse=_parse_host_pattern,
        ),
    )
    path_prefix: str = field(
        default="/",
        metadata=about(
            "The path or its first segments: `/feed` matches `/feed` and `/feed/x`, not `/feedback`.",
            pattern=r'/[!-"$->@-~]*',
            hint="a path that starts with '/', in ASCII, without '?' and '#'",
        ),
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Origins that browsers may come from; others get 403. Empty: any. A request without Origin passes.",
            parse=_parse_origin,
        ),
    )
    compression: Compression = field(default=Compression(), metadata=about("How its tunnels compress."))
    limits: Limits = field(default=Limits(), metadata=about("What one direction of its tunnels may carry."))
    timeouts: Timeouts = field(default=Timeouts(), metadata=about("Its deadlines."))
    fast_lane: bool = field(
        default=True,
        metadata=about("Carry whole messages without a state machine. `false`: everything goes through wsproto."),
    )


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS to `wss://` and `https://` endpoints. Certificates are always verified."""

    ca: str = field(default="", metadata=about("Path of a PEM file of trusted CAs. Empty: the system's."))
    server_name: str = field(
        default="", metadata=about("The name to ask for and to verify. Empty: the endpoint's own host.")
    )


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named group of endpoints that serve the same thing."""

    endpoints: tuple[str, ...] = field(
        metadata=about(
            "URLs: `ws://`, `wss://` (or `http://`, `https://`) with host, port and perhaps a base path, "
            "or `unix:/path`.",
            parse=parse_endpoint,
        )
    )
    balance: Balance = field(
        default="least_connections", metadata=about("Which endpoint is tried first; the others follow.")
    )
    tls: UpstreamTls = field(default=UpstreamTls(), metadata=about("TLS to its endpoints."))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured."""

    routes: tuple[Route, ...] = field(metadata=about("The routes, in the order in which they are tried."))
    upstreams: Mapping[str, Upstream] = field(
        metadata=about("The upstreams by name.", pattern=NAME_PATTERN, hint=_NAME_HINT)
    )
    log: Log = field(default=Log(), metadata=about("The log on stderr."))
    metrics: Metrics = field(default=Metrics(), metadata=about("The read-only pages."))
    shutdown: Shutdown = field(default=Shutdown(), metadata=about("How a drain goes."))
    listeners: tuple[Listener, ...] = field(
        default=(Listener(name="default", bind=DEFAULT_LISTEN),), metadata=about("Where clients connect.")
    )
