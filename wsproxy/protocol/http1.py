"""HTTP/1.1 messages on their way through: which headers cross, how bodies are framed, what our own errors look like.

Owns: the rules of RFC 9110 §7 and RFC 9112 for an intermediary, on h11's event values. Sans-I/O.
Invariants
* No hop-by-hop header crosses, nor any that Connection names (RFC 9110 §7.6.1).
* A message leaves with one framing only, chosen from what h11 made of it (RFC 9112 §6.3: no request smuggling).
* Header names keep their case and their order.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote_to_bytes

import h11

from wsproxy.errors import Refused

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's or a response's head. More: status 431, or 502 for an upstream's."""

HeaderList = list[tuple[bytes, bytes]]


class Headers(Protocol):
    """The headers of an h11 event, whose class h11 does not export: iterating gives names in lower case."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...

    def raw_items(self) -> list[tuple[bytes, bytes]]: ...


class RequestHead(Protocol):
    """The head of a request: h11.Request, or what is read without h11."""

    @property
    def method(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def http_version(self) -> bytes: ...


HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_IN_TRAILERS = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"max-forwards",
        b"set-cookie",
    }
)
"""Fields that decide about framing, routing, access or the content's type cannot come late (RFC 9110 §6.5.1)."""

_NO_ELEMENTS: frozenset[bytes] = frozenset()
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST_LENGTH = 18
"""Digits of a Content-Length: below 2**63, which is as far as others count."""
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_AUTHORITY = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-fVv.:]+\])(:[0-9]*)?")
_ABSOLUTE_FORM = re.compile(rb"(?:https?|wss?)://([^/?#]*)([^#]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request wants to go.

    :ivar host: the Host header's value, or the authority of a target in absolute form; empty if an HTTP/1.0 client
        sent none.
    :ivar target: in origin form, path and query; or ``*``.
    """

    host: bytes
    target: bytes


def destination(request: RequestHead) -> Destination:
    """Read Host and target (RFC 9112 §3.2). Raises Refused 400, or 501 for CONNECT."""
    if request.method == b"CONNECT":
        raise Refused(501, "bad_request", "CONNECT is not served here")
    host = header(request.headers, b"host") or b""
    target = request.target
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is not None:
        host, target = absolute[1], absolute[2]
        if not host:
            raise Refused(400, "bad_request", "the request's target has no host")
        if not target.startswith(b"/"):
            target = b"/" + target
    elif not target.startswith(b"/") and not (target == b"*" and request.method == b"OPTIONS"):
        raise Refused(400, "bad_request", "the request's target is not a path")
    if b"#" in target or not _AUTHORITY.fullmatch(host):
        raise Refused(400, "bad_request", "the request's target or Host header is malformed")
    return Destination(host, target)


def header(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first header of that name (in lower case)."""
    return next((value for found, value in headers if found == name), None)


def tokens(headers: Headers, name: bytes) -> frozenset[bytes]:
    """All elements of a comma-separated header (name in lower case), in lower case."""
    return elements([value for candidate, value in headers if candidate == name])


def elements(values: Sequence[bytes]) -> frozenset[bytes]:
    """As `tokens`, of the values of that header."""
    found = b",".join(values).lower()
    if b"," not in found:
        return frozenset((stripped,)) if (stripped := found.strip(b" \t")) else _NO_ELEMENTS
    return frozenset(stripped for token in found.split(b",") if (stripped := token.strip(b" \t")))


def end_to_end(headers: Headers) -> HeaderList:
    """The headers that cross a proxy, names as they were written (RFC 9110 §7.6.1)."""
    # A Connection header that names what frames the message would split it from its body.
    stays = HOP_BY_HOP | (tokens(headers, b"connection") - {b"content-length"})
    return [(raw, value) for raw, value in headers.raw_items() if raw.lower() not in stays]


def trailers(headers: Headers) -> HeaderList:
    """The trailer fields that cross."""
    return [(raw, value) for raw, value in end_to_end(headers) if raw.lower() not in _NOT_IN_TRAILERS]


def is_chunked(headers: Headers) -> bool:
    """The message is framed by chunks: h11 lets no other transfer coding through."""
    return header(headers, b"transfer-encoding") is not None


def is_bodyless(request: RequestHead) -> bool:
    """The request's head is all of it."""
    return not is_chunked(request.headers) and header(request.headers, b"content-length") in (None, b"0")


def is_repeatable(request: h11.Request) -> bool:
    """Sending it twice does what sending it once does, and nothing of it is gone (RFC 9110 §9.2.2)."""
    return request.method in _IDEMPOTENT and is_bodyless(request)


def is_websocket_upgrade(request: RequestHead) -> bool:
    """The client wants a WebSocket; whether it asks in the right way is for `opening.check_request`."""
    return b"websocket" in tokens(request.headers, b"upgrade")


def check_head(event: h11.Event, *, from_client: bool) -> None:
    """What h11 lets through and others stumble over: control characters, other versions, lengths beyond counting.

    Raises Refused: 400 or 505 for a client's head, 502 for an upstream's.
    """
    if not isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
        return
    problem, status = "", 400
    if not event.http_version.startswith(b"1."):
        problem, status = "the HTTP version is not 1.0 or 1.1", 505
    elif any(_CONTROLS.search(value) for _, value in event.headers):
        problem = "a header has a control character"
    elif not isinstance(event, h11.Request) and _CONTROLS.search(event.reason):
        problem = "the reason has a control character"
    elif len(header(event.headers, b"content-length") or b"") > _LONGEST_LENGTH:
        problem = "Content-Length is beyond counting"
    if problem and from_client:
        raise Refused(status, "bad_request", problem)
    if problem:
        raise Refused(502, "rejected_by_upstream", f"the upstream's answer: {problem}")


def check_framing(request: h11.Request) -> None:
    """Raises Refused 400 for a request whose end two parsers could see in two places (RFC 9112 §6.1)."""
    if is_chunked(request.headers) and (
        header(request.headers, b"content-length") is not None or request.http_version < b"1.1"
    ):
        raise Refused(400, "bad_request", "Transfer-Encoding beside Content-Length, or in HTTP/1.0")


def upstream_request(request: h11.Request, base_path: bytes, authority: bytes) -> h11.Request:
    """The head that goes to an upstream: same method, target below ``base_path``, Host as the client sent it.

    ``authority`` is the Host of a request that came without one (HTTP/1.0). Raises Refused.
    """
    check_framing(request)
    place = destination(request)
    headers: HeaderList = [(b"Host", place.host or authority)]
    for raw, value in end_to_end(request.headers):
        if raw.lower() == b"content-length":
            headers.append((raw, b"%d" % int(value)))
        elif raw.lower() != b"host":
            headers.append((raw, value))
    if is_chunked(request.headers):
        headers.append((b"Transfer-Encoding", b"chunked"))
    return h11.Request(method=request.method, target=join_target(base_path, place.target), headers=headers)


def with_target(request: h11.Request, target: bytes) -> h11.Request:
    """``request`` for another path, in origin form: a host in the old target becomes its Host."""
    host = destination(request).host
    headers = [(raw, value) for raw, value in request.headers.raw_items() if raw.lower() != b"host"]
    if header(request.headers, b"host") is not None or host:
        headers.insert(0, (b"Host", host))
    return h11.Request(method=request.method, target=target, headers=headers, http_version=request.http_version)


def join_target(base_path: bytes, target: bytes) -> bytes:
    """``target`` below ``base_path``, which is empty or starts with a slash and does not end with one.

    Raises Refused 400 for a path that would lead out of the base path (RFC 3986 §5.2.4).
    """
    if target == b"*":
        return target
    depth = 0
    for segment in target.partition(b"?")[0].split(b"/")[1:] if base_path else ():
        # A percent-encoded slash counts as one: an upstream may come to read it so.
        for part in unquote_to_bytes(segment).split(b"/"):
            depth += -1 if part == b".." else part not in (b"", b".")
            if depth < 0:
                raise Refused(400, "bad_request", "the request's path leads above the root")
    return base_path + target


def client_response(response: h11.Response, *, close: bool) -> h11.Response:
    """The head that goes to the client. h11 chooses the framing of a body without Content-Length.

    ``close``: say that the connection ends with this answer.
    """
    headers = end_to_end(response.headers)
    if is_chunked(response.headers) or response.status_code == 204:
        # 204 has no body and may not say how long it is (RFC 9110 §8.6).
        headers = [(raw, value) for raw, value in headers if raw.lower() != b"content-length"]
    options = [b"close"] if close else []
    if response.status_code == 426:
        # Such an answer has to say what to upgrade to (RFC 9110 §15.5.22).
        headers += [(raw, value) for raw, value in response.headers.raw_items() if raw.lower() == b"upgrade"]
        options.append(b"Upgrade")
    if options:
        headers.append((b"Connection", b", ".join(options)))
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)


def informational_response(response: h11.InformationalResponse) -> h11.InformationalResponse:
    """A 1xx answer, other than 101, on its way to the client."""
    headers = [(raw, value) for raw, value in end_to_end(response.headers) if raw.lower() != b"content-length"]
    return h11.InformationalResponse(status_code=response.status_code, reason=response.reason, headers=headers)


def error_response(
    status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[h11.Response, bytes]:
    """Our own answer and its body, one line of text; the connection ends with it."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Error"
    body = f"{status} {reason}: {detail}\n".encode("utf-8", "backslashreplace")
    response = h11.Response(
        status_code=status,
        reason=reason.encode("ascii"),
        headers=[
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode("ascii")),
            (b"Connection", b"close"),
            *headers,
        ],
    )
    return response, body
