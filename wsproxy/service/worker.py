"""A worker: it accepts on the sockets that it was given, and carries the tunnels.

Owns: the nurseries of sessions and of the switchboard, the accept loops, the closing of many tunnels over a time, the
drain. Knows no signals, no files and no other worker: `lifecycle` or `child` tell it what to do.
Invariants: taking on another generation ends no session; a drain ends within its grace, whatever sessions do.
"""

import gc
import logging
import random
from collections.abc import Iterable, Mapping
from typing import assert_never

import trio

from wsproxy.errors import ConnectionLost
from wsproxy.gateway.endpoints import Instance
from wsproxy.gateway.generation import Generation
from wsproxy.network.listen import ListeningSocket
from wsproxy.service.heap import trim_heap
from wsproxy.service.live import LiveTunnel
from wsproxy.service.orders import Answer, CloseTunnels, CountTunnels, DrainEndpoint, ListTunnels, Order, TakeSnapshot
from wsproxy.service.proxy import Proxy
from wsproxy.service.session import run_session
from wsproxy.service.upkeep import look_after
from wsproxy.settings.tree import Shutdown
from wsproxy.telemetry.snapshot import Snapshot

LISTED_A_SLICE = 100
"""Tunnels that are listed between two pauses in which tunnels go on: some milliseconds."""
CUT_SECONDS = 10.0
"""From an order to close a tunnel to its end, whatever the tunnel does."""
_YOUNG_OBJECTS = 10_000
"""How many objects come before the collector looks among them. With Python's 700, collecting took a twelfth of the time
of a worker that opened and closed tunnels."""
_AGING_SECONDS = 1.0
DOWN_CODE = 1001
"""For the tunnels of an endpoint that went down."""

_LOGGER = logging.getLogger("wsproxy")


class Worker:
    """Everything that one process needs to serve."""

    def __init__(self, generation: Generation, place: int = 0, serial: int = 1) -> None:
        """:param place: which worker of several this is; a successor takes the same.
        :param serial: how many workers there have been with this one; the first half of its tunnels' ids.
        """
        self.proxy = Proxy(generation, place, serial)
        self._sockets: dict[int, ListeningSocket] = {}
        self._serves: Mapping[int, str] = {}
        self._nursery: trio.Nursery | None = None
        self._counting = trio.Lock()
        self._looking_after = trio.CancelScope()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; what tunnels stand then are cut off."""
        _rest_collector()
        try:
            async with trio.open_nursery() as board:
                board.start_soon(self.proxy.switchboard.serve)
                board.start_soon(self.proxy.switchboard.sweep, trim_heap)
                board.start_soon(self.proxy.departures.serve)
                board.start_soon(self._age_caches)
                board.start_soon(self._look_after_pools)
                async with trio.open_nursery() as self._nursery:
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self.close_listeners()
            self.proxy.switchboard.close()
            self.proxy.departures.close()

    def adopt(self, generation: Generation, serves: Mapping[int, str], fresh: Mapping[int, ListeningSocket]) -> None:
        """Serve newcomers by ``generation`` from now on, those on socket ``n`` as listener ``serves[n]`` says.

        :param fresh: sockets to begin to accept on; those that ``serves`` does not have are closed.
        """
        assert self._nursery is not None
        self.proxy.adopt(generation)
        self._looking_after.cancel()
        self._serves = serves
        for number in [each for each in self._sockets if each not in serves]:
            self._sockets.pop(number).close()
        for number, sock in fresh.items():
            self._sockets[number] = sock
            self._nursery.start_soon(self._accept, number, sock, self._nursery)

    def close_listeners(self) -> None:
        """Accept nobody any more."""
        while self._sockets:
            self._sockets.popitem()[1].close()

    async def _accept(self, number: int, sock: ListeningSocket, sessions: trio.Nursery) -> None:
        """Accept until the socket is closed; each connection is a task of its own, which does not end with this."""
        try:
            while True:
                for transport in await sock.accept_some(warn_exhausted):
                    sessions.start_soon(run_session, self.proxy, self._serves[number], transport)
        except ConnectionLost:
            return

    async def _age_caches(self) -> None:
        while True:
            self.proxy.codecs.age(trio.current_time())
            await trio.sleep(_AGING_SECONDS)

    async def _look_after_pools(self) -> None:
        """Those of the generation in force; each adopted one begins anew."""
        while True:
            with self._looking_after:
                await look_after(self.proxy.generation, self._close_tunnels_of)
            self._looking_after = trio.CancelScope()

    def _close_tunnels_of(self, instance: Instance) -> None:
        """Close the tunnels to an instance that went down."""
        assert self._nursery is not None
        chosen = self.proxy.tunnels.at(instance)
        self._nursery.start_soon(self._close_for_sure, chosen, DOWN_CODE, 0.0)

    # --- questions and orders

    async def obey(self, order: Order) -> Answer:
        """Do what is asked; closing goes on afterwards."""
        proxy = self.proxy
        match order:
            case TakeSnapshot():
                return await self.snapshot()
            case CountTunnels():
                return len(proxy.tunnels)
            case ListTunnels():
                facts = []
                for number, each in enumerate(proxy.tunnels.facts(trio.current_time())):
                    facts.append(each)
                    if number % LISTED_A_SLICE == 0:
                        await trio.lowlevel.checkpoint()  # ten thousand take a while, and tunnels go on
                return facts
            case CloseTunnels():
                chosen = proxy.tunnels.chosen(order.tunnel, order.endpoint)
                assert self._nursery is not None
                self._nursery.start_soon(self._close_for_sure, chosen, order.code, order.spread_seconds)
                return len(chosen)
            case DrainEndpoint():
                proxy.drain_endpoint(order.endpoint, order.draining)
                return True
            case _:
                assert_never(order)

    async def snapshot(self) -> Snapshot:
        """What is counted now. One after the other, so that a later answer never counts less."""
        async with self._counting:
            return await self.proxy.counters.snapshot(trio.lowlevel.checkpoint)

    async def _close_for_sure(self, tunnels: list[LiveTunnel], code: int, spread_seconds: float) -> None:
        await self._close_spread(tunnels, code, spread_seconds)
        await trio.sleep(CUT_SECONDS)
        self._cut(tunnels, code)

    async def _close_spread(self, tunnels: Iterable[LiveTunnel], code: int, spread_seconds: float) -> None:
        """Begin to close the tunnels one after the other, in any order, evenly over the time."""
        order = list(tunnels)
        random.shuffle(order)
        started = trio.current_time()
        for number, live in enumerate(order):
            await trio.sleep_until(started + spread_seconds * number / len(order))
            self.proxy.switchboard.drain(live.tunnel, code)

    def _cut(self, tunnels: Iterable[LiveTunnel], code: int) -> None:
        for live in tunnels:
            self.proxy.switchboard.cut(live.tunnel, code)

    async def drain(self, shutdown: Shutdown) -> None:
        """Turn newcomers away, close every tunnel and wait for the last session; after the grace, cut what is left."""
        self.proxy.begin_drain(shutdown.close_code)
        with trio.move_on_after(shutdown.grace_seconds):
            spread = min(shutdown.close_spread_seconds, shutdown.grace_seconds)
            await self._close_spread(self.proxy.tunnels, shutdown.close_code, spread)
            await self.proxy.last_session_over()
        self._cut(self.proxy.tunnels, shutdown.close_code)


def warn_exhausted(error: OSError) -> None:
    _LOGGER.warning("accepting pauses", extra={"fields": {"reason": str(error)}})


def _rest_collector() -> None:
    """Let the garbage collector look less often, and never among what is there now and stays.

    Sessions free what they made by counting references; the few cycles among it may wait a little.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
