"""Which instance of an upstream a connection goes to, and how many connections each has.

Owns: who may be chosen (up, not full, not draining), and the places that are taken. Synchronous: whoever dials asks
`choose`, dials, and says how it went. Must never import trio or sockets.
Invariant: every place that `choose` takes is given back once.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator

from wsproxy.errors import Refused
from wsproxy.gateway import health
from wsproxy.gateway.balancing import way
from wsproxy.gateway.endpoints import Endpoints, Instance, KnownEndpoint
from wsproxy.settings.endpoints import Endpoint, parse_endpoint
from wsproxy.settings.tree import Upstream

_LEAST_SHARE = 0.1
"""Of its weight, at the beginning of a slow start."""


class Pool:
    """The endpoints of one upstream in one configuration.

    :ivar name: the ``upstream`` label.
    :ivar settings: of the upstream.
    :ivar endpoints: as configured, at least one.
    """

    def __init__(
        self,
        name: str,
        settings: Upstream,
        known: Endpoints | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: random.Random | None = None,
    ) -> None:
        """``known``: what the pools before this one know of endpoints. ``clock``: seconds."""
        self.name = name
        self.settings = settings
        self.endpoints = tuple(parse_endpoint(each.url) for each in settings.endpoints)
        known = known or Endpoints()
        self.known: tuple[KnownEndpoint, ...] = tuple(known.get(name, endpoint) for endpoint in self.endpoints)
        self._draining = known.draining
        self._weights = {each.url: each.weight for each in settings.endpoints}
        self._clock = clock
        self._way = way(settings.balance, draw or random.Random())

    def choose(self, client: str, tried: Collection[Instance] = ()) -> Instance | None:
        """Take a place at the instance to try next; None when those that were ``tried`` are all there are.

        ``client`` is the client's address. Raises Refused 503 when there is nothing to try at all.
        """
        now = self._clock()
        judged = self.settings.health
        usable = [
            each
            for each in self.instances()
            if health.is_usable(each, judged) and each.endpoint.url not in self._draining
        ]
        if not usable:
            # Nobody knows when it will be back; a probe may bring it up at its next turn.
            wait = math.ceil(judged.interval_seconds)
            raise _unavailable("upstream_unreachable", "no endpoint of the upstream is up", wait)
        cap = self.settings.max_connections
        free = [each for each in usable if each not in tried and (not cap or each.live < cap)]
        if not free:
            if tried:
                return None
            raise _unavailable("limited", "every endpoint of the upstream is full", 1)
        # Ejected ones are the last resort.
        best = [each for each in free if not health.is_ejected(each, judged, now)] or free
        chosen = best[0] if len(best) == 1 else self._way.choose(best, lambda each: self._share(each, now), client)
        chosen.live += 1
        chosen.known.live += 1
        return chosen

    def give_back(self, instance: Instance) -> None:
        """Count one connection less. Raises ValueError if none was taken."""
        if instance.live == 0:
            raise ValueError(f"{instance.endpoint.url} has no connection to give back")
        instance.live -= 1
        instance.known.live -= 1

    def succeeded(self, instance: Instance) -> bool:
        """The instance answered a client's request. True if it returns from an ejection with that."""
        return health.succeeded(instance)

    def failed(self, instance: Instance) -> bool:
        """The instance could not be reached by a client's request, or did not answer it. True if it is ejected now.

        Failing again on its return is no news.
        """
        return health.failed(instance, self.settings.health, self._clock())

    def probed(self, instance: Instance, good: bool) -> bool:
        """A probe of the instance ended. True if it is up now and was not, or the other way round."""
        return health.probed(instance, good, self.settings.health, self._clock())

    def resolved(self, known: KnownEndpoint, addresses: Collection[str]) -> None:
        """An endpoint's name leads to these addresses, at least one."""
        known.resolve(tuple(addresses), self._clock())

    def instances(self) -> Iterator[Instance]:
        """Every instance now."""
        for known in self.known:
            yield from known.instances

    def live(self, endpoint: Endpoint) -> int:
        """Connections that are open, or being opened, to the endpoint."""
        return self._find(endpoint).live

    def is_up(self, endpoint: Endpoint) -> bool:
        """One of the endpoint's instances is up."""
        now, judged = self._clock(), self.settings.health
        return any(
            health.is_usable(each, judged) and not health.is_ejected(each, judged, now)
            for each in self._find(endpoint).instances
        )

    def _find(self, endpoint: Endpoint) -> KnownEndpoint:
        return self.known[self.endpoints.index(endpoint)]

    def _share(self, instance: Instance, now: float) -> float:
        weight = self._weights[instance.endpoint.url]
        seconds = self.settings.slow_start_seconds
        if not seconds:
            return weight
        return weight * min(1.0, max(_LEAST_SHARE, (now - instance.came_up) / seconds))


def _unavailable(result: str, detail: str, retry_after: int) -> Refused:
    return Refused(503, result, detail, ((b"Retry-After", str(retry_after).encode("ascii")),))
