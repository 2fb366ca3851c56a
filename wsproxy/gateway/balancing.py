"""Which of several instances comes next: the four ways.

Owns: the choice alone; whether an instance may be chosen is the pool's business. Pure; must never import trio or
sockets.
Invariant: over many choices each instance gets connections in proportion to its share, as far as its way allows.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random
from typing import Protocol

from wsproxy.gateway.endpoints import Instance
from wsproxy.settings.tree import Balance

Share = Callable[[Instance], float]
"""What an instance is to get beside the others: its weight, less while it starts slowly. Above 0."""


class Way(Protocol):
    """One way to balance."""

    def choose(self, instances: Sequence[Instance], share: Share, client: str) -> Instance:
        """One of ``instances``, which are at least one. ``client``: the client's address."""


def way(balance: Balance, draw: Random) -> Way:
    """The way of that name. ``draw`` makes the random choices."""
    match balance:
        case "least_connections":
            return _LeastConnections()
        case "round_robin":
            return _RoundRobin()
        case "random":
            return _RandomOfTwo(draw)
        case "client_hash":
            return _ClientHash()


def _load(instance: Instance, share: float) -> float:
    """Connections for its share, the one that is to be opened included: so an empty heavy instance goes first."""
    return (instance.live + 1) / share


class _LeastConnections:
    """The lowest load; equals take turns."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, instances: Sequence[Instance], share: Share, client: str) -> Instance:
        start = self._turn % len(instances)
        self._turn += 1
        return min([*instances[start:], *instances[:start]], key=lambda each: _load(each, share(each)))


class _RoundRobin:
    """One after the other, heavier ones more often and evenly spread: nginx's smooth weighted round."""

    def choose(self, instances: Sequence[Instance], share: Share, client: str) -> Instance:
        total = 0.0
        for each in instances:
            part = share(each)
            each.credit += part
            total += part
        chosen = max(instances, key=lambda each: each.credit)
        chosen.credit -= total
        return chosen


class _RandomOfTwo:
    """The lower load of two that are drawn by share: nearly as level as the lowest of all, and workers that do not
    know each other's counts do not run to the same one."""

    def __init__(self, draw: Random) -> None:
        self._draw = draw

    def choose(self, instances: Sequence[Instance], share: Share, client: str) -> Instance:
        first = self._drawn(instances, share)
        if len(instances) == 1:
            return first
        second = self._drawn([each for each in instances if each is not first], share)
        return min(first, second, key=lambda each: _load(each, share(each)))

    def _drawn(self, instances: Sequence[Instance], share: Share) -> Instance:
        return self._draw.choices(instances, [share(each) for each in instances])[0]


class _ClientHash:
    """The highest score (rendezvous hashing, weighted) among endpoints, then among the addresses of that one's name.

    When one comes or goes, only its own clients move; and when a name gets another address, nobody moves elsewhere.
    """

    def choose(self, instances: Sequence[Instance], share: Share, client: str) -> Instance:
        endpoints: dict[str, list[Instance]] = {}
        for each in instances:
            endpoints.setdefault(each.endpoint.url, []).append(each)
        if len(endpoints) > 1:
            totals = {url: sum(map(share, members)) for url, members in endpoints.items()}
            url = max(totals, key=lambda url: _score(f"{client} {url}", totals[url]))
        else:
            (url,) = endpoints
        members = endpoints[url]
        if len(members) == 1:
            return members[0]
        return max(members, key=lambda each: _score(f"{client} {url} {each.address}", share(each)))


def _score(text: str, share: float) -> float:
    drawn = int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")
    return -share / math.log((drawn + 0.5) / 2**56)
