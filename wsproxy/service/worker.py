"""One worker process: listeners, sessions, the switchboard, the read-only pages, signals and the drain.

Owns: the order in which these begin and end, and the nurseries that they live in.
Invariants: `ready` is logged once every listener accepts; a drain ends within its grace, whatever sessions do.
"""

import logging
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import trio

from wsproxy.gateway.generation import Generation
from wsproxy.network.listen import ListeningSocket, open_listeners
from wsproxy.network.transport import Transport
from wsproxy.service.proxy import Proxy
from wsproxy.service.read_only import serve_pages
from wsproxy.service.session import run_session
from wsproxy.settings.addresses import parse_address
from wsproxy.settings.tree import Settings
from wsproxy.telemetry.access_log import log_ready, set_up_logging
from wsproxy.telemetry.pages import Page, respond
from wsproxy.telemetry.snapshot import Snapshot

_LOGGER = logging.getLogger("wsproxy")


def run(settings: Settings) -> None:
    """Serve until TERM or INT, and through the drain that follows.

    :raises CannotStart: an address cannot be listened on, or a file that the settings name cannot be used.
    :raises BadUsage: an engine that the settings name is not installed.
    """
    set_up_logging(settings.log.format, settings.log.level)
    trio.run(_Worker(Generation(settings)).run)


class _Worker:
    def __init__(self, generation: Generation) -> None:
        self._settings = generation.settings
        self._proxy = Proxy(generation)
        self._listeners: list[tuple[str, ListeningSocket]] = []
        self._pages: list[ListeningSocket] = []
        self._ready = False

    async def run(self) -> None:
        with ExitStack() as stack:
            signals = stack.enter_context(_ending_signals())
            stack.callback(self._proxy.switchboard.close)
            await self._open_listeners(stack)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._proxy.switchboard.serve)
                nursery.start_soon(self._proxy.switchboard.sweep)
                for sock in self._pages:
                    nursery.start_soon(self._accept, sock, self._serve_pages)
                await self._serve_sessions(signals)
                nursery.cancel_scope.cancel()

    async def _open_listeners(self, stack: ExitStack) -> None:
        for listener in self._settings.listeners:
            for sock in await open_listeners(parse_address(listener.bind), listener.unix_mode):
                stack.callback(sock.close)
                self._listeners.append((listener.name, sock))
        if self._settings.metrics.listen:
            for sock in await open_listeners(parse_address(self._settings.metrics.listen)):
                stack.callback(sock.close)
                self._pages.append(sock)

    async def _serve_sessions(self, signals: AsyncIterator[int]) -> None:
        async with trio.open_nursery() as nursery:
            for name, sock in self._listeners:
                nursery.start_soon(self._accept, sock, partial(run_session, self._proxy, name))
            self._ready = True
            metrics = ",".join(sock.address for sock in self._pages)
            log_ready([sock.address for _, sock in self._listeners], metrics or None)
            await anext(signals)
            self._ready = False
            self._proxy.begin_drain()
            async with trio.open_nursery() as draining:
                draining.start_soon(self._drain, draining.cancel_scope)
                await anext(signals)
                draining.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    async def _accept(self, sock: ListeningSocket, serve: Callable[[Transport], Awaitable[None]]) -> None:
        """Accept for ever; each connection is a task of its own."""
        async with trio.open_nursery() as nursery:
            while True:
                for transport in await sock.accept_some(_warn_exhausted):
                    nursery.start_soon(serve, transport)

    async def _serve_pages(self, transport: Transport) -> None:
        await serve_pages(transport, self._page)

    async def _page(self, method: bytes, target: bytes, accept: bytes) -> Page:
        return await respond(method, target, accept, self._take, trio.lowlevel.checkpoint, self._ready)

    async def _take(self) -> Snapshot:
        return await self._proxy.counters.snapshot(trio.lowlevel.checkpoint)

    async def _drain(self, over: trio.CancelScope) -> None:
        """Close the tunnels one after the other, and wait for the last session; then, or after the grace, end it."""
        shutdown = self._settings.shutdown
        with trio.move_on_after(shutdown.grace_seconds):
            tunnels = list(self._proxy.tunnels)
            random.shuffle(tunnels)
            spread = min(shutdown.close_spread_seconds, shutdown.grace_seconds)
            started = trio.current_time()
            for number, tunnel in enumerate(tunnels):
                await trio.sleep_until(started + spread * number / len(tunnels))
                self._proxy.switchboard.drain(tunnel, shutdown.close_code)
            await self._proxy.last_session_over()
        for tunnel in list(self._proxy.tunnels):
            self._proxy.switchboard.cut(tunnel, shutdown.close_code)
        over.cancel()


@contextmanager
def _ending_signals() -> Iterator[AsyncIterator[int]]:
    """TERM and INT as they come; afterwards they are ignored, so that a late one does not spoil the exit code."""
    ending = (signal.SIGTERM, signal.SIGINT)
    # The receiver puts back what it found. Blocked meanwhile, a signal waits instead of being ignored.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        with trio.open_signal_receiver(*ending) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
            yield signals
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)


def _warn_exhausted(error: OSError) -> None:
    _LOGGER.warning("accepting pauses", extra={"fields": {"reason": str(error)}})
