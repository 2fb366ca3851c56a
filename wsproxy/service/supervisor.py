"""Several workers, each in a process of its own, and the process that keeps them.

Owns: which places there are, the restarts, the sum of what dead workers counted, and the shares of new connections.
The listening sockets stay here: connections that wait in a dead worker's queue are its successor's.
Must never touch a client's connection.
Invariants
* A counter never falls: what a dead worker last told stays in the sum.
* Either every living worker takes on a new generation, or none does.
* Nothing waits for a worker without a deadline.
"""

import logging
import signal
from itertools import count

import trio

from wsproxy.errors import CannotStart
from wsproxy.gateway.generation import Generation
from wsproxy.network.listen import share_out
from wsproxy.service.listeners import Change, Listeners
from wsproxy.service.messages import Abandon, Ask, Commit, Drain, Prepare, Stop
from wsproxy.service.orders import Answer, CountTunnels, DrainEndpoint, ListTunnels, Order, TakeSnapshot
from wsproxy.service.place import Place
from wsproxy.settings.tree import Settings, Shutdown
from wsproxy.telemetry import metrics
from wsproxy.telemetry.snapshot import Snapshot, merge

ANSWER_SECONDS = 1.0
"""For a scrape and for orders: then a worker's last answer counts, or it has none."""
LIST_SECONDS = 10.0
"""For a list of ten thousand tunnels, made between the turns of a busy worker."""
PREPARE_SECONDS = 30.0
"""To read certificates and to make a generation of them."""
WATCH_SECONDS = 0.5
SNAPSHOT_EVERY = 10
"""Watches between two snapshots that nobody asked for: what a killed worker counted since the last one is lost."""
SILENT_SECONDS = 3.0
"""A worker that has not answered for so long gets no newcomers."""
HUNG_WATCHES = 20
"""A worker that has given no sign of life at so many watches in a row, a second each, is killed and started again. They
are counted and not timed: after a pause of the whole machine nobody is taken for dead."""
BACKOFF_SECONDS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before the first, second ... restart of a worker that did not live for `STEADY_SECONDS`."""
STEADY_SECONDS = 10.0
STOP_SECONDS = 2.0
_MOST_UNEVEN = 4.0
"""An empty worker gets this many times the share of the fullest one at most: handshakes cost too."""

_LOGGER = logging.getLogger("wsproxy")


class Supervisor:
    """The crew of several processes (see `lifecycle.Crew`)."""

    def __init__(self, listeners: Listeners, workers: int) -> None:
        self._listeners = listeners
        self._places = [Place(index) for index in range(workers)]
        self._serials = count(1)
        self._settings: Settings | None = None
        self._draining: frozenset[str] = frozenset()
        self._retired = Snapshot()
        self._shares: list[float] = []
        self._changing = trio.Lock()
        self._ending = trio.Event()
        self._failure: CannotStart | None = None

    async def run(
        self, generation: Generation, change: Change, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the workers until cancelled. Raises CannotStart if one cannot begin at all."""
        self._settings = generation.settings
        self._listeners.commit(change)
        async with trio.open_nursery() as nursery:
            begun = [trio.Event() for _ in self._places]
            for place, event in zip(self._places, begun, strict=True):
                nursery.start_soon(self._keep, place, next(self._serials), event)
            for event in begun:
                await event.wait()
            if self._failure is not None:
                nursery.cancel_scope.cancel()
            else:
                nursery.start_soon(self._watch)
                task_status.started()
        if self._failure is not None:
            raise self._failure

    # --- one place

    async def _keep(self, place: Place, serial: int, begun: trio.Event) -> None:
        """Have a worker at this place until the end."""
        failures = 0
        while not self._ending.is_set():
            started = trio.current_time()
            problem = await self._one_life(place, serial, begun)
            serial = next(self._serials)
            self._retired = merge([self._retired, place.last.final()])
            place.last, place.tunnels = Snapshot(), 0
            self._share_out()
            if not begun.is_set():
                self._failure = CannotStart(f"worker {place.index}: {problem}")
                begun.set()
                return
            if self._ending.is_set():
                return
            failures = 0 if trio.current_time() - started >= STEADY_SECONDS else failures + 1
            delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            place.restarts += 1
            told = {"worker": place.index, "reason": problem, "restart_in_seconds": delay}
            _LOGGER.error("worker ended", extra={"fields": told})
            with trio.move_on_after(delay):
                await self._ending.wait()

    async def _one_life(self, place: Place, serial: int, begun: trio.Event) -> str:
        """A worker from start to end; gives why it ended."""
        problem = ""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(place.occupy, serial)
                problem = await self._bring_up(place)
                if problem:
                    await self._end(place)
                else:
                    self._share_out()
                    begun.set()
        except* CannotStart as group:
            problem = str(group.exceptions[0])
        return problem or _how(place.exit_code)

    async def _end(self, place: Place) -> None:
        place.tell(Stop())
        with trio.move_on_after(STOP_SECONDS):
            await place.vacant.wait()
        place.kill()

    async def _bring_up(self, place: Place) -> str:
        """Let a new worker serve by the configuration in force; gives what is wrong, or an empty text."""
        async with self._changing:
            assert self._settings is not None
            sockets = {n: sock for n, sock in self._listeners.sockets.items() if sock.slot in (None, place.index)}
            prepare = Prepare(self._settings, tuple(sockets), self._draining)
            problem = await place.ask(prepare, PREPARE_SECONDS, sockets.values())
            if problem is None:
                return "" if place.exit_code is not None else "it did not begin in time"
            if problem == "":
                place.tell(Commit(self._listeners.serves))
                place.serving = True
                for endpoint in prepare.draining ^ self._draining:  # what was ordered meanwhile
                    place.tell(Ask(0, DrainEndpoint(endpoint, endpoint in self._draining)))
            if self._ending.is_set():
                place.tell(Stop())
            return str(problem)

    # --- reload

    async def adopt(self, generation: Generation, change: Change) -> None:
        """Let every worker serve newcomers by another generation. Raises CannotStart if one cannot: then none does."""
        async with self._changing:
            serving = [place for place in self._places if place.serving]
            problems: list[str] = []
            async with trio.open_nursery() as nursery:
                for place in serving:
                    nursery.start_soon(self._prepare, place, generation.settings, change, problems)
            if problems:
                for place in serving:
                    place.tell(Abandon())
                raise CannotStart("; ".join(problems))
            self._settings = generation.settings
            self._listeners.commit(change)
            for place in serving:
                # One that died meanwhile may have a successor, which has prepared nothing and waits for its turn.
                if place.serving:
                    place.tell(Commit(change.serves))
            self._shares = []  # new groups of sockets know of none
            self._share_out()

    async def _prepare(self, place: Place, settings: Settings, change: Change, problems: list[str]) -> None:
        sockets = {n: sock for n, sock in change.opened.items() if sock.slot in (None, place.index)}
        prepare = Prepare(settings, tuple(sockets), self._draining)
        problem = await place.ask(prepare, PREPARE_SECONDS, sockets.values())
        if problem is None and place.serving:
            problem = "it does not answer"
        if problem:
            problems.append(f"worker {place.index}: {problem}")

    # --- questions

    @property
    def serving(self) -> bool:
        return any(place.serving and not place.silent for place in self._places)

    async def ask(self, order: Order) -> list[Answer]:
        """The answers of those that give one in time."""
        if isinstance(order, DrainEndpoint):
            # Also for workers that are still to come.
            self._draining = self._draining | {order.endpoint} if order.draining else self._draining - {order.endpoint}
        answers: list[Answer] = []

        async def ask_one(place: Place) -> None:
            answer = await place.ask(order, LIST_SECONDS if isinstance(order, ListTunnels) else ANSWER_SECONDS)
            if answer is not None and not isinstance(answer, str):
                answers.append(answer)

        async with trio.open_nursery() as nursery:
            for place in self._places:
                if place.serving:
                    nursery.start_soon(ask_one, place)
        return answers

    async def snapshot(self) -> Snapshot:
        """What all workers counted, living and dead."""
        await self.ask(TakeSnapshot())
        self._share_out()
        own = Snapshot()
        for place in self._places:
            own.add(metrics.WORKER_RESTARTS, (str(place.index),), place.restarts)
        return merge([self._retired, *[place.last for place in self._places], own])

    async def _watch(self) -> None:
        """Know how full each worker is, what it counted, and whether it lives, for ever."""
        looked = trio.current_time()
        for number in count(1):
            await trio.sleep(WATCH_SECONDS)
            async with trio.open_nursery() as nursery:
                for place in self._places:
                    if place.serving:
                        nursery.start_soon(self._look_at, place, number % SNAPSHOT_EVERY == 0)
            for place in self._places:
                self._note_silence(place)
                self._end_hung(place, looked)
            looked = trio.current_time()
            self._share_out()

    async def _look_at(self, place: Place, closely: bool) -> None:
        tunnels = await place.ask(CountTunnels(), WATCH_SECONDS)
        if isinstance(tunnels, int):
            place.tunnels = tunnels
            if closely:
                await place.ask(TakeSnapshot(), WATCH_SECONDS)

    def _note_silence(self, place: Place) -> None:
        silent = place.serving and trio.current_time() - place.heard >= SILENT_SECONDS
        if silent != place.silent:
            place.silent = silent
            if place.serving:
                told = {"worker": place.index}
                _LOGGER.warning("worker does not answer" if silent else "worker answers again", extra={"fields": told})

    def _end_hung(self, place: Place, since: float) -> None:
        """Its tunnels carry nothing any more, and what waits in its queues is to get a successor."""
        place.unheard = place.unheard + 1 if place.serving and place.heard < since else 0
        if place.unheard == HUNG_WATCHES:
            _LOGGER.error("worker killed", extra={"fields": {"worker": place.index, "reason": "it does not answer"}})
            place.kill()

    def _share_out(self) -> None:
        """New connections go to workers that serve, more of them to those with fewer tunnels."""
        shares = shares_of([p.tunnels if p.serving and not p.silent else None for p in self._places])
        if shares != self._shares and len(shares) > 1:
            self._shares = shares
            share_out(list(self._listeners.sockets.values()), shares)

    # --- the end

    async def drain(self, shutdown: Shutdown) -> None:
        """Every worker drains; returns when the last has ended, or has been ended at the deadline."""
        self._ending.set()
        for place in self._places:
            place.tell(Drain(shutdown) if place.serving else Stop())
        await self._all_gone(shutdown.grace_seconds + STOP_SECONDS)

    async def stop(self) -> None:
        """End every worker at once."""
        self._ending.set()
        for place in self._places:
            place.tell(Stop())
        await self._all_gone(STOP_SECONDS)

    async def _all_gone(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            for place in self._places:
                await place.vacant.wait()


def shares_of(tunnels: list[int | None]) -> list[float]:
    """Each worker's share of new connections by the number of its tunnels; None for one that is to get none."""
    weights = [0.0 if each is None else 1 / (each + 4) for each in tunnels]
    most = max(weights)
    if not most:
        # Nobody can take them; they wait for whoever comes first.
        return [1.0] * len(tunnels)
    return [0.0 if not weight else max(weight, most / _MOST_UNEVEN) for weight in weights]


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
