"""The WebSocket opening handshake in both roles (RFC 6455 §4).

Owns: what a client must ask, what an upstream is asked, and what each is answered. Sans-I/O, on h11's event values.
Invariants
* Sec-WebSocket-Key, -Version, -Extensions and -Accept never cross: each leg has its own.
* The subprotocol that the client is told is the one that the upstream chose among those that the client offered.
* Nothing is half accepted: a head is a whole handshake, or Refused says with which status.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import h11

from wsproxy.errors import Refused
from wsproxy.protocol.http1 import (
    HOP_BY_HOP,
    HeaderList,
    Headers,
    RequestHead,
    destination,
    elements,
    join_target,
)
from wsproxy.protocol.randomness import random_bytes
from wsproxy.protocol.trace import traced

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_STAYS = HOP_BY_HOP | frozenset(
    {
        b"content-length",
        b"expect",
        b"host",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    }
)
"""What never crosses: hop-by-hop headers, and those that each leg has of its own."""


class AnswerHead(Protocol):
    """The head of an answer: h11.InformationalResponse, or what is read without h11."""

    @property
    def http_version(self) -> bytes: ...
    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A client's complete opening handshake.

    :ivar target: path and query.
    :ivar host: the Host header's value.
    :ivar key: the value of Sec-WebSocket-Key.
    :ivar origin: the value of Origin, which only browsers send; None without one.
    :ivar subprotocols: as offered, in order of preference.
    :ivar extensions: the values of all Sec-WebSocket-Extensions headers, in order, not parsed.
    :ivar headers: everything else that crosses to the upstream, Origin included, and always a traceparent.
    :ivar trace_id: of that traceparent.
    """

    target: bytes
    host: bytes
    key: bytes
    origin: bytes | None
    subprotocols: tuple[bytes, ...]
    extensions: tuple[bytes, ...]
    headers: tuple[tuple[bytes, bytes], ...]
    trace_id: str


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """An upstream's valid 101.

    :ivar subprotocol: what the upstream chose; None if nothing.
    :ivar extensions: the values of all Sec-WebSocket-Extensions headers, in order, not parsed.
    :ivar headers: everything else that crosses to the client.
    """

    subprotocol: bytes | None
    extensions: tuple[bytes, ...]
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """Our handshake with an upstream.

    :ivar key: ours, new and random.
    """

    target: bytes
    key: bytes
    headers: HeaderList

    def event(self) -> h11.Request:
        return h11.Request(method=b"GET", target=self.target, headers=self.headers)

    def encoded(self) -> bytes:
        """Just what h11 would write: all parts are what h11, or the configuration, let through."""
        return _head(b"GET %b HTTP/1.1" % self.target, self.headers)


@dataclass(frozen=True, slots=True)
class ClientAnswer:
    """Our 101 for a client."""

    headers: HeaderList

    def event(self) -> h11.InformationalResponse:
        return h11.InformationalResponse(status_code=101, reason=b"Switching Protocols", headers=self.headers)

    def encoded(self) -> bytes:
        """Just what h11 would write."""
        return _head(b"HTTP/1.1 101 Switching Protocols", self.headers)


def _head(first: bytes, headers: HeaderList) -> bytes:
    lines = [first, *(b"%b: %b" % field for field in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def accept_value(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def check_request(request: RequestHead) -> ClientRequest:
    """Read a client's handshake (RFC 6455 §4.2.1).

    Raises Refused: 426 for another version than 13, 400 for everything else that is not as it must be.
    """
    if request.method != b"GET" or request.http_version < b"1.1":
        raise _bad_request("a WebSocket handshake is an HTTP/1.1 GET")
    fields = _by_name(request.headers)
    if b"websocket" not in elements(fields.get(b"upgrade", ())):
        raise _bad_request("Upgrade does not name websocket")
    options = elements(fields.get(b"connection", ()))
    if b"upgrade" not in options:
        raise _bad_request("Connection does not name Upgrade")
    if b"transfer-encoding" in fields or fields.get(b"content-length", (b"0",))[0] != b"0":
        raise _bad_request("a WebSocket handshake has no body")
    version = _single(fields, b"sec-websocket-version")
    if version is None:
        raise _bad_request("no Sec-WebSocket-Version")
    if version != b"13":
        raise Refused(
            426,
            "bad_request",
            "Sec-WebSocket-Version must be 13",
            ((b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket")),
        )
    key = _single(fields, b"sec-websocket-key")
    if key is None or not _KEY.fullmatch(key):
        raise _bad_request("Sec-WebSocket-Key is not the base64 of 16 bytes")
    if b"sec-websocket-accept" in fields:
        raise _bad_request("Sec-WebSocket-Accept is for answers")
    place = destination(request)
    headers, trace_id = traced(_crossing(request.headers, options))
    return ClientRequest(
        target=place.target,
        host=place.host,
        key=key,
        origin=_single(fields, b"origin"),
        subprotocols=_subprotocols(fields),
        extensions=tuple(fields.get(b"sec-websocket-extensions", ())),
        headers=headers,
        trace_id=trace_id,
    )


def upstream_request(client: ClientRequest, base_path: bytes, extension_offer: bytes | None) -> UpstreamRequest:
    """Our handshake with an upstream on behalf of ``client`` (RFC 6455 §4.1).

    ``base_path`` is empty or starts with a slash and does not end with one.
    """
    key = base64.b64encode(random_bytes(16))
    headers: HeaderList = [
        (b"Host", client.host),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", key),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    if client.subprotocols:
        headers.append((b"Sec-WebSocket-Protocol", b", ".join(client.subprotocols)))
    if extension_offer is not None:
        headers.append((b"Sec-WebSocket-Extensions", extension_offer))
    headers.extend(client.headers)
    return UpstreamRequest(join_target(base_path, client.target), key, headers)


def check_response(response: AnswerHead, key: bytes, offered: tuple[bytes, ...]) -> UpstreamAnswer:
    """Read an upstream's 101 to the request with ``key`` and the subprotocols ``offered`` (RFC 6455 §4.1).

    Raises Refused 502. Extensions are for the caller to check.
    """
    if response.status_code != 101 or response.http_version < b"1.1":
        raise _bad_answer("the upstream's answer is not a 101 of HTTP/1.1")
    fields = _by_name(response.headers)
    if elements(fields.get(b"upgrade", ())) != {b"websocket"}:
        raise _bad_answer("the upstream's Upgrade is not websocket")
    options = elements(fields.get(b"connection", ()))
    if b"upgrade" not in options:
        raise _bad_answer("the upstream's Connection does not name Upgrade")
    if fields.get(b"sec-websocket-accept") != [accept_value(key)]:
        raise _bad_answer("the upstream's Sec-WebSocket-Accept is wrong")
    chosen = fields.get(b"sec-websocket-protocol", ())
    if len(chosen) > 1 or not set(chosen) <= set(offered):
        raise _bad_answer("the upstream chose a subprotocol that was not offered")
    return UpstreamAnswer(
        subprotocol=chosen[0] if chosen else None,
        extensions=tuple(fields.get(b"sec-websocket-extensions", ())),
        headers=_crossing(response.headers, options),
    )


def client_response(client: ClientRequest, answer: UpstreamAnswer, extension: bytes | None) -> ClientAnswer:
    """The 101 for ``client`` (RFC 6455 §4.2.2); ``extension`` is what its leg agreed on."""
    headers: HeaderList = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_value(client.key)),
    ]
    if answer.subprotocol is not None:
        headers.append((b"Sec-WebSocket-Protocol", answer.subprotocol))
    if extension is not None:
        headers.append((b"Sec-WebSocket-Extensions", extension))
    headers.extend(answer.headers)
    return ClientAnswer(headers)


def _bad_request(detail: str) -> Refused:
    return Refused(400, "bad_request", detail)


def _bad_answer(detail: str) -> Refused:
    return Refused(502, "rejected_by_upstream", detail)


def _by_name(headers: Headers) -> Mapping[bytes, Sequence[bytes]]:
    """All values of each header, names in lower case."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in fields:
            fields[name].append(value)
        else:
            fields[name] = [value]
    return fields


def _single(fields: Mapping[bytes, Sequence[bytes]], name: bytes) -> bytes | None:
    values = fields.get(name, ())
    if len(values) > 1:
        raise _bad_request(f"more than one {name.decode('ascii').title()} header")
    return values[0] if values else None


def _subprotocols(fields: Mapping[bytes, Sequence[bytes]]) -> tuple[bytes, ...]:
    values = fields.get(b"sec-websocket-protocol")
    if values is None:
        return ()
    found = tuple(stripped for token in b",".join(values).split(b",") if (stripped := token.strip(b" \t")))
    if not (found and all(_TOKEN.fullmatch(token) for token in found)):
        raise _bad_request("Sec-WebSocket-Protocol is not a list of tokens")
    if len(set(found)) < len(found):
        raise _bad_request("Sec-WebSocket-Protocol names one twice")
    return found


def _crossing(headers: Headers, options: frozenset[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that go to the other side; ``options``: what Connection names, which stays too."""
    stays = _STAYS | options
    pairs = zip(headers, headers.raw_items(), strict=True)
    return tuple(field for (name, _), field in pairs if name not in stays)
