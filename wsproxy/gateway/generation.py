"""One loaded configuration, with everything that is made from it once.

Owns: the router, the pools, the entrances and the TLS of one configuration. Must never import trio.
Invariant: what can be wrong with the files and engines that a configuration names is found here, before anything
listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsproxy.errors import BadUsage
from wsproxy.extensions.engines import EngineUnavailable, choose
from wsproxy.gateway.endpoints import Endpoints
from wsproxy.gateway.extending import EventBook, make_extensions
from wsproxy.gateway.pools import Pool
from wsproxy.gateway.routing import Router
from wsproxy.network.dial import UpstreamTls
from wsproxy.network.entrance import Entrance, make_entrance
from wsproxy.network.tls import make_upstream_tls
from wsproxy.protocol.forwarded import HeaderChanges
from wsproxy.protocol.proxy_protocol import encode
from wsproxy.settings.tree import Route, SentProxyProtocol, Settings, Upstream


@dataclass(frozen=True, slots=True)
class Group:
    """An upstream made ready: whom to dial, and how.

    :ivar tls: for its endpoints with TLS; None if it has none.
    :ivar proxy_protocol: what each connection to it begins with.
    """

    pool: Pool
    tls: UpstreamTls | None
    server_name: str
    proxy_protocol: SentProxyProtocol

    @property
    def own_preamble(self) -> bytes:
        """What a connection of our own to it begins with."""
        return b"" if self.proxy_protocol == "off" else encode(self.proxy_protocol, None, None)


class Generation:
    """Everything that sessions need of one configuration.

    :ivar entrances: by listener: how its connections begin.
    :ivar changes: by route: what becomes of a request's header.
    :ivar extensions: by route: what its legs run besides permessage-deflate.

    :raises CannotStart: a file that the configuration names cannot be used.
    :raises BadUsage: an engine or an extension that it names is not there.
    """

    def __init__(self, settings: Settings, known: Endpoints | None = None, book: EventBook | None = None) -> None:
        """``known``: what the generations before this one know of endpoints; ``book``: what extensions counted."""
        self.settings = settings
        self.known = known or Endpoints()
        self.book = book or EventBook()
        self.extensions = make_extensions(settings, self.book)
        self.router = Router(settings.routes)
        self.groups: Mapping[str, Group] = {
            name: _group(name, each, self.known) for name, each in settings.upstreams.items()
        }
        self.entrances: Mapping[str, Entrance] = {each.name: make_entrance(each) for each in settings.listeners}
        self.changes: Mapping[str, HeaderChanges] = {
            route.name: HeaderChanges(route.headers.set, route.headers.remove) for route in settings.routes
        }
        for route in settings.routes:
            _check_engines(route)


def _group(name: str, upstream: Upstream, known: Endpoints) -> Group:
    pool = Pool(name, upstream, known)
    tls = make_upstream_tls(upstream.tls) if any(each.tls for each in pool.endpoints) else None
    return Group(pool, tls, upstream.tls.server_name, upstream.proxy_protocol)


def _check_engines(route: Route) -> None:
    client, upstream = route.compression.client, route.compression.upstream
    try:
        choose(client.engine, client.server_max_window_bits)
        choose(upstream.engine, upstream.client_max_window_bits)
    except EngineUnavailable as error:
        raise BadUsage([f"route {route.name}: {error}"]) from error
