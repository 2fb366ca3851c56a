"""Which endpoint of an upstream comes next, and how many connections each has.

Owns: the live counts. Pure and synchronous: whoever dials walks `candidates` and counts what it opened.
Invariants
* Every `take` is followed by one `give_back`; a count is never negative.
* What is known of an endpoint outlives the configuration that named it: `Endpoints` is one for a worker's whole life.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproxy.settings.endpoints import Endpoint
from wsproxy.settings.tree import Balance


@dataclass(slots=True)
class Endpoints:
    """What stays of endpoints when a reload makes new pools.

    :ivar live: connections that are open, or being opened, by upstream and URL.
    :ivar draining: the URLs of those that are to get no connection any more.
    """

    live: Counter[tuple[str, str]] = field(default_factory=Counter)
    draining: set[str] = field(default_factory=set)


class Pool:
    """The endpoints of one upstream.

    :ivar name: the ``upstream`` label.
    :ivar endpoints: as configured, at least one.
    """

    def __init__(
        self, name: str, endpoints: Sequence[Endpoint], balance: Balance, known: Endpoints | None = None
    ) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self._balance = balance
        self._known = known or Endpoints()
        self._turn = 0

    def candidates(self) -> tuple[Endpoint, ...]:
        """Every endpoint that takes connections, in the order in which to try them for one; perhaps none."""
        start = self._turn
        self._turn = (start + 1) % len(self.endpoints)
        rotated = self.endpoints[start:] + self.endpoints[:start]
        rotated = tuple(each for each in rotated if each.url not in self._known.draining)
        if self._balance == "round_robin":
            return rotated
        # sorted() is stable, so equals take turns.
        return tuple(sorted(rotated, key=self.live))

    def live(self, endpoint: Endpoint) -> int:
        """Connections that are open, or being opened, to the endpoint."""
        return self._known.live[self.name, endpoint.url]

    def take(self, endpoint: Endpoint) -> None:
        """Count one more connection; before dialling, so that a burst spreads."""
        self._known.live[self.name, endpoint.url] += 1

    def give_back(self, endpoint: Endpoint) -> None:
        """Count one connection less. Raises ValueError if none was taken."""
        key = (self.name, endpoint.url)
        if not self._known.live[key]:
            raise ValueError(f"{endpoint.url} has no connection to give back")
        self._known.live[key] -= 1
        if not self._known.live[key]:
            del self._known.live[key]
