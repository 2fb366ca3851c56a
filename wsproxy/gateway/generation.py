"""One loaded configuration, with everything that is made from it once.

Owns: the router, the pools and the upstreams' TLS of one configuration. Must never import trio.
Invariant: what can be wrong with the files and engines that a configuration names is found here, before anything
listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsproxy.errors import BadUsage
from wsproxy.extensions.engines import EngineUnavailable, choose
from wsproxy.gateway.endpoints import Endpoints
from wsproxy.gateway.pools import Pool
from wsproxy.gateway.routing import Router
from wsproxy.network.dial import UpstreamTls
from wsproxy.network.tls import make_upstream_tls
from wsproxy.settings.tree import Route, Settings, Upstream


@dataclass(frozen=True, slots=True)
class Group:
    """An upstream made ready: whom to dial, and how.

    :ivar tls: for its endpoints with TLS; None if it has none.
    """

    pool: Pool
    tls: UpstreamTls | None
    server_name: str


class Generation:
    """Everything that sessions need of one configuration.

    :raises CannotStart: a file that the configuration names cannot be used.
    :raises BadUsage: an engine that it names is not there.
    """

    def __init__(self, settings: Settings, known: Endpoints | None = None) -> None:
        """``known``: what the generations before this one know of endpoints."""
        self.settings = settings
        self.known = known or Endpoints()
        self.router = Router(settings.routes)
        self.groups: Mapping[str, Group] = {
            name: _group(name, each, self.known) for name, each in settings.upstreams.items()
        }
        for route in settings.routes:
            _check_engines(route)


def _group(name: str, upstream: Upstream, known: Endpoints) -> Group:
    pool = Pool(name, upstream, known)
    tls = make_upstream_tls(upstream.tls) if any(each.tls for each in pool.endpoints) else None
    return Group(pool, tls, upstream.tls.server_name)


def _check_engines(route: Route) -> None:
    client, upstream = route.compression.client, route.compression.upstream
    try:
        choose(client.engine, client.server_max_window_bits)
        choose(upstream.engine, upstream.client_max_window_bits)
    except EngineUnavailable as error:
        raise BadUsage([f"route {route.name}: {error}"]) from error
