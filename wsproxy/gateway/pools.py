"""Which endpoint of an upstream comes next, and how many connections each has.

Owns: the live counts of one upstream. Pure and synchronous: whoever dials walks `candidates` and counts what it opened.
Invariant: every `take` is followed by one `give_back`; a count is never negative.
"""

from collections.abc import Sequence

from wsproxy.settings.endpoints import Endpoint
from wsproxy.settings.tree import Balance


class Pool:
    """The endpoints of one upstream.

    :ivar name: the ``upstream`` label.
    :ivar endpoints: as configured, at least one.
    """

    def __init__(self, name: str, endpoints: Sequence[Endpoint], balance: Balance) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self._balance = balance
        self._live = {endpoint.url: 0 for endpoint in self.endpoints}
        self._turn = 0

    def candidates(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in the order in which to try them for one connection."""
        start = self._turn
        self._turn = (start + 1) % len(self.endpoints)
        rotated = self.endpoints[start:] + self.endpoints[:start]
        if self._balance == "round_robin":
            return rotated
        # sorted() is stable, so equals take turns.
        return tuple(sorted(rotated, key=self.live))

    def live(self, endpoint: Endpoint) -> int:
        """Connections that are open, or being opened, to the endpoint."""
        return self._live[endpoint.url]

    def take(self, endpoint: Endpoint) -> None:
        """Count one more connection; before dialling, so that a burst spreads."""
        self._live[endpoint.url] += 1

    def give_back(self, endpoint: Endpoint) -> None:
        """Count one connection less. Raises ValueError if none was taken."""
        if self._live[endpoint.url] == 0:
            raise ValueError(f"{endpoint.url} has no connection to give back")
        self._live[endpoint.url] -= 1
