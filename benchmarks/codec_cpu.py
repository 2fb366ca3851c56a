"""`python -m benchmarks.codec_cpu`: codec CPU as the metrics tell it beside a profile, and what telling it costs.

Owns: one relay that echoes in this process, a sampling profile of it, and rounds with and without measuring in turn.
The relay is made as the tests make it.
"""

import argparse
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, repeat
from random import Random
from statistics import median
from types import CodeType, FrameType

from benchmarks.frames import deflated, frame
from benchmarks.payloads import messages
from tests.protocol.joined import Tallies, make_relay
from wsproxy.errors import Side
from wsproxy.extensions.deflate import Encoder
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.meter import Meter
from wsproxy.protocol.relay import Relay
from wsproxy.protocol.tally import Direction
from wsproxy.service.codecs import make_meter

MESSAGES = 64
SIZE = 1024
PROFILED_CPU_SECONDS = 5.0
SAMPLE_SECONDS = 0.001
AT_A_TIME = (1, 20)
"""Messages in one read. Of many at a time the loop around the codec is timed with it."""
ROUNDS, ROUND_MESSAGES = 40, 200
CODEC = frozenset({Encoder.encode.__code__, Decoder.start.__code__, Decoder.read.__code__, Encoder.piece.__code__})


class Echo:
    """A relay, and the two reads of one message's way to the upstream and back to the client, over and over."""

    def __init__(self, meter: Meter, at_a_time: int = 1) -> None:
        agreement = Agreement(server=Window(12, True), client=Window(12, True))
        self.relay: Relay
        self.tallies: Tallies
        self.relay, _, self.tallies = make_relay(agreement, None, meter=meter)
        payloads = messages("market", SIZE, MESSAGES)
        key = Random(7).randbytes(4)
        asked = [frame(deflated(each), binary=False, compressed=True, mask=key) for each in payloads]
        answered = [frame(each, binary=False) for each in payloads]
        self._at_a_time = at_a_time
        self._wires = (socket.socketpair(), socket.socketpair())
        self._reads = cycle([(asked[n] * at_a_time, answered[n] * at_a_time) for n in range(MESSAGES)])

    def go_on(self, rounds: int) -> None:
        relay = self.relay
        for _ in range(rounds):
            asked, answered = next(self._reads)
            relay.receive(Side.CLIENT, asked, 1.0)
            relay.take(Side.UPSTREAM)
            relay.receive(Side.UPSTREAM, answered, 1.0)
            relay.take(Side.CLIENT)

    def carried_ns(self, rounds: int) -> int:
        """The same with sockets: CPU of reading, relaying and writing, without that of the ends."""
        spent = 0
        for _ in range(rounds):
            asked, answered = next(self._reads)
            spent += self._step(Side.CLIENT, asked) + self._step(Side.UPSTREAM, answered)
        return spent

    def _step(self, side: Side, data: bytes) -> int:
        relay, (ours, _) = self.relay, self._wires[side]
        self._wires[side][1].sendall(data)
        started = time.thread_time_ns()
        relay.receive(side, ours.recv(65_536), 1.0)
        out = relay.take(side.other)
        self._wires[side.other][0].send(out)
        spent = time.thread_time_ns() - started
        self._wires[side.other][1].recv(len(out), socket.MSG_WAITALL)
        return spent

    def close(self) -> None:
        for pair in self._wires:
            for sock in pair:
                sock.close()

    def go_round(self) -> None:
        self.go_on(ROUND_MESSAGES // self._at_a_time)

    def codec_seconds(self) -> float:
        told = self.tallies[Side.CLIENT]
        return (told[Direction.RECEIVED].codec_ns + told[Direction.SENT].codec_ns) / 1e9


def _in_codec(innermost: FrameType | None, codec: frozenset[CodeType]) -> bool:
    while innermost is not None:
        if innermost.f_code in codec:
            return True
        innermost = innermost.f_back
    return False


@contextmanager
def _profile() -> Iterator[list[bool]]:
    """Samples of this process's CPU time: whether a codec was at work. Nothing is added to what is measured."""
    samples: list[bool] = []

    def note(_number: int, interrupted: FrameType | None) -> None:
        samples.append(_in_codec(interrupted, CODEC))

    former = signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


def beside_a_profile(at_a_time: int) -> tuple[float, float, float]:
    """Seconds of codec CPU as told, and as a profile of the same run found them, of how many seconds altogether."""
    echo = Echo(make_meter(), at_a_time)
    echo.go_round()
    before, started = echo.codec_seconds(), time.thread_time()
    with _profile() as samples:
        while time.thread_time() - started < PROFILED_CPU_SECONDS:
            echo.go_round()
    spent = time.thread_time() - started
    told = echo.codec_seconds() - before
    echo.close()
    return told, spent * sum(samples) / len(samples), spent


def _costs(measured: Echo, unmeasured: Echo, rounds: int) -> float:
    """By which part measuring makes a worker's part of a message dearer: the median of rounds that take turns."""
    ratios = []
    for _ in range(ROUNDS):
        without, timed = unmeasured.carried_ns(rounds), measured.carried_ns(rounds)
        ratios.append(timed / without)
    return median(ratios) - 1


def cost(at_a_time: int) -> float:
    """By which part measuring makes a worker's part of a message dearer, sockets included."""
    measured = Echo(make_meter(), at_a_time)
    # A clock that costs nothing, and a call that is never timed.
    never = Meter(repeat(0).__next__)
    never.left = 1 << 62
    unmeasured = Echo(never, at_a_time)
    rounds = ROUND_MESSAGES // at_a_time
    for echo in (measured, unmeasured):
        echo.carried_ns(rounds)
    found = _costs(measured, unmeasured, rounds)
    measured.close()
    unmeasured.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="codec CPU as told beside a profile, and what telling it costs")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; medians are printed, with the extremes")
    runs = parser.parse_args().runs
    write = sys.stdout.write
    write("| messages in a read | told over profiled | measuring costs |\n|--:|--:|--:|\n")
    for at_a_time in AT_A_TIME:
        pairs = [beside_a_profile(at_a_time) for _ in range(runs)]
        write(f"| {at_a_time} | {_spread([told / profiled for told, profiled, _ in pairs], '.2f')} ")
        write(f"| {_spread([cost(at_a_time) for _ in range(runs)], '.1%')} |\n")


def _spread(found: list[float], form: str) -> str:
    return f"{median(found):{form}} ({min(found):{form}} to {max(found):{form}})"


if __name__ == "__main__":
    main()
