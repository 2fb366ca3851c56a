"""From accept to the first byte of HTTP: may this connection enter, and what comes first on it.

Owns: the order of these steps and their deadline, and what a connection has taken of the worker's numbers. Must never
read or write HTTP.
Invariants
* What was taken is given back exactly once, by `close`, which also closes the transport.
* Those who are told that there is no room are a bounded number themselves.
"""

import logging

import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.gateway.admission import GiveBack
from wsproxy.network.entrance import TurnedAway, enter, walk_in
from wsproxy.network.transport import PlainTransport, Transport
from wsproxy.protocol.forwarded import Arrival, Introduction
from wsproxy.service.proxy import Proxy

ENTRANCE_SECONDS = 10.0
"""For the PROXY protocol and TLS together."""
MOST_TOLD = 256
"""Connections over a cap that are told so at a time; further ones are closed without a word."""

_LOGGER = logging.getLogger("wsproxy")


class Entry:
    """One accepted connection on its way in.

    :ivar transport: to go on with; another one once TLS stands.
    """

    __slots__ = ("_listener", "_proxy", "_told", "_took", "transport")

    def __init__(self, proxy: Proxy, listener: str, transport: PlainTransport) -> None:
        self._proxy = proxy
        self._listener = listener
        self._took: list[GiveBack] = []
        self._told = False
        self.transport: Transport = transport

    async def enter(self, transport: PlainTransport) -> tuple[Introduction, Refused | None]:
        """Do what comes first; how to introduce the requests that follow, or what to answer instead.

        Raises TurnedAway, and ConnectionLost where the client left.
        """
        generation, admission = self._proxy.generation, self._proxy.admission
        limits = generation.settings.limits
        refused: Refused | None = None
        try:
            self._took.append(admission.take_connection(limits))
        except Refused as full:
            refused = full
            self._announce()
        entrance = generation.entrances.get(self._listener)
        if entrance is None:
            raise ConnectionLost("a reload took the listener away")
        arrival: Arrival | None = None
        if entrance.is_open:
            arrival = walk_in(transport, entrance)
        else:
            with trio.move_on_after(ENTRANCE_SECONDS) as scope:
                self._proxy.idle.add(scope)
                try:
                    self.transport, arrival = await enter(transport, entrance)
                finally:
                    self._proxy.idle.discard(scope)
            if arrival is None and self._proxy.draining:
                raise ConnectionLost("a drain ended what had not begun")
            if arrival is None:
                raise TurnedAway("timeout", "what comes before the first request did not come in time")
        introduction = Introduction(arrival)
        if refused is None and not introduction.trusted:
            try:
                self._took.append(admission.take_address(limits, arrival.address))
            except Refused as full:
                refused = full
                self._announce()
        return introduction, refused

    def turned_away(self, away: TurnedAway) -> None:
        """Count and log it."""
        self._proxy.counters.refused[self._listener, away.step] += 1
        fields = {"listener": self._listener, "client": self.transport.peer, "reason": away.step, "detail": str(away)}
        _LOGGER.info("turned away", extra={"fields": fields})

    def close(self) -> None:
        """Close the transport and give back what was taken. Never raises."""
        self.transport.close()
        for give_back in self._took:
            give_back()
        self._took.clear()
        self._proxy.told -= self._told
        self._told = False

    def _announce(self) -> None:
        """This connection is over a cap, and is to be told so. Raises TurnedAway when too many are being told."""
        if self._proxy.told >= MOST_TOLD:
            raise TurnedAway("limited", "over a cap, like many others now")
        self._proxy.counters.refused[self._listener, "limited"] += 1
        self._proxy.told += 1
        self._told = True
