"""Log lines on stderr: one when a tunnel ends, one for each refused handshake, one when the proxy is ready.

Owns: the set-up of stdlib logging, and the form of a line: `key=value` words or one JSON object. Must never import trio
or prometheus_client.
Invariants
* A record is one line of printable ASCII, whatever clients and upstreams put into it: nobody can forge a line or talk
  to a terminal.
* No cookie or header but Host is ever logged, no user and password of a URL, and no query string unless `log.query`
  asks for it.
* The strings that come from outside are cut to a bounded length.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.negotiation import LegAgreement
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import Direction
from wsproxy.settings.tree import Log
from wsproxy.telemetry.counters import Initiator, Tallies

Value = str | int | float | list[str] | None

_LOGGER = logging.getLogger("wsproxy")
_BARE_WORD = re.compile(r"[A-Za-z0-9_.:/+@%,;*\[\]-]+")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*|[^/?#]*@")
"""What stands before the path where a target is no path alone; it may hold a password."""
_LONGEST = 256
"""Characters kept of a string that came from outside."""


@dataclass(frozen=True, slots=True)
class TunnelClosed:
    """What a tunnel's one line tells.

    :ivar client: the client's address.
    :ivar agreements: of each leg, indexed by `Side`.
    :ivar plans: of each flow, indexed by the `Side` that receives.
    :ivar code: the close code, None when the close frame had none, 1006 for a connection lost without one.
    """

    route: str
    upstream: str
    endpoint: str
    client: str
    duration_seconds: float
    tallies: Tallies
    agreements: tuple[LegAgreement, LegAgreement]
    plans: tuple[Plan, Plan]
    initiator: Initiator
    code: int | None
    reason: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class HandshakeRefused:
    """What the line of a refused opening handshake tells.

    :ivar route: None where no route was found.
    :ivar target: the request target; what follows the path is a field of its own, which `log.query` lets be written.
    :ivar result: the ``result`` label of ``wsproxy_handshakes_total``.
    """

    client: str
    route: str | None
    host: str
    target: str
    status: int
    result: str
    detail: str
    cause: str = ""
    """Why, in the words of what failed; empty if nothing is known. For the operator, never for the client."""
    trace_id: str | None = None
    """None where the request was no handshake that could be read."""


def log_tunnel_closed(closed: TunnelClosed) -> None:
    """Write the access-log line of a tunnel."""
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    to_client = closed.tallies[Side.CLIENT][Direction.SENT]
    from_client = closed.tallies[Side.CLIENT][Direction.RECEIVED]
    to_upstream = closed.tallies[Side.UPSTREAM][Direction.SENT]
    from_upstream = closed.tallies[Side.UPSTREAM][Direction.RECEIVED]
    fields: dict[str, Value] = {
        "route": closed.route,
        "upstream": closed.upstream,
        "endpoint": closed.endpoint,
        "client": closed.client,
        "duration_seconds": round(closed.duration_seconds, 3),
        "messages_from_client": from_client.text + from_client.binary,
        "messages_to_client": to_client.text + to_client.binary,
        "payload_bytes_from_client": from_client.payload_bytes,
        "payload_bytes_to_client": to_client.payload_bytes,
        "payload_bytes_from_upstream": from_upstream.payload_bytes,
        "payload_bytes_to_upstream": to_upstream.payload_bytes,
        "wire_bytes_from_client": from_client.wire_bytes,
        "wire_bytes_to_client": to_client.wire_bytes,
        "wire_bytes_from_upstream": from_upstream.wire_bytes,
        "wire_bytes_to_upstream": to_upstream.wire_bytes,
        **describe_legs(closed.tallies, closed.agreements, closed.plans),
        "initiator": closed.initiator,
        "code": closed.code,
        "reason": _cut(closed.reason),
        "trace_id": closed.trace_id,
    }
    _write("closed", fields)


def log_handshake_refused(refused: HandshakeRefused) -> None:
    """Write the line of a refused handshake."""
    path, _, query = _without_origin(refused.target).partition("?")
    fields: dict[str, Value] = {
        "client": refused.client,
        "route": refused.route,
        "host": _cut(refused.host.rpartition("@")[2]),
        "path": _cut(path.partition("#")[0]),
        "query": _cut(query),
        "status": refused.status,
        "result": refused.result,
        "detail": _cut(refused.detail),
        "cause": _cut(refused.cause) or None,
        "trace_id": refused.trace_id,
    }
    _write("refused", fields)


def log_extension_failed(route: str, leg: str, fault: ExtensionFault, trace_id: str) -> None:
    """Write the line of an extension that broke its contract."""
    fields: dict[str, Value] = {
        "route": route,
        "leg": leg,
        "extension": fault.extension,
        "operation": fault.operation,
        "detail": _cut(fault.detail),
        "trace_id": trace_id,
    }
    _LOGGER.error("extension failed", extra={"fields": fields})


def log_ready(listen: list[str], metrics: str | None) -> None:
    """Write the ``ready`` line, with the addresses that were really bound."""
    _write("ready", {"listen": listen, "metrics": metrics})


def set_up_logging(log: Log) -> None:
    """Send the records of every library to stderr in one form. Before anything logs, and again after a reload."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines(log.query) if log.format == "json" else TextLines(log.query))
    # What no line tells need not be found out for each of them (logging's manual): one of these is a system call.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(handlers=[lines], level=log.level.upper(), force=True)


class _Lines(logging.Formatter):
    """What both forms have in common.

    :param query: write the query of a request's target, which often holds a token.
    """

    def __init__(self, query: bool = False) -> None:
        super().__init__()
        self._query = query

    def fields(self, record: logging.LogRecord) -> dict[str, Value]:
        """The event's own fields, an exception among them."""
        fields: dict[str, Value] = dict(record.__dict__.get("fields", {}))
        if not self._query:
            fields.pop("query", None)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return fields


class TextLines(_Lines):
    """``2026-01-31T12:00:00.000Z info ready listen=127.0.0.1:8080``: words, quoted where they need it."""

    def format(self, record: logging.LogRecord) -> str:
        # Most values are numbers; for those alone a call each was a fifth of a line's time.
        words = [f"{key}={value if type(value) is int else _text(value)}" for key, value in self.fields(record).items()]
        event = record.getMessage()
        return " ".join([_time_of(record), record.levelname.lower(), _escape(event), *words])


class JsonLines(_Lines):
    """One JSON object a line: time, level, event, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _time_of(record), "level": record.levelname.lower(), "event": record.getMessage()}
        return _ascii({**head, **self.fields(record)})


def _write(event: str, fields: Mapping[str, Value]) -> None:
    _LOGGER.info(event, extra={"fields": fields})


def _time_of(record: logging.LogRecord) -> str:
    second = int(record.created)
    return f"{_second(second)}.{int((record.created - second) * 1000):03}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(value: Value) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, list):
        text = ",".join(value)
    else:
        return "-" if value is None else str(value)
    # A lone dash is how an absent value is written.
    return text if text != "-" and _BARE_WORD.fullmatch(text) else f'"{_escape(text)}"'


def _escape(text: str) -> str:
    """Quotes, backslashes, and whatever is not printable ASCII, as JSON escapes."""
    return _ascii(text)[1:-1]


def _ascii(value: object) -> str:
    """JSON in printable ASCII: json.dumps escapes everything else, but not DEL."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _without_origin(target: str) -> str:
    found = _ORIGIN.match(target)
    return target if found is None else target[found.end() :]


def describe_legs(
    tallies: Tallies, agreements: tuple[LegAgreement, LegAgreement], plans: tuple[Plan, Plan]
) -> dict[str, Value]:
    """The client's ratio, what was agreed on, and what that makes of messages: of an ended tunnel or a live one."""
    client = tallies[Side.CLIENT]
    wire = client[Direction.SENT].wire_bytes + client[Direction.RECEIVED].wire_bytes
    payload = client[Direction.SENT].payload_bytes + client[Direction.RECEIVED].payload_bytes
    return {
        "ratio": round(payload / wire, 2) if wire else None,
        "client_agreement": _agreement(agreements[Side.CLIENT]),
        "upstream_agreement": _agreement(agreements[Side.UPSTREAM]),
        "plan_to_client": plans[Side.CLIENT].value,
        "plan_to_upstream": plans[Side.UPSTREAM].value,
    }


def _agreement(agreement: LegAgreement) -> str:
    """What a leg agreed on; several extensions in their order, with a plus sign between them."""
    return "none" if agreement is None else _cut(agreement.label)
