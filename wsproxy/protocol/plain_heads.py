"""The two heads that an opening handshake mostly has, read at a glance: a client's GET and an upstream's 101.

Owns one pattern for each. h11 is the law for heads as wsproto is for frames; whatever is not wholly here, or is in any
way unusual, gives None and is for h11. Sans-I/O.

Invariant: for every sequence of bytes, a head is None, or what h11 makes of it and `http1.check_head` lets through,
with the same bytes behind it (`tests/protocol/test_plain_heads.py` holds it).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from wsproxy.protocol.http1 import is_websocket_upgrade

# Possessive throughout: no byte is looked at twice. Every field ends with CR LF, and none is folded.
_FIELDS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)++"
_GET = re.compile(rb"GET ([!-~]++) HTTP/1\.1\r\n(%b)\r\n" % _FIELDS)
_SWITCHING = re.compile(rb"HTTP/1\.1 101(?: [\t -~\x80-\xff]*+)?+\r\n(%b)\r\n" % _FIELDS)
_FRAMING = frozenset({b"content-length", b"expect", b"transfer-encoding"})
"""What would make more of a message than its head; h11 weighs it."""


class Fields:
    """Header fields in their order. Iterating gives names in lower case, as h11's headers do."""

    __slots__ = ("_lower", "_raw")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._lower = [(name.lower(), value) for name, value in raw]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._lower)

    def raw_items(self) -> list[tuple[bytes, bytes]]:
        """With the names as they were written."""
        return self._raw


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A GET without a body; the same fields as h11.Request."""

    target: bytes
    headers: Fields
    method: ClassVar[bytes] = b"GET"
    http_version: ClassVar[bytes] = b"1.1"


@dataclass(frozen=True, slots=True)
class PlainSwitch:
    """A 101; the same fields as h11.InformationalResponse, as far as they are looked at."""

    headers: Fields
    status_code: ClassVar[int] = 101
    http_version: ClassVar[bytes] = b"1.1"


def read_request(data: bytes) -> tuple[PlainRequest, bytes] | None:
    """A request for a WebSocket at the beginning of ``data``, and what follows it."""
    found = _GET.match(data)
    if found is None:
        return None
    fields = _fields(found[2])
    if fields is None:
        return None
    if [name for name, _ in fields].count(b"host") != 1:
        return None
    request = PlainRequest(found[1], fields)
    return (request, data[found.end() :]) if is_websocket_upgrade(request) else None


def read_switch(data: bytes) -> tuple[PlainSwitch, bytes] | None:
    """A 101 at the beginning of ``data``, and what follows it."""
    found = _SWITCHING.match(data)
    if found is None:
        return None
    fields = _fields(found[1])
    return None if fields is None else (PlainSwitch(fields), data[found.end() :])


def _fields(block: bytes) -> Fields | None:
    raw: list[tuple[bytes, bytes]] = []
    for line in block.split(b"\r\n"):
        name, _, value = line.partition(b":")
        raw.append((name, value.strip(b" \t")))
    raw.pop()  # behind the last line's end
    fields = Fields(raw)
    return fields if _FRAMING.isdisjoint([name for name, _ in fields]) else None
