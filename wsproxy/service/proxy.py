"""What all sessions of one worker share.

Owns: the generation in force, the counters, the switchboard, the watch over clients that wait, the set of live tunnels,
and whether a drain has begun. Opens nothing.
"""

import trio

from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.base import FAULT
from wsproxy.gateway.admission import Admission
from wsproxy.gateway.generation import Generation
from wsproxy.gateway.pools import Pool
from wsproxy.network.departures import Departures
from wsproxy.network.switchboard import Switchboard
from wsproxy.service.codecs import Codecs
from wsproxy.service.live import LiveTunnels
from wsproxy.telemetry.access_log import log_extension_failed
from wsproxy.telemetry.counters import Counters


class Proxy:
    """One worker's shared state.

    :ivar generation: whoever needs several things of it takes it once: the next one may come between two of them.
    :ivar draining: newcomers are turned away and connections are not kept for another request.
    :ivar close_code: what a drain tells clients, also those whose tunnels begin after it has.
    :ivar admission: who is in; outlives a reload.
    :ivar told: connections over a cap that are being told so.
    :ivar idle: cancelled when a drain begins: the waits of sessions that have nothing under way.
    """

    def __init__(self, generation: Generation, place: int = 0, serial: int = 1) -> None:
        self.generation = generation
        self.counters = Counters(generation.settings, _pools(generation), str(place))
        self.codecs = Codecs(generation.settings)
        self.counters.caches = self.codecs.caches
        self.counters.codec_memory_reserved = lambda: self.codecs.reserved
        self.counters.extension_events = generation.book.told
        self.switchboard = Switchboard()
        self.departures = Departures()
        self.tunnels = LiveTunnels(str(serial))
        self.draining = False
        self.close_code = generation.settings.shutdown.close_code
        self.idle: set[trio.CancelScope] = set()
        self.admission = Admission()
        self.told = 0
        self._sessions = 0
        self._empty = trio.Event()

    def adopt(self, generation: Generation) -> None:
        """Serve newcomers by ``generation``; what is under way keeps the one it began with."""
        self.generation = generation
        self.codecs.adopt(generation.settings)
        self.counters.caches = self.codecs.caches
        self.counters.adopt(generation.settings, _pools(generation))

    def extension_failed(self, route: str, side: Side, fault: ExtensionFault, trace_id: str) -> None:
        """Count and log that an extension of that route's leg broke its contract."""
        self.generation.book.of(route, side, fault.extension).add(FAULT)
        log_extension_failed(route, side.label, fault, trace_id)

    def drain_endpoint(self, url: str, draining: bool) -> None:
        """Open no connection to the endpoint any more, or do so again."""
        if draining:
            self.generation.known.draining.add(url)
        else:
            self.generation.known.draining.discard(url)

    def is_draining(self, endpoint: str) -> bool:
        """Tunnels to this endpoint's URL are being closed, by a drain of it or of everything."""
        return self.draining or endpoint in self.generation.known.draining

    def begin_drain(self, close_code: int) -> None:
        """Turn newcomers away from now on, and end the sessions that only wait."""
        self.draining = self.counters.draining = True
        self.close_code = close_code
        for scope in self.idle:
            scope.cancel()
        if not self._sessions:
            self._empty.set()

    def session_begins(self, listener: str) -> bool:
        """Count a session; True if a drain waits for its end, which it does not for one that came during the drain."""
        self.counters.sessions_active[listener] += 1
        self._sessions += not self.draining
        return not self.draining

    def session_ends(self, listener: str, awaited: bool) -> None:
        """Count the end of a session; ``awaited`` is what its beginning returned."""
        self._sessions -= awaited
        self.counters.sessions_active[listener] -= 1
        if self.draining and not self._sessions:
            self._empty.set()

    async def last_session_over(self) -> None:
        """Wait, while draining, until no session is left."""
        await self._empty.wait()


def _pools(generation: Generation) -> list[Pool]:
    return [group.pool for group in generation.groups.values()]
