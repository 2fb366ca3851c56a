"""A strict reader of HTTP/1.1 (RFC 9112), to judge what arrives upstream and what a client is told.

Owns: what "well-formed" means here, which is narrower than what servers put up with: one framing, no hop-by-hop
header, no bare CR or LF, no folding. Shares no code with the proxy; must never import wsproxy.
"""

import re
from dataclasses import dataclass

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*|\*) HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t -~\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*|)[ \t]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})")
HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "upgrade"})


class Malformed(Exception):
    """Not what the grammar allows."""


class Incomplete(Exception):
    """It ends before its end."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole request or answer. ``first``: method and target, or status and reason; names in lower case."""

    first: tuple[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.first[0])

    def all(self, name: str) -> list[str]:
        """Every value of ``name`` (in lower case)."""
        return [value for key, value in self.headers if key == name]


def read_request(data: bytes) -> tuple[Message, bytes]:
    """The first request in ``data``, as a proxy may send it, and what follows. Raises Malformed, Incomplete."""
    first, headers, rest = _head(data, _REQUEST_LINE)
    if len(_values(headers, "host")) != 1:
        raise Malformed(f"not one Host: {headers}")
    crossed = HOP_BY_HOP & {name for name, _ in headers}
    if crossed:
        raise Malformed(f"hop-by-hop: {sorted(crossed)}")
    body, rest = _body(headers, rest, otherwise=b"")
    return Message(first, headers, body), rest


def read_answers(data: bytes, *, to_head: bool = False) -> list[Message]:
    """Every answer on a connection that ended after ``data``, interim ones too.

    ``to_head``: the requests were HEAD. Raises Malformed, Incomplete.
    """
    answers: list[Message] = []
    while data:
        first, headers, data = _head(data, _STATUS_LINE)
        status = int(first[0])
        framed = _values(headers, "content-length") + _values(headers, "transfer-encoding")
        if (status < 200 or status == 204) and framed:
            raise Malformed(f"RFC 9110 §8.6: a {status} with a framing: {framed}")
        body = b""
        if status >= 200 and status not in (204, 304) and not to_head:
            body, data = _body(headers, data, otherwise=None)
        answers.append(Message(first, headers, body))
    return answers


def _head(data: bytes, first_line: re.Pattern[bytes]) -> tuple[tuple[str, str], tuple[tuple[str, str], ...], bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete(f"no end of a head: {data[:200]!r}")
    first, *lines = head.split(b"\r\n")
    found = first_line.fullmatch(first)
    if found is None:
        raise Malformed(f"first line {first!r}")
    return (found[1].decode(), found[2].decode("latin-1")), _fields(lines), rest


def _fields(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise Malformed(f"field line {line!r}")
        fields.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return tuple(fields)


def _values(headers: tuple[tuple[str, str], ...], name: str) -> list[str]:
    return [value for key, value in headers if key == name]


def _body(headers: tuple[tuple[str, str], ...], data: bytes, otherwise: bytes | None) -> tuple[bytes, bytes]:
    """The body and what follows; ``otherwise`` is the body without a framing, None for all there is."""
    lengths, codings = _values(headers, "content-length"), _values(headers, "transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Malformed(f"two framings: {lengths} {codings}")
    if codings:
        if codings != ["chunked"]:
            raise Malformed(f"coding {codings}")
        return _chunked(data)
    if not lengths:
        return (data, b"") if otherwise is None else (otherwise, data)
    if not _LENGTH.fullmatch(lengths[0].encode("latin-1")):
        raise Malformed(f"length {lengths[0]!r}")
    length = int(lengths[0])
    if len(data) < length:
        raise Incomplete(f"{len(data)} of {length} bytes")
    return data[:length], data[length:]


def _chunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            raise Incomplete("no end of a chunk's line")
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise Malformed(f"chunk line {line!r}")
        size = int(found[1], 16)
        if size == 0:
            break
        if len(data) < size + 2:
            raise Incomplete("a chunk is cut")
        if data[size : size + 2] != b"\r\n":
            raise Malformed("a chunk does not end where it should")
        body, data = body + data[:size], data[size + 2 :]
    if data.startswith(b"\r\n"):
        return body, data[2:]
    trailer, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete("no end of a trailer")
    _fields(trailer.split(b"\r\n"))
    return body, rest
