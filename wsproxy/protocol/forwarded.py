"""Who a request comes from, and what its upstream is told of that: X-Forwarded-*, Forwarded, X-Client-Cert-*.

Owns: which of these fields are believed, and how a proxy adds its own (RFC 7239, RFC 9110 §7.6.3); a route's own
changes to the header. Sans-I/O. Must never decide who is trusted: that is configured.
Invariants
* What a client that is not trusted says about itself never crosses, in no spelling that an upstream could read alike.
* The address of a client is the rightmost one that no trusted proxy has: what stands left of it is hearsay.
* X-Forwarded-For and Forwarded tell an upstream of the same way, whichever of them it reads.
* X-Client-Cert-* says only what this proxy verified itself.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import h11

from wsproxy.protocol.http1 import HeaderList, Headers
from wsproxy.protocol.proxy_protocol import Place, encode

UNIX = "unix"
"""The address of whoever connects to a Unix socket, in `trusted_proxies` and where clients are told apart."""

SentVersion = Literal["off", "v1", "v2"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Pairs = Iterable[tuple[bytes, bytes]]

_X_FORWARDED = b"x-forwarded-"
_CERTIFICATE = b"x-client-cert-"
_FORWARDED = b"forwarded"
_REPLACED = frozenset({_FORWARDED, b"x-real-ip"})
_FIRST_LETTERS = b"xXfF"
"""Of all names that are looked at here."""
_FOR = b"x-forwarded-for"
_HOST = b"x-forwarded-host"
_PROTO = b"x-forwarded-proto"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"""(?:^|;)\s*([\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)\s*(?=;|$)""")
_PAIR = re.compile(r"\\(.)")
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_NODE = re.compile(r"\[(?P<six>[^\]]+)\](?::\w+)?|(?P<four>[0-9.]+)(?::\w+)?")


class TrustedProxies:
    """The addresses that are believed, as configured: IP addresses, CIDR blocks, `unix`."""

    __slots__ = ("_networks", "_unix")

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises ValueError for what is none of these."""
        self._unix = UNIX in texts
        self._networks = tuple(ipaddress.ip_network(text) for text in texts if text != UNIX)

    def trust(self, place: Place) -> bool:
        """Whether a connection from there is believed."""
        if isinstance(place, tuple):
            return self.trust_address(place[0])
        return self._unix and place is not None

    def trust_address(self, literal: str) -> bool:
        """Whether that address is a trusted proxy's. Raises ValueError for what is no IP literal."""
        if not self._networks:
            return False
        address = _parse(literal)
        return any(address.version == each.version and address in each for each in self._networks)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The identity that a client proved with its certificate.

    :ivar subject: the distinguished name as in RFC 4514, most specific part first, in ASCII.
    :ivar names: the subject alternative names, ``DNS:a.example, URI:spiffe://b``, in ASCII.
    :ivar fingerprint: SHA-256 of the certificate, in lower-case hexadecimal.
    """

    subject: str
    names: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """How one client connection reached this proxy.

    :ivar source: where it comes from, as the PROXY protocol told if that is spoken here.
    :ivar destination: where it was made to.
    :ivar secure: it came over TLS.
    :ivar proxies: who is believed on this listener.
    """

    source: Place
    destination: Place
    secure: bool
    proxies: TrustedProxies
    certificate: ClientCertificate | None = None

    @property
    def address(self) -> str:
        """The source without its port: an IP literal, or `UNIX`."""
        if not isinstance(self.source, tuple):
            return UNIX
        literal = self.source[0]
        return str(_parse(literal)) if ":" in literal else literal


@dataclass(frozen=True, slots=True)
class Requester:
    """Who one request comes from.

    :ivar address: an IP literal, or `UNIX`: what caps and hashes tell clients apart by.
    :ivar text: for logs; with the port where it is known.
    """

    address: str
    text: str


class Introduction:
    """What one connection's requests are introduced with. Made once for each connection, and used for each request."""

    __slots__ = ("_arrival", "_certificate", "_nearest", "_node", "_scheme", "trusted")

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self.trusted = arrival.proxies.trust(arrival.source)
        self._scheme = b"https" if arrival.secure else b"http"
        self._nearest = _nearest(arrival)
        self._node = b"" if self._nearest.address == UNIX else self._nearest.address.encode("ascii")
        self._certificate = _certificate_fields(arrival.certificate)

    def requester(self, headers: Headers) -> Requester:
        """Who a request with these headers comes from."""
        nearest = self._nearest
        if not self.trusted:
            return nearest
        for address in reversed(_chain(headers)):
            if address is None:
                return nearest
            nearest = Requester(address, address)
            if not self._arrival.proxies.trust_address(address):
                return nearest
        return nearest

    def preamble(self, version: SentVersion, requester: Requester) -> bytes:
        """What an upstream that wants the PROXY protocol gets first."""
        if version == "off":
            return b""
        source, destination = self._arrival.source, self._arrival.destination
        if requester.address != self._nearest.address:
            source = (requester.address, 0)
        if isinstance(source, tuple) and not isinstance(destination, tuple):
            # It came through a Unix socket to us; the source is worth telling all the same.
            destination = ("::" if ":" in source[0] else "0.0.0.0", 0)
        return encode(version, source, destination)

    def introduce(self, host: bytes, headers: Sequence[tuple[bytes, bytes]]) -> HeaderList:
        """``headers`` of a request to ``host`` as they go to an upstream; names keep their case and their order."""
        kept: HeaderList = []
        told: dict[bytes, list[bytes]] = {}
        for raw, value in headers:
            if raw[:1] not in _FIRST_LETTERS:
                kept.append((raw, value))
                continue
            # CGI and WSGI read both spellings as one (RFC 3875 §4.1.18); no proxy writes the second one.
            name = raw.lower().replace(b"_", b"-")
            if name.startswith(_X_FORWARDED) or name in _REPLACED:
                if not self.trusted or b"_" in raw:
                    continue
                if name in (_FOR, _HOST, _PROTO, _FORWARDED):
                    told.setdefault(name, []).append(value)
                    continue
            elif name.startswith(_CERTIFICATE):
                continue
            kept.append((raw, value))
        kept.extend(self._told(host, told))
        kept.extend(self._certificate)
        return kept

    def _told(self, host: bytes, told: Mapping[bytes, list[bytes]]) -> HeaderList:
        node = self._node
        if told:
            told = _both_ways(told)
        chain = [*told.get(_FOR, ()), *([node] if node else [])]
        elements = [*told.get(_FORWARDED, ()), _element(node, host, self._scheme)]
        added: HeaderList = [(b"X-Forwarded-For", b", ".join(chain))] if chain else []
        added.append((b"X-Forwarded-Proto", told.get(_PROTO, [self._scheme])[-1]))
        if host or _HOST in told:
            added.append((b"X-Forwarded-Host", told.get(_HOST, [host])[-1]))
        added.append((b"Forwarded", b", ".join(elements)))
        return added


class HeaderChanges:
    """A route's own changes, made after everything else. Names that belong to a connection are refused by settings."""

    __slots__ = ("_gone", "_host", "_set")

    def __init__(self, fields: Mapping[str, str], remove: Iterable[str]) -> None:
        self._set = [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
        self._host = next((value for name, value in self._set if name.lower() == b"host"), None)
        self._set = [(name, value) for name, value in self._set if name.lower() != b"host"]
        self._gone = frozenset([name.lower() for name, _ in self._set] + [name.lower().encode() for name in remove])

    def host(self, host: bytes) -> bytes:
        """The Host header's value for an upstream."""
        return host if self._host is None else self._host

    def apply(self, headers: HeaderList) -> HeaderList:
        """The other headers for an upstream."""
        if not self._gone:
            return headers
        return [(raw, value) for raw, value in headers if raw.lower() not in self._gone] + self._set


def introduced(introduction: Introduction, changes: HeaderChanges, head: h11.Request) -> h11.Request:
    """A plain HTTP request's head for an upstream, its Host first, with what it is to be told."""
    (_, host), *others = head.headers.raw_items()
    headers = changes.apply(introduction.introduce(host, others))
    return h11.Request(method=head.method, target=head.target, headers=[(b"Host", changes.host(host)), *headers])


def _nearest(arrival: Arrival) -> Requester:
    """The far end of the connection itself."""
    source = arrival.source
    if not isinstance(source, tuple):
        return Requester(UNIX, f"unix:{source or ''}")
    host = f"[{source[0]}]" if ":" in source[0] else source[0]
    return Requester(arrival.address, f"{host}:{source[1]}")


def _parse(literal: str) -> _Address:
    address = ipaddress.ip_address(literal)
    # ::ffff:192.0.2.1 is how a socket for both families tells of 192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _chain(headers: Headers) -> list[str | None]:
    """The addresses that a request has come through, the client's first; None for what is no IP address.

    X-Forwarded-For goes before Forwarded: a proxy that adds one of them usually adds that one, and lets the other pass.
    """
    listed = _all(headers, _FOR)
    return _nodes(listed) if listed else [_for(each) for each in _ELEMENT.findall(_all(headers, _FORWARDED))]


def _both_ways(told: Mapping[bytes, list[bytes]]) -> Mapping[bytes, list[bytes]]:
    """What a trusted proxy told in one of the two ways, told in the other one as well.

    Where they differ, X-Forwarded-For holds (`_chain`). Its last element is about the same connection as
    X-Forwarded-Proto and -Host, and as the parameters of the last element of Forwarded.
    """
    listed, forwarded = _joined(told.get(_FOR, ())), _joined(told.get(_FORWARDED, ()))
    elements = _ELEMENT.findall(forwarded)
    said = [_for(each) for each in elements]
    chain = _nodes(listed) if listed else said
    nodes = [b"unknown" if each is None else each.encode("ascii") for each in chain]
    both = dict(told)
    if not listed:
        both[_FOR] = nodes
        last = _parameters(elements[-1]) if elements else {}
        for name, parameter in ((_HOST, "host"), (_PROTO, "proto")):
            if name not in told and last.get(parameter):
                both[name] = [last[parameter].encode("latin-1")]
    # A quotation mark without its other half would swallow what is added behind it.
    if chain != said or ",".join(elements) != forwarded:
        host, proto = (b",".join(both.get(name, ())).rpartition(b",")[2].strip() for name in (_HOST, _PROTO))
        both[_FORWARDED] = [*map(_element, nodes[:-1]), *(_element(each, host, proto) for each in nodes[-1:])]
    return both


def _element(node: bytes, host: bytes = b"", proto: bytes = b"") -> bytes:
    """One element of Forwarded (RFC 7239 §4); no ``node``: nobody knows."""
    element = b"for=" + _quoted(b"[%b]" % node if b":" in node else node or b"unknown")
    element += b";host=" + _quoted(host) if host else b""
    return element + (b";proto=" + _quoted(proto) if proto else b"")


def _all(headers: _Pairs, name: bytes) -> str:
    return _joined([value for found, value in headers if found == name])


def _joined(values: Sequence[bytes]) -> str:
    return b",".join(values).decode("latin-1")


def _nodes(listed: str) -> list[str | None]:
    """The addresses in X-Forwarded-For."""
    return [_node(each.strip()) for each in listed.split(",")]


def _parameters(element: str) -> dict[str, str]:
    """The parameters of an element of Forwarded, names in lower case; of several with one name the first."""
    return {
        name.lower(): _PAIR.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        for name, value in reversed(_PARAMETER.findall(element))
    }


def _for(element: str) -> str | None:
    return _node(_parameters(element).get("for", ""))


def _node(text: str) -> str | None:
    """The IP literal of a node (RFC 7239 §6), or of an element of X-Forwarded-For, with or without a port."""
    found = _NODE.fullmatch(text)
    try:
        address = _parse((found["six"] or found["four"]) if found else text)
    except ValueError:
        return None
    # An interface of another machine means nothing here.
    return str(address).partition("%")[0]


def _quoted(value: bytes) -> bytes:
    if _TOKEN.fullmatch(value):
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _certificate_fields(certificate: ClientCertificate | None) -> HeaderList:
    if certificate is None:
        return []
    fields = {
        b"X-Client-Cert-Subject": certificate.subject,
        b"X-Client-Cert-San": certificate.names,
        b"X-Client-Cert-Fingerprint": certificate.fingerprint,
    }
    return [(name, text.encode("ascii")) for name, text in fields.items() if text]
