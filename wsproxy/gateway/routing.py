"""Which route a request takes, whether its origin may enter, and which path its upstream gets.

Owns: matching and rewriting. Pure; must never import trio or sockets.
Invariants
* A path is matched as an upstream may come to read it, percent-decoded and with dot segments resolved
  (RFC 3986 §6.2.2), so that no other spelling of a path gets around the route that guards it.
* What a rewritten path leads to is what was matched: no segment of it climbs out of the prefix.
* `Router.match` and `Router.explain` ask the same rule, so what is explained is what happens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from wsproxy.errors import Refused
from wsproxy.settings.tree import Route

Obstacle = Literal["host", "path", "header", "subprotocol"]

_DEFAULT_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}
_UNQUOTED = "/~!$&'()*+,;=:@-._"
"""What a path's segment may hold as it is, and the slash (RFC 3986 §3.3)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a request decides about its route.

    :ivar host: the Host header's value.
    :ivar target: path and query.
    :ivar headers: names in lower case.
    :ivar subprotocols: as offered; plain HTTP offers none.
    """

    host: bytes
    target: bytes
    headers: Iterable[tuple[bytes, bytes]] = ()
    subprotocols: tuple[bytes, ...] = ()


class Router:
    """The routes of one configuration, in their order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._rules = tuple(_rule(route) for route in routes)

    def match(self, wanted: Wanted) -> Route:
        """The first route that takes the request. Raises Refused 404."""
        name = _host_name(wanted.host)
        path = _resolved(wanted.target.partition(b"?")[0])
        for rule in self._rules:
            if rule.obstacle(name, path, wanted) is None:
                return rule.route
        raise Refused(404, "no_route", "no route for this host and path")

    def explain(self, wanted: Wanted) -> Iterator[tuple[Route, Obstacle | None]]:
        """Each route up to the one that takes the request, with what stood in its way; None for that one."""
        name = _host_name(wanted.host)
        path = _resolved(wanted.target.partition(b"?")[0])
        for rule in self._rules:
            obstacle = rule.obstacle(name, path, wanted)
            yield rule.route, obstacle
            if obstacle is None:
                return


def check_origin(route: Route, origin: bytes | None) -> None:
    """Raises Refused 403 for a browser that comes from an origin outside the route's (RFC 6455 §10.2)."""
    if route.origins and origin is not None:
        came_from = _origin(origin.decode("latin-1"))
        if all(came_from != _origin(allowed) for allowed in route.origins):
            raise Refused(403, "forbidden", "this origin is not allowed here")


def rewritten(route: Route, target: bytes) -> bytes:
    """The target for the upstream, below its base path: what the route matched gives way to ``replace_prefix``."""
    if not route.replace_prefix or target == b"*":
        return target
    path, mark, query = target.partition(b"?")
    rest = b"" if route.path else _below(path, _resolved(route.path_prefix.encode("utf-8")))
    replacement = route.replace_prefix.encode("ascii")
    return (replacement.rstrip(b"/") + rest if rest else replacement) + mark + query


def _below(path: bytes, prefix: bytes) -> bytes:
    """What follows ``prefix`` in ``path``: empty, or from a slash on.

    As it was written, if every segment says what it means; else as it was understood: in ``/feed/../feed/x`` the dots
    would climb out of what replaces ``/feed``.
    """
    depth = len([part for part in prefix.split(b"/") if part])
    raw = path.split(b"/")[1:]
    parts = [unquote_to_bytes(part).split(b"/") for part in raw]
    plain = all(len(inner) == 1 for inner in parts[:depth]) and not any(
        part in (b".", b"..") or (part == b"" and number < len(parts) - 1)
        for number, inner in enumerate(parts)
        for part in inner
    )
    if plain:
        return b"".join(b"/" + part for part in raw[depth:])
    resolved = _resolved(path).split(b"/")[1:]
    return quote_from_bytes(b"".join(b"/" + part for part in resolved[depth:]), _UNQUOTED).encode("ascii")


@dataclass(frozen=True, slots=True)
class _Rule:
    """A route made ready for matching.

    :ivar hosts: exact names; empty together with ``suffixes`` means any.
    :ivar suffixes: ``.example.org`` for ``*.example.org``.
    :ivar path: matches itself; ``below`` is what paths under it start with, None where only the whole path matches.
    :ivar headers: names in lower case.
    """

    route: Route
    hosts: frozenset[bytes]
    suffixes: tuple[bytes, ...]
    path: bytes
    below: bytes | None
    headers: frozenset[tuple[bytes, bytes]]
    subprotocols: frozenset[bytes]

    def obstacle(self, name: bytes, path: bytes, wanted: Wanted) -> Obstacle | None:
        """The first thing that keeps a request from this route."""
        if (self.hosts or self.suffixes) and name not in self.hosts and not name.endswith(self.suffixes):
            return "host"
        if path != self.path and (self.below is None or not path.startswith(self.below)):
            return "path"
        if self.headers and not self.headers.issubset((found, value) for found, value in wanted.headers):
            return "header"
        if self.subprotocols and self.subprotocols.isdisjoint(wanted.subprotocols):
            return "subprotocol"
        return None


def _rule(route: Route) -> _Rule:
    hosts = [host.lower().encode("ascii") for host in route.hosts]
    path = _resolved((route.path or route.path_prefix).encode("utf-8"))
    below = path if path.endswith(b"/") else path + b"/"
    return _Rule(
        route=route,
        hosts=frozenset(host for host in hosts if not host.startswith(b"*.")),
        suffixes=tuple(host[1:] for host in hosts if host.startswith(b"*.")),
        path=path,
        below=None if route.path else below,
        headers=frozenset((name.lower().encode(), value.encode()) for name, value in route.match_headers.items()),
        subprotocols=frozenset(each.encode() for each in route.subprotocols),
    )


def _host_name(host: bytes) -> bytes:
    """The name in a Host header's value: no port, no final dot, lower case; an IPv6 literal keeps its brackets."""
    name, colon, port = host.rpartition(b":")
    if not colon or port.endswith(b"]"):
        name = host
    return name.removesuffix(b".").lower()


def _resolved(path: bytes) -> bytes:
    """Percent-decoded, dot segments resolved, repeated slashes made one."""
    segments: list[bytes] = []
    parts = unquote_to_bytes(path).split(b"/")
    for part in parts:
        if part == b"..":
            del segments[-1:]
        elif part not in (b"", b"."):
            segments.append(part)
    ends_in_directory = bool(segments) and parts[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(segments) + (b"/" if ends_in_directory else b"")


def _origin(text: str) -> str:
    """In lower case and without the port that its scheme implies (RFC 6454 §6.2)."""
    scheme, _, authority = text.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{authority.removesuffix(f':{port}') if port else authority}"
