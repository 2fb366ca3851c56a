"""From the first listening socket to the exit code: signals, reload, drain, and what is told about them.

Owns: the order in which everything begins and ends, the configuration in force, the read-only pages, the control
socket, and what systemd is told. Whoever carries the tunnels is a `Crew`, in this process or in others.
Invariants
* `ready` is logged once every listener accepts.
* A reload makes the new generation whole before anything of it serves; a bad one changes nothing.
* A drain ends within its grace; a second signal ends it at once.
"""

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import trio

from wsproxy.errors import BadUsage, WsproxyError
from wsproxy.gateway.endpoints import Endpoints
from wsproxy.gateway.extending import EventBook
from wsproxy.gateway.generation import Generation
from wsproxy.network.listen import ListeningSocket, open_listeners
from wsproxy.network.notify import Notifier
from wsproxy.network.transport import Transport
from wsproxy.service.alone import Alone
from wsproxy.service.control import Control
from wsproxy.service.cores import available_cores
from wsproxy.service.listeners import Change, Listeners
from wsproxy.service.orders import Answer, Order
from wsproxy.service.read_only import serve_pages
from wsproxy.service.worker import warn_exhausted
from wsproxy.settings.addresses import parse_address
from wsproxy.settings.tree import Settings, Shutdown
from wsproxy.telemetry import metrics
from wsproxy.telemetry.access_log import log_ready, set_up_logging
from wsproxy.telemetry.pages import Page, respond
from wsproxy.telemetry.snapshot import Snapshot, merge

_CONTROL_MODE = 0o600
_ENDING = (signal.SIGTERM, signal.SIGINT)

_LOGGER = logging.getLogger("wsproxy")

ReadSettings = Callable[[], Settings]
"""Reads the configuration anew, wherever it came from. Raises BadUsage."""


def run(settings: Settings, read_settings: ReadSettings) -> None:
    """Serve until TERM or INT, and through the drain that follows.

    :param read_settings: for a reload.
    :raises CannotStart: an address cannot be listened on, or a file that the settings name cannot be used.
    :raises BadUsage: an engine that the settings name is not installed.
    """
    set_up_logging(settings.log)
    workers = available_cores() if settings.workers == "auto" else settings.workers
    listeners = Listeners(0 if workers == 1 else workers)
    trio.run(Lifecycle(settings, read_settings, listeners, _crew(listeners, workers)).run)


def _crew(listeners: Listeners, workers: int) -> "Crew":
    if workers == 1:
        return Alone(listeners)
    # A sidecar is one process, and does not load what it takes to keep several.
    from wsproxy.service.supervisor import Supervisor

    return Supervisor(listeners, workers)


class Crew(Protocol):
    """Those who serve: this process alone (`alone.Alone`), or several (`supervisor.Supervisor`)."""

    async def run(self, generation: Generation, change: Change, task_status: trio.TaskStatus[None]) -> None:
        """Serve by the first generation until cancelled; started once every listener accepts. Raises CannotStart."""

    async def adopt(self, generation: Generation, change: Change) -> None:
        """Serve newcomers by another generation. Raises CannotStart, and then everything is as before."""

    @property
    def serving(self) -> bool:
        """Somebody accepts and answers."""

    async def ask(self, order: Order) -> list[Answer]:
        """The answers of all that serve and give one in time."""

    async def snapshot(self) -> Snapshot:
        """What all counted, those included that serve no more."""

    async def drain(self, shutdown: Shutdown) -> None:
        """Close every tunnel; returns once the last session is over, at the latest after the grace."""

    async def stop(self) -> None:
        """End at once what `run`'s cancellation does not end."""


class Lifecycle:
    """One run of the service.

    :ivar settings: the configuration in force.
    """

    def __init__(self, settings: Settings, read_settings: ReadSettings, listeners: Listeners, crew: Crew) -> None:
        self.settings = settings
        self._read_settings = read_settings
        self._listeners = listeners
        self._crew = crew
        self._known = Endpoints()
        self._book = EventBook()
        self._notifier = Notifier(os.environ, os.getpid())
        self._ready = False
        self._reloads = {"success": 0, "failure": 0}
        self._last_reload_successful = True
        self._reloading = False
        self._reload_wanted = False
        self._told_to_end = trio.Event()
        self._told_to_stop = trio.Event()

    async def run(self) -> None:
        """Serve until told to end, and through the drain that follows. Raises CannotStart and BadUsage."""
        try:
            await self._run()
        except BaseExceptionGroup as group:
            if isinstance(cause := _only(group), WsproxyError):
                raise cause from None
            raise

    async def _run(self) -> None:
        generation = Generation(self.settings, self._known, self._book)
        with ExitStack() as stack:
            signals = stack.enter_context(_signals())
            pages = await _open(self.settings.metrics.listen, stack)
            control = await _open(
                f"unix:{path}" if (path := self.settings.control.socket) else "", stack, _CONTROL_MODE
            )
            change = await self._listeners.change(self.settings.listeners)
            stack.callback(self._listeners.close)
            stack.callback(self._listeners.abandon, change)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed, signals, nursery)
                await nursery.start(self._crew.run, generation, change)
                for sock in pages:
                    nursery.start_soon(_accept, sock, self._serve_pages)
                answers = Control(self._crew, lambda: self.settings, self._told_to_end.set)
                for sock in control:
                    nursery.start_soon(_accept, sock, answers.serve)
                nursery.start_soon(self._tell_alive)
                self._ready = True
                log_ready(self._listeners.addresses(), ",".join(sock.address for sock in pages) or None)
                self._notifier.ready()
                nursery.start_soon(self._reload_while_wanted)
                await self._told_to_end.wait()
                await self._end()
                nursery.cancel_scope.cancel()

    async def _end(self) -> None:
        self._ready = False
        self._notifier.stopping()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain, nursery.cancel_scope)
            await self._told_to_stop.wait()
            await self._crew.stop()
            nursery.cancel_scope.cancel()

    async def _drain(self, over: trio.CancelScope) -> None:
        await self._crew.drain(self.settings.shutdown)
        over.cancel()

    # --- signals

    async def _heed(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._begin_reload(nursery)
            elif self._told_to_end.is_set():
                self._told_to_stop.set()
            else:
                self._told_to_end.set()

    async def _tell_alive(self) -> None:
        while self._notifier.watchdog_seconds:
            self._notifier.alive()
            await trio.sleep(self._notifier.watchdog_seconds)

    # --- reload

    def _begin_reload(self, nursery: trio.Nursery) -> None:
        """As after HUP. During a reload or the start, one more follows; during a drain, there is none."""
        self._reload_wanted = True
        if self._ready:
            nursery.start_soon(self._reload_while_wanted)

    async def _reload_while_wanted(self) -> None:
        if self._reloading:
            return
        self._reloading = True
        while self._reload_wanted and self._ready:
            self._reload_wanted = False
            await self._reload()
        self._reloading = False

    async def _reload(self) -> None:
        self._notifier.reloading()
        try:
            # A disk that does not answer must not hold up the end.
            settings = await trio.to_thread.run_sync(self._read_settings, abandon_on_cancel=True)
            generation = await trio.to_thread.run_sync(
                Generation, settings, self._known, self._book, abandon_on_cancel=True
            )
            change = await self._listeners.change(settings.listeners)
            try:
                await self._crew.adopt(generation, change)
            except BaseException:
                self._listeners.abandon(change)
                raise
        except WsproxyError as error:
            self._reloaded(successful=False)
            problems = error.problems if isinstance(error, BadUsage) else [str(error)]
            _LOGGER.error("reload refused", extra={"fields": {"problems": problems}})
        except Exception:
            # A fault of ours: the configuration in force goes on.
            self._reloaded(successful=False)
            _LOGGER.exception("reload refused")
        else:
            self._reloaded(successful=True)
            former, self.settings = self.settings, settings
            set_up_logging(settings.log)
            _LOGGER.info("reloaded", extra={"fields": {"listen": self._listeners.addresses()}})
            if waiting := _waiting_for_restart(former, settings):
                _LOGGER.warning("a restart is needed", extra={"fields": {"settings": waiting}})
        finally:
            self._notifier.ready()

    def _reloaded(self, *, successful: bool) -> None:
        self._reloads["success" if successful else "failure"] += 1
        self._last_reload_successful = successful

    # --- pages

    async def _serve_pages(self, transport: Transport) -> None:
        await serve_pages(transport, self._page)

    async def _page(self, method: bytes, target: bytes, accept: bytes) -> Page:
        ready = self._ready and self._crew.serving
        return await respond(method, target, accept, self._snapshot, trio.lowlevel.checkpoint, ready)

    async def _snapshot(self) -> Snapshot:
        own = Snapshot()
        for result, times in self._reloads.items():
            own.add(metrics.RELOADS, (result,), times)
        own.add(metrics.LAST_RELOAD_SUCCESSFUL, (), self._last_reload_successful)
        return merge([await self._crew.snapshot(), own])


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The one exception in nested groups, if it is only one."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error


def _waiting_for_restart(former: Settings, settings: Settings) -> list[str]:
    """What changed in the file and cannot change in a process that runs."""
    pairs = {
        "workers": (former.workers, settings.workers),
        "metrics.listen": (former.metrics.listen, settings.metrics.listen),
        "control.socket": (former.control.socket, settings.control.socket),
    }
    return [name for name, (old, new) in pairs.items() if old != new]


async def _open(address: str, stack: ExitStack, unix_mode: int = 0o660) -> list[ListeningSocket]:
    sockets = await open_listeners(parse_address(address), unix_mode) if address else []
    for sock in sockets:
        stack.callback(sock.close)
    return sockets


async def _accept(sock: ListeningSocket, serve: Callable[[Transport], Awaitable[None]]) -> None:
    """Accept for ever; each connection is a task of its own."""
    async with trio.open_nursery() as nursery:
        while True:
            for transport in await sock.accept_some(warn_exhausted):
                nursery.start_soon(_serve_one, serve, transport)


async def _serve_one(serve: Callable[[Transport], Awaitable[None]], transport: Transport) -> None:
    try:
        await serve(transport)
    except Exception:
        # A fault of ours: it ends this page or this command, and no tunnel.
        _LOGGER.exception("answering failed")
        transport.close()


@contextmanager
def _signals() -> Iterator[AsyncIterator[int]]:
    """TERM, INT and HUP as they come; afterwards they are ignored, so that a late one does not spoil the exit code."""
    heeded = (*_ENDING, signal.SIGHUP)
    # The receiver puts back what it found. Blocked meanwhile, a signal waits instead of being ignored.
    signal.pthread_sigmask(signal.SIG_BLOCK, heeded)
    try:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        with trio.open_signal_receiver(*heeded) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
            yield signals
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
