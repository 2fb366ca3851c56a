"""Which route a request takes, and whether its origin may enter.

Owns: matching of hosts, path prefixes and origins. Pure; must never import trio or sockets.
Invariant: a path is matched as an upstream may come to read it, percent-decoded and with dot segments resolved
(RFC 3986 §6.2.2), so that no other spelling of a path gets around the route that guards it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from wsproxy.errors import Refused
from wsproxy.settings.tree import Route

_DEFAULT_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


class Router:
    """The routes of one configuration, in their order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._rules = tuple(_rule(route) for route in routes)

    def match(self, host: bytes, target: bytes) -> Route:
        """The first route for a Host header's value and a request target. Raises Refused 404."""
        name = _host_name(host)
        path = _resolved(target.partition(b"?")[0])
        for rule in self._rules:
            if rule.takes_host(name) and (path == rule.path or path.startswith(rule.below)):
                return rule.route
        raise Refused(404, "no_route", "no route for this host and path")


def check_origin(route: Route, origin: bytes | None) -> None:
    """Raises Refused 403 for a browser that comes from an origin outside the route's (RFC 6455 §10.2)."""
    if route.origins and origin is not None:
        came_from = _origin(origin.decode("latin-1"))
        if all(came_from != _origin(allowed) for allowed in route.origins):
            raise Refused(403, "forbidden", "this origin is not allowed here")


@dataclass(frozen=True, slots=True)
class _Rule:
    """A route made ready for matching.

    :ivar hosts: exact names; empty together with ``suffixes`` means any.
    :ivar suffixes: ``.example.org`` for ``*.example.org``.
    :ivar path: matches itself; ``below`` is what paths under it start with.
    """

    route: Route
    hosts: frozenset[bytes]
    suffixes: tuple[bytes, ...]
    path: bytes
    below: bytes

    def takes_host(self, name: bytes) -> bool:
        return (not self.hosts and not self.suffixes) or name in self.hosts or name.endswith(self.suffixes)


def _rule(route: Route) -> _Rule:
    hosts = [host.lower().encode("ascii") for host in route.hosts]
    path = _resolved(route.path_prefix.encode("utf-8"))
    below = path if path.endswith(b"/") else path + b"/"
    return _Rule(
        route=route,
        hosts=frozenset(host for host in hosts if not host.startswith(b"*.")),
        suffixes=tuple(host[1:] for host in hosts if host.startswith(b"*.")),
        path=path,
        below=below,
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
