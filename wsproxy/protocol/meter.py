"""What codec calls cost in CPU time, without reading the clock at each of them.

Reading a thread's CPU clock is a system call: around each call of a codec it was an eighth of what an echo cost in user
time. So one call in eight or so is timed and counts for those since the last one. The gaps are irregular, or traffic
that repeats itself (a long message, then seven short ones) could fall in step with them.

Owns: which calls are timed, and what a timed call counts for. Sans-I/O; the clock is a parameter. One meter serves all
tunnels of a worker: its sums are true of a route, and of a tunnel with many messages.
Invariant: what is counted in the long run is what every call together costs, whatever the order of calls.
"""

from collections.abc import Callable
from itertools import cycle

from wsproxy.protocol.tally import Tally

# Each call has the same chance to be timed, and stands for the gap before it: unbiased whatever the gaps are. They are
# coprime in turn, and their sum is, with most periods that traffic may have.
_GAPS = (7, 10, 3, 13, 9, 4, 11, 8, 5, 12, 7)
_CALIBRATION = 64


class Meter:
    """Times some of the codec calls.

    :param clock: CPU time in nanoseconds.
    :ivar left: calls until one is timed; the caller counts it down by one for each call, and times it at 0 with
        `spent`.
    """

    __slots__ = ("_gap", "_gaps", "_overhead", "clock", "left")

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self._gaps = cycle(_GAPS)
        self._gap = self.left = 1
        # Two readings in a row lie this far apart: not the codec's time.
        self._overhead = min(-(clock() - clock()) for _ in range(_CALIBRATION))

    def spent(self, tally: Tally, started: int) -> None:
        """Count the call that began when the clock read ``started``, for itself and for the calls since the last."""
        tally.codec_ns += (self.clock() - started - self._overhead) * self._gap
        self._gap = self.left = next(self._gaps)
