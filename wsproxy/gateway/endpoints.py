"""What is known of endpoints: the addresses of their names, live connections, health.

Owns: the state that outlives a configuration. A reload makes new pools over the same `Endpoints`, so that counts,
ejections and slow starts go on. Pure and synchronous; must never import trio or sockets.
Invariants
* A count is never negative. An endpoint's is the sum of its instances', those included that its name leads to no more.
* An instance that is gone from a name's addresses gets no new connections; those that it has are left alone.
"""

import math
from collections.abc import Sequence
from ipaddress import ip_address
from weakref import WeakValueDictionary

from wsproxy.settings.endpoints import Endpoint


class Instance:
    """One address at which an endpoint is reached: of several that its name has, or the only one.

    :ivar address: an IP address; None: whatever the endpoint's host or Unix socket leads to, found while dialling.
    :ivar live: connections that are open, or being opened.
    :ivar passing: what the last probes say; True where nothing probes.
    :ivar probed: a probe has ended here.
    :ivar streak: probes in a row that speak against ``passing``.
    :ivar failures: of clients' handshakes, in a row.
    :ivar ejections: in a row; the next one is longer.
    :ivar ejected_until: by failures; in the past, or infinitely so, for one that is not ejected.
    :ivar came_up: when its slow start began, perhaps in the future.
    :ivar credit: its turn in a weighted round.
    """

    __slots__ = (
        "address",
        "came_up",
        "credit",
        "ejected_until",
        "ejections",
        "failures",
        "known",
        "live",
        "passing",
        "probed",
        "streak",
    )

    def __init__(self, known: "KnownEndpoint", address: str | None, came_up: float = -math.inf) -> None:
        self.known = known
        self.address = address
        self.live = 0
        self.passing = True
        self.probed = False
        self.streak = 0
        self.failures = 0
        self.ejections = 0
        self.ejected_until = -math.inf
        self.came_up = came_up
        self.credit = 0.0

    @property
    def endpoint(self) -> Endpoint:
        return self.known.endpoint


class KnownEndpoint:
    """An endpoint of an upstream, with its instances now.

    :ivar live: connections that are open, or being opened, to any instance that it has or had.
    :ivar instances: at least one.
    """

    __slots__ = ("__weakref__", "_resolved", "endpoint", "instances", "live")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.live = 0
        self.instances: tuple[Instance, ...] = (Instance(self, None),)
        self._resolved = False

    @property
    def has_name(self) -> bool:
        """Its host is a name, which may come to lead elsewhere.

        ``localhost`` never does (RFC 6761 §6.3): its two addresses are the same machine, and mostly only one is served.
        """
        host = self.endpoint.host
        return self.endpoint.unix_path is None and host != "localhost" and not _is_literal(host)

    def resolve(self, addresses: Sequence[str], now: float) -> None:
        """Its name leads to ``addresses``, at least one. Those that it led to before keep what is known of them."""
        former = {each.address: each for each in self.instances}
        if not self._resolved:
            # What was dialled by name went, as like as not, to the first of them.
            first = former.pop(None)
            first.address = addresses[0]
            former[first.address] = first
        came_up = now if self._resolved else -math.inf
        self._resolved = True
        self.instances = tuple(former.get(each) or Instance(self, each, came_up) for each in dict.fromkeys(addresses))


class Endpoints:
    """What one worker knows of all endpoints, by upstream and URL: one for its whole life.

    What no pool and no connection uses any more is forgotten.

    :ivar draining: the URLs of those that are to get no connection any more.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], KnownEndpoint] = WeakValueDictionary()
        self.draining: set[str] = set()

    def get(self, upstream: str, endpoint: Endpoint) -> KnownEndpoint:
        """What is known of the endpoint; nothing yet, for a new one."""
        return self._known.setdefault((upstream, endpoint.url), KnownEndpoint(endpoint))


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
