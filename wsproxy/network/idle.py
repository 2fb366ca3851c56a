"""One wait for two loops: where trio would wait for I/O, the switchboard takes its turns.

A trio task that waits for the poller's descriptor pays, each time it wakes: an epoll_ctl to arm it, a second
epoll_wait, and a pass of the scheduler. Where messages come one by one, that was half of a message's whole cost (109
against 56 microseconds of CPU at 500 messages a second). So the poller watches trio's own epoll descriptor beside the
tunnels, and the waiting is done here, from the hook that trio calls before it waits.

Owns: that hook, and the only look behind trio's public interface: its epoll descriptor. Where that is not to be had
(another system, another trio), `trios_descriptor` says None, and the switchboard runs as an ordinary task.
Knows nothing of tunnels.

Invariants:
* trio never waits longer than it would: as soon as its own descriptor is ready, a deadline has come or a turn woke a
  task, its loop goes on;
* while trio has tasks to run, each of its passes gives the board one turn that does not wait.
"""

import sys
import time
from collections.abc import Callable

import trio

from wsproxy.network.poller import READ, Poller

# The longest single wait: epoll takes 32 bits of milliseconds, and trio's own longest timeout is a day.
_LONGEST_SECONDS = 3600.0
# Trio's timeout is over when its next deadline is this near; else it waits for its tasks to be idle, as tests do.
_DEADLINE_SLACK = 0.01

_joined = trio.lowlevel.RunVar("joined", default=False)


def trios_descriptor() -> int | None:
    """What is readable whenever trio's loop has I/O to see to; None if it has no such thing, or another loop has it."""
    if sys.platform != "linux" or _joined.get():
        return None
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        number = GLOBAL_RUN_CONTEXT.runner.io_manager._epoll.fileno()
    except (ImportError, AttributeError):
        return None
    return number if isinstance(number, int) else None


async def take_turns(poller: Poller, descriptor: int, turn: Callable[[float], bool]) -> None:
    """Call ``turn`` for ever, as the module says.

    :param descriptor: `trios_descriptor`; ``poller`` watches it from here on.
    :param turn: waits at most that many seconds, then serves whoever is ready; True if ``descriptor`` was.
    :raises Exception: what ``turn`` raised.
    """
    hook = _Hook(turn)
    _joined.set(True)
    poller.register(descriptor, READ)
    trio.lowlevel.add_instrument(hook)
    try:
        await hook.failed.wait()
        assert hook.fault is not None
        raise hook.fault
    finally:
        trio.lowlevel.remove_instrument(hook)
        poller.unregister(descriptor)
        _joined.set(False)


class _Hook(trio.abc.Instrument):
    def __init__(self, turn: Callable[[float], bool]) -> None:
        self.failed = trio.Event()
        self.fault: Exception | None = None
        self._turn = turn
        self._token = trio.lowlevel.current_trio_token()
        self._woken = False

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self._woken = True

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio with no task running; ``timeout`` 0: it has tasks to run."""
        try:
            self._serve(timeout)
        except Exception as fault:  # noqa: BLE001 — raised again by `take_turns`; trio would only log it
            self.fault = fault
            self.failed.set()
            self._go_on()

    def _serve(self, timeout: float) -> None:
        if timeout <= 0:
            self._turn(0)
            return
        limit = time.monotonic() + timeout
        self._woken = False
        while not self._turn(min(timeout, _LONGEST_SECONDS)):
            if self._woken:
                self._go_on()
                return
            timeout = limit - time.monotonic()
            if timeout <= 0:
                if trio.lowlevel.current_statistics().seconds_to_next_deadline < _DEADLINE_SLACK:
                    self._go_on()
                return

    def _go_on(self) -> None:
        """Trio is about to wait as long as it had meant to: give it something that ends its wait at once."""
        self._token.run_sync_soon(_nothing)


def _nothing() -> None:
    pass
