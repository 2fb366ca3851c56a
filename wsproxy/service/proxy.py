"""What all sessions of one worker share.

Owns: the generation in force, the counters, the switchboard, the set of live tunnels, and whether a drain has begun.
Opens nothing.
"""

import trio

from wsproxy.gateway.generation import Generation
from wsproxy.network.switchboard import Switchboard, Tunnel
from wsproxy.telemetry.counters import Counters


class Proxy:
    """One worker's shared state.

    :ivar draining: newcomers are turned away and connections are not kept for another request.
    :ivar idle: cancelled when a drain begins: the waits of sessions that have nothing under way.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.counters = Counters(generation.settings, [group.pool for group in generation.groups.values()])
        self.switchboard = Switchboard()
        self.tunnels: set[Tunnel] = set()
        self.draining = False
        self.idle: set[trio.CancelScope] = set()
        self._sessions = 0
        self._empty = trio.Event()

    def begin_drain(self) -> None:
        """Turn newcomers away from now on, and end the sessions that only wait."""
        self.draining = True
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
