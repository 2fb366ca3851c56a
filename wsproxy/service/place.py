"""One worker's place at the supervisor: the process that holds it now, and what is known of it.

Owns: the process and the channel to it, from start to end. Must never decide whether another one follows.
Invariants
* A worker that does not answer holds up nobody longer than the asker's deadline.
* What a worker last told of its counters is known after its end.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import trio

from wsproxy.errors import CannotStart, ConnectionLost
from wsproxy.network.channel import Channel, make_channel
from wsproxy.network.listen import ListeningSocket
from wsproxy.service.messages import Ask, Farewell, Prepare, Reply
from wsproxy.service.orders import Answer, Order
from wsproxy.telemetry import metrics
from wsproxy.telemetry.snapshot import Snapshot

_UNSENT_MESSAGES = 64
"""A worker that has so many messages waiting does not read: it is asked nothing more."""
_EXIT_SECONDS = 5.0
"""From the end of a worker's channel to the end of its process."""
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class _Question:
    answered: trio.Event = field(default_factory=trio.Event)
    answer: Answer | str | None = None


class Place:
    """A place that one worker after the other takes.

    :ivar index: 0, 1, ...: the ``worker`` label and the slot of its listening sockets.
    :ivar last: what its worker has told last; empty before that.
    :ivar tunnels: how many tunnels it told of last.
    :ivar heard: when it last answered anything, on trio's clock.
    :ivar restarts: workers that were started here after the first.
    :ivar silent: it has not answered for long.
    :ivar unheard: watches in a row without a word from it.
    :ivar serving: it has taken on a generation and lives.
    :ivar exit_code: of the last worker, negative for a signal; None while one is there.
    :ivar vacant: set while none is there.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.last = Snapshot()
        self.tunnels = 0
        self.restarts = 0
        self.heard = 0.0
        self.serving = False
        self.silent = False
        self.unheard = 0
        self.exit_code: int | None = None
        self.vacant = trio.Event()
        self.vacant.set()
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def occupy(self, serial: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start a worker and listen to it until it ends; it counts as started once it can be posted to.

        :raises CannotStart: the system lets no process be started.
        """
        self.exit_code = None
        self.last, self.tunnels, self.unheard, self.heard = Snapshot(), 0, 0, trio.current_time()
        self.vacant = trio.Event()
        try:
            self._channel, theirs = make_channel()
            try:
                self._process = _start(theirs, self.index, serial)
            finally:
                os.close(theirs)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, self._channel)
                task_status.started()
                await self._listen(self._channel)
                nursery.cancel_scope.cancel()
            await self._ended(self._process)
        finally:
            self._leave()

    async def _write(self, channel: Channel) -> None:
        try:
            await channel.write()
        except ConnectionLost:
            return  # reading meets the same end

    async def _listen(self, channel: Channel) -> None:
        try:
            while True:
                message, _ = await channel.receive()
                self.heard = trio.current_time()
                match message:
                    case Reply(number, answer):
                        if isinstance(answer, Snapshot):
                            self.last = answer
                            self.tunnels = int(sum(answer.series(metrics.TUNNELS_ACTIVE).values()))
                        question = self._questions.pop(number, None)
                        if question is not None:
                            question.answer = answer
                            question.answered.set()
                    case Farewell(snapshot):
                        self.last = snapshot
        except ConnectionLost:
            self.serving = False

    async def _ended(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            await trio.to_thread.run_sync(process.wait, _EXIT_SECONDS, abandon_on_cancel=True)

    def _leave(self) -> None:
        self.serving = self.silent = False
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()  # does nothing to one that has ended
            self.exit_code = self._process.wait()
        self.vacant.set()
        self._channel = self._process = None
        for question in self._questions.values():
            question.answered.set()
        self._questions.clear()

    def kill(self) -> None:
        """End its process, if it is still there, without asking it."""
        if self._process is not None:
            self._process.kill()

    def tell(self, message: object) -> None:
        """Post a message, if somebody is there."""
        if self._channel is not None:
            self._channel.post(message)

    async def ask(
        self, order: Order | Prepare, seconds: float, sockets: Iterable[ListeningSocket] = ()
    ) -> Answer | str | None:
        """The answer; None if there is none in time."""
        if self._channel is None or self._channel.unsent > _UNSENT_MESSAGES:
            return None
        number = next(self._numbers)
        question = self._questions[number] = _Question()
        self._channel.post(Ask(number, order), [sock.fileno() for sock in sockets])
        with trio.move_on_after(seconds):
            await question.answered.wait()
        self._questions.pop(number, None)
        return question.answer


def _start(channel: int, place: int, serial: int) -> subprocess.Popen[bytes]:
    """A new interpreter with this one's import path: not a fork, because trio, its descriptors and threads are here."""
    program = f"import sys; sys.path[:] = {sys.path!r}; from wsproxy.service.child import run"
    command = [sys.executable, "-P", "-c", f"{program}; run({channel}, {place}, {serial})"]
    # A signal to the whole group must not end it before it can say that it ignores it (`child`).
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[channel])
    except OSError as error:
        raise CannotStart(f"cannot start a worker: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
