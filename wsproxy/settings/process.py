"""The settings of the process as a whole: log, pages, control socket, drain, what one worker takes on.

Owns: their names, types, defaults, bounds and descriptions. Must never import trio, socket or logging.
"""

from dataclasses import dataclass, field
from typing import Literal

from wsproxy.settings.about import DAY, MOST, about, parse_listen
from wsproxy.settings.addresses import parse_unix_path

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

DEFAULT_METRICS = "127.0.0.1:9464"
_CLOSE_CODES = frozenset({1000, 1001, 1008, 1011, 1012, 1013})


def parse_close_code(code: int) -> None:
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        codes = ", ".join(str(code) for code in sorted(_CLOSE_CODES))
        raise ValueError(f"{code} is not a code for going away: use one of {codes}, or 3000 to 4999")


def _parse_socket(text: str) -> None:
    if text:
        parse_unix_path(text)


@dataclass(frozen=True, slots=True)
class Log:
    """The log on stderr."""

    format: LogFormat = field(
        default="text", metadata=about("`text`: one line of `key=value` words; `json`: one object a line.")
    )
    level: LogLevel = field(
        default="info", metadata=about("The least severe lines written. Access lines and `ready` are `info`.")
    )
    query: bool = field(
        default=False,
        metadata=about("Write the query of a request's target too. It often holds a token, so it is left out."),
    )


@dataclass(frozen=True, slots=True)
class Metrics:
    """The read-only pages: /metrics, /livez, /readyz. They show no client's data."""

    listen: str = field(
        default=DEFAULT_METRICS,
        metadata=about('ADDR of the pages; `""` turns them off.', parse=parse_listen),
    )


@dataclass(frozen=True, slots=True)
class Control:
    """The socket of `wsproxy ctl`."""

    socket: str = field(
        default="",
        metadata=about(
            "Absolute path of a Unix socket, made with mode 0600. Empty: there is none.", parse=_parse_socket
        ),
    )


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a drain goes, after TERM or INT."""

    grace_seconds: float = field(
        default=30.0, metadata=about("Seconds that a drain may take altogether.", minimum=0, maximum=DAY)
    )
    close_spread_seconds: float = field(
        default=10.0,
        metadata=about(
            "Closes are spread over this many seconds, so that clients do not all return at once. "
            "Never longer than `grace_seconds`.",
            minimum=0,
            maximum=DAY,
        ),
    )
    close_code: int = field(
        default=1001,
        metadata=about(
            "The close code that clients get (RFC 6455 §7.4).", minimum=1000, maximum=4999, parse=parse_close_code
        ),
    )


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker takes on, all routes together. An address is a client's, as trusted proxies tell it."""

    max_connections: int = field(
        default=0,
        metadata=about("Client connections at once; a further one gets 503. 0: no cap.", minimum=0, maximum=MOST),
    )
    max_connections_per_address: int = field(
        default=0,
        metadata=about(
            "Client connections at once from one address; a further one gets 429. 0: no cap.", minimum=0, maximum=MOST
        ),
    )
    handshakes_per_second_per_address: float = field(
        default=0.0,
        metadata=about(
            "WebSocket handshakes a second from one address; a further one gets 429. 0: no cap.",
            minimum=0,
            maximum=MOST,
        ),
    )
    codec_memory_bytes: int = field(
        default=0,
        metadata=about(
            "Bytes that the codecs of open tunnels may come to hold, in each worker. Agreements beyond it keep no "
            "window between messages (no context takeover). 0: no bound.",
            minimum=0,
            maximum=MOST,
        ),
    )
