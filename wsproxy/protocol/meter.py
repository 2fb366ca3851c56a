"""What codec calls cost in CPU time, without reading the clock at each of them.

Reading a thread's CPU clock is a system call: around each call of a codec it was an eighth of what an echo cost in user
time. So one call in eight or so is timed and counts for those since the last one. The gaps are irregular, or traffic
that repeats itself (a long message, then seven short ones) could fall in step with them.

Owns: which calls are timed, and what a timed call counts for. Sans-I/O; the clock is a parameter. One meter serves all
tunnels of a worker: its sums are true of a route, and of a tunnel with many messages.
Invariants: what is counted in the long run is what every call together costs, whatever the order of calls; no tally
ever falls.
"""

from collections.abc import Callable
from itertools import cycle
from statistics import median

from wsproxy.protocol.tally import Tally

# Each call has the same chance to be timed, and stands for the gap before it: unbiased whatever the gaps are. They are
# coprime in turn, and their sum is, with most periods that traffic may have.
_GAPS = (7, 10, 3, 13, 9, 4, 11, 8, 5, 12, 7)
_CALLS = 32
_ROUNDS = 5


def _nothing() -> None:
    """The least that can be timed."""


class Meter:
    """Times some of the codec calls.

    :param clock: CPU time in nanoseconds.
    :param work: like a codec's call, to find out once what timing adds to it: the readings of the clock, and what a
        system call leaves behind in the processor, which is half as much again.
    :ivar left: calls until one is timed; the caller counts it down by one for each call, and times it at 0 with
        `spent`.
    """

    __slots__ = ("_gap", "_gaps", "_overhead", "_owed", "clock", "left")

    def __init__(self, clock: Callable[[], int], work: Callable[[], object] = _nothing) -> None:
        self.clock = clock
        self.left = 1
        self._gaps = cycle(_GAPS)
        self._gap = 1
        self._owed = 0
        self._overhead = 0
        self._overhead = round(median(self._added(work) for _ in range(_ROUNDS)))
        self._gap = self.left = 1

    def spent(self, tally: Tally, started: int) -> None:
        """Count the call that began when the clock read ``started``, for itself and for the calls since the last."""
        spent = (self.clock() - started - self._overhead) * self._gap + self._owed
        # A call may take less than timing it was found to add. What that is too little is taken off the next time, for
        # a counter that fell would look to Prometheus like one that began anew.
        self._owed = min(0, spent)
        tally.codec_ns += max(0, spent)
        self._gap = self.left = next(self._gaps)

    def _added(self, work: Callable[[], object]) -> float:
        """Nanoseconds that timing adds to a call of ``work``."""
        apart = -(self.clock() - self.clock())
        started = self.clock()
        for _ in range(_CALLS):
            work()
        untimed = self.clock() - started - apart
        scratch = Tally()
        for _ in range(_CALLS):
            self._gap = 1
            started = self.clock()
            work()
            self.spent(scratch, started)
        return max(0.0, (scratch.codec_ns - untimed) / _CALLS)
