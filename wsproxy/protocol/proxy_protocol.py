"""The PROXY protocol, versions 1 and 2: what a load balancer says about a connection before its first byte.

Owns: reading a header strictly, and writing one. Sans-I/O: `HeaderReader.wanted` says how many bytes may be read
without taking any that come after the header, so nothing has to be put back. Follows HAProxy's
``doc/proxy-protocol.txt``. Must never decide who may send a header.
Invariants
* Whatever arrives, a reader either asks for more, up to its bound, or knows; it never reads past the header.
* What is not exactly a header is refused: half believing one would let a client choose its own address.
"""

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Literal

from wsproxy.errors import WsproxyError

Accepted = Literal["v1", "v2", "any"]
Place = tuple[str, int] | str | None
"""An IP literal and a port, the path of a Unix socket, or None where nobody knows."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_LIMIT = 107
"""Bytes of the longest version 1 header, its CRLF included."""
V2_LIMIT = 4096
"""Bytes of a version 2 header with its TLVs. The format allows 64 KiB; the addresses need 232."""

_V1_START = b"PROXY "
_V1_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_V2_HEAD = 16
_V1_KNOWN = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9][0-9]*) (0|[1-9][0-9]*)\r\n")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX_STREAM: 216}
_UNIX_BYTES = 108


class BadProxyHeader(WsproxyError):
    """The connection does not begin with a PROXY protocol header that is accepted here."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a header said. Both None (LOCAL, UNKNOWN, UNSPEC): the connection's own addresses hold.

    :ivar source: where the client connected from.
    :ivar destination: where it connected to.
    """

    source: Place
    destination: Place


class HeaderReader:
    """Reads one header from the beginning of a connection.

    :ivar wanted: how many bytes may be read next, at most; always at least 1 until the header is complete.
    """

    __slots__ = ("_data", "_v1", "_v2", "wanted")

    def __init__(self, accepted: Accepted) -> None:
        self._v1 = accepted != "v2"
        self._v2 = accepted != "v1"
        self._data = b""
        self.wanted = _V1_SHORTEST if self._v1 else _V2_HEAD

    def feed(self, data: bytes) -> Told | None:
        """Take at most ``wanted`` bytes; what the header says once it is complete, else None.

        Raises BadProxyHeader as soon as the bytes cannot become an accepted header.
        """
        if len(data) > self.wanted:
            raise ValueError("more than was wanted")
        self._data += data
        if self._v1 and _begins(self._data, _V1_START):
            return self._read_v1()
        if self._v2 and _begins(self._data, SIGNATURE):
            return self._read_v2()
        raise BadProxyHeader("no PROXY protocol header of an accepted version")

    def _read_v1(self) -> Told | None:
        data = self._data
        at = data.find(b"\n")
        if at >= 0:
            return _parse_v1(data)
        if len(data) >= V1_LIMIT:
            raise BadProxyHeader(f"a version 1 header of more than {V1_LIMIT} bytes")
        # The end is CR LF: two bytes are certainly to come, or one behind a CR.
        self.wanted = max(1 if data.endswith(b"\r") else 2, _V1_SHORTEST - len(data))
        self.wanted = min(self.wanted, V1_LIMIT - len(data))
        return None

    def _read_v2(self) -> Told | None:
        data = self._data
        if len(data) < _V2_HEAD:
            self.wanted = (_V1_SHORTEST if self._v1 and len(data) < _V1_SHORTEST else _V2_HEAD) - len(data)
            return None
        size = _V2_HEAD + int.from_bytes(data[14:16])
        if size > V2_LIMIT:
            raise BadProxyHeader(f"a version 2 header of more than {V2_LIMIT} bytes")
        self.wanted = size - len(data)
        # The fixed part is judged at once: what follows it is not waited for in vain.
        told = _parse_v2(data[12], data[13], data[_V2_HEAD:], size - _V2_HEAD)
        return told if not self.wanted else None


def _begins(data: bytes, start: bytes) -> bool:
    """``data`` is a beginning of ``start``, or begins with it."""
    return data.startswith(start) or start.startswith(data)


def _parse_v1(line: bytes) -> Told:
    known = _V1_KNOWN.fullmatch(line)
    if known is None:
        if _V1_UNKNOWN.fullmatch(line):
            return Told(None, None)
        raise BadProxyHeader("a malformed version 1 header")
    source, destination = (_literal(known[1], known[group]) for group in (2, 3))
    ports = int(known[4]), int(known[5])
    if max(ports) > 65535:
        raise BadProxyHeader("a port over 65535 in a version 1 header")
    return Told((source, ports[0]), (destination, ports[1]))


def _literal(family: bytes, text: bytes) -> str:
    try:
        literal = text.decode("ascii")
        return str(ipaddress.IPv4Address(literal) if family == b"4" else ipaddress.IPv6Address(literal))
    except ValueError as error:
        raise BadProxyHeader("a malformed address in a version 1 header") from error


def _parse_v2(command: int, family: int, body: bytes, size: int) -> Told:
    """``body`` may be there in part: then what is returned means nothing yet."""
    if command == _LOCAL:
        # A health check of the load balancer itself: the family is to be ignored.
        return Told(None, None)
    if command != _PROXY:
        raise BadProxyHeader("an unknown version or command in a version 2 header")
    if family not in _ADDRESS_BYTES:
        raise BadProxyHeader("an unknown address family or protocol in a version 2 header")
    if size < _ADDRESS_BYTES[family]:
        raise BadProxyHeader("a version 2 header that is shorter than its addresses")
    if family == _UNSPEC or len(body) < size:
        return Told(None, None)
    if family == _UNIX_STREAM:
        return Told(_unix(body[:_UNIX_BYTES]), _unix(body[_UNIX_BYTES : 2 * _UNIX_BYTES]))
    width = 4 if family == _TCP4 else 16
    source, destination = (str(ipaddress.ip_address(body[at : at + width])) for at in (0, width))
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * width)
    return Told((source, source_port), (destination, destination_port))


def _unix(field: bytes) -> str:
    return field.rstrip(b"\x00").decode("utf-8", "backslashreplace")


def encode(version: Literal["v1", "v2"], source: Place, destination: Place) -> bytes:
    """A header that tells an upstream of a connection from ``source`` to ``destination``.

    Where these are not two IP addresses it says that they are unknown; IPv4 beside IPv6 is written as mapped IPv6. No
    source: the connection is our own.
    """
    if not (isinstance(source, tuple) and isinstance(destination, tuple)):
        command = _LOCAL if source is None else _PROXY
        return b"PROXY UNKNOWN\r\n" if version == "v1" else SIGNATURE + bytes([command, _UNSPEC, 0, 0])
    addresses = [ipaddress.ip_address(place[0].partition("%")[0]) for place in (source, destination)]
    if addresses[0].version != addresses[1].version:
        addresses = [
            ipaddress.IPv6Address(f"::ffff:{each}") if each.version == 4 else each  # RFC 4291 §2.5.5.2
            for each in addresses
        ]
    four = addresses[0].version == 4
    if version == "v1":
        words = f"PROXY TCP{4 if four else 6} {addresses[0]} {addresses[1]} {source[1]} {destination[1]}\r\n"
        return words.encode("ascii")
    body = b"".join(each.packed for each in addresses) + struct.pack("!HH", source[1], destination[1])
    return SIGNATURE + bytes([_PROXY, _TCP4 if four else _TCP6]) + struct.pack("!H", len(body)) + body
