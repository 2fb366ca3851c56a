"""One worker in a process of its own, led by the supervisor through a channel.

Owns: the loop over the supervisor's messages, and the end of the process.
Invariants
* Signals change nothing: a terminal and a service supervisor send them to every process, and the supervisor decides.
* Without a supervisor the worker gives up its listening sockets at once, drains and ends: a successor has the addresses
  to itself.
"""

import logging
import signal

import trio

from wsproxy.errors import ConnectionLost, WsproxyError
from wsproxy.gateway.endpoints import Endpoints
from wsproxy.gateway.extending import EventBook
from wsproxy.gateway.generation import Generation
from wsproxy.network.channel import Channel, channel_from
from wsproxy.network.listen import ListeningSocket, listener_from
from wsproxy.service.messages import Abandon, Ask, Commit, Drain, Farewell, Prepare, Reply, Stop
from wsproxy.service.worker import Worker
from wsproxy.settings.tree import Shutdown
from wsproxy.telemetry.access_log import set_up_logging

_LOGGER = logging.getLogger("wsproxy")

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(descriptor: int, place: int, serial: int) -> None:
    """Serve until the supervisor says otherwise or is gone.

    :param descriptor: of the channel's end.
    """
    # They were blocked when this process began; what came meanwhile is forgotten here.
    for each in IGNORED:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    trio.run(_Child(place, serial).run, descriptor)


class _Child:
    def __init__(self, place: int, serial: int) -> None:
        self._place = place
        self._serial = serial
        self._worker: Worker | None = None
        self._preparing = 0  # the number of the question
        self._prepared: tuple[Generation, dict[int, ListeningSocket]] | None = None
        self._known = Endpoints()
        self._book = EventBook()
        self._shutdown = Shutdown()
        self._draining = False

    async def run(self, descriptor: int) -> None:
        channel = channel_from(descriptor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, channel)
            try:
                while True:
                    message, descriptors = await channel.receive()
                    await self._take(message, descriptors, channel, nursery)
            except ConnectionLost:
                await self._orphaned()
            finally:
                self._abandon()
                channel.close()
            nursery.cancel_scope.cancel()

    async def _write(self, channel: Channel) -> None:
        try:
            await channel.write()
        except ConnectionLost:
            return  # reading meets the same end

    async def _take(self, message: object, descriptors: list[int], channel: Channel, nursery: trio.Nursery) -> None:
        match message:
            case Ask(number, Prepare() as prepare):
                self._abandon()
                self._preparing = number
                self._known.draining |= prepare.draining
                # Beside: a worker that waits for a disk is not to be taken for one that hangs.
                nursery.start_soon(self._prepare, number, prepare, descriptors, channel)
            case Ask():
                nursery.start_soon(self._answer, message, channel)
            case Commit():
                await self._commit(message, nursery)
            case Abandon():
                self._abandon()
            case Drain(shutdown):
                if not self._draining:
                    nursery.start_soon(self._drain, shutdown, channel, nursery.cancel_scope)
            case Stop():
                nursery.cancel_scope.cancel()

    async def _answer(self, ask: Ask, channel: Channel) -> None:
        if self._worker is not None and not isinstance(ask.question, Prepare):
            try:
                channel.post(Reply(ask.number, await self._worker.obey(ask.question)))
            except Exception:
                # A fault of ours: the question stays without an answer, and the tunnels go on.
                _LOGGER.exception("answering failed")

    async def _prepare(self, number: int, prepare: Prepare, descriptors: list[int], channel: Channel) -> None:
        """Make a generation and say what is wrong with it; nothing of it stays if another message came meanwhile."""
        sockets = {n: listener_from(each) for n, each in zip(prepare.fresh, descriptors, strict=True)}
        problem = "it took too long"
        try:
            generation = await trio.to_thread.run_sync(
                Generation, prepare.settings, self._known, self._book, abandon_on_cancel=True
            )
            if self._preparing == number:
                self._prepared, sockets, problem = (generation, sockets), {}, ""
        except WsproxyError as error:
            problem = str(error)
        except Exception as error:
            # A fault of ours: the generation in force goes on.
            _LOGGER.exception("preparing failed")
            problem = repr(error)
        finally:
            for sock in sockets.values():
                sock.close()
        channel.post(Reply(number, problem))

    async def _commit(self, commit: Commit, nursery: trio.Nursery) -> None:
        assert self._prepared is not None
        generation, sockets = self._prepared
        self._prepared = None
        set_up_logging(generation.settings.log)
        self._shutdown = generation.settings.shutdown
        if self._worker is None:
            self._worker = Worker(generation, self._place, self._serial)
            await nursery.start(self._worker.run)
        self._worker.adopt(generation, commit.serves, sockets)

    def _abandon(self) -> None:
        self._preparing = 0
        if self._prepared is not None:
            for sock in self._prepared[1].values():
                sock.close()
            self._prepared = None

    async def _drain(self, shutdown: Shutdown, channel: Channel, over: trio.CancelScope) -> None:
        self._draining = True
        if self._worker is not None:
            await self._worker.drain(shutdown)
            channel.post(Farewell(await self._worker.snapshot()))
            with trio.move_on_after(1):
                await channel.flush()
        over.cancel()

    async def _orphaned(self) -> None:
        self._abandon()
        if self._worker is not None:
            self._worker.close_listeners()
            await self._worker.drain(self._shutdown)
