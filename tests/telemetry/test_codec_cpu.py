"""Codec CPU: what is told agrees with a profile of the same run, and telling it costs next to nothing."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, repeat
from random import Random
from statistics import median
from types import CodeType, FrameType

import pytest

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
PROFILED_CPU_SECONDS = 4.0
SAMPLE_SECONDS = 0.001
AGREEMENT = 0.20
"""What is told is about a tenth above the profile, and samples scatter: a call that is timed is slower than one that is
not, by what the system call that reads the clock leaves behind in the processor, and a sample falls a little late."""
COST = 0.03
ATTEMPTS = 4
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
        self._reads = cycle([(asked[n] * at_a_time, answered[n] * at_a_time) for n in range(MESSAGES)])

    def go_on(self, rounds: int) -> None:
        relay = self.relay
        for _ in range(rounds):
            asked, answered = next(self._reads)
            relay.receive(Side.CLIENT, asked, 1.0)
            relay.take(Side.UPSTREAM)
            relay.receive(Side.UPSTREAM, answered, 1.0)
            relay.take(Side.CLIENT)

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


@pytest.mark.parametrize("at_a_time", [1, 20])
def test_it_agrees_with_a_profile_of_the_same_run(at_a_time: int) -> None:
    echo = Echo(make_meter(), at_a_time)
    echo.go_round()
    before, started = echo.codec_seconds(), time.thread_time()
    with _profile() as samples:
        while time.thread_time() - started < PROFILED_CPU_SECONDS:
            echo.go_round()
    spent = time.thread_time() - started
    told = echo.codec_seconds() - before
    profiled = spent * sum(samples) / len(samples)
    print(f"\n{at_a_time} at a time: told {told:.3f} s, profiled {profiled:.3f} of {spent:.2f}, {len(samples)} samples")
    assert len(samples) > 500
    assert told == pytest.approx(profiled, rel=AGREEMENT)


def _costs(measured: Echo, unmeasured: Echo) -> float:
    """By which part measuring makes the relay slower: the median of rounds that take turns."""
    ratios = []
    for _ in range(ROUNDS):
        spent = []
        for echo in (unmeasured, measured):
            started = time.thread_time_ns()
            echo.go_round()
            spent.append(time.thread_time_ns() - started)
        ratios.append(spent[1] / spent[0])
    return median(ratios) - 1


@pytest.mark.parametrize("at_a_time", [1, 20])
def test_measuring_costs_next_to_nothing(at_a_time: int) -> None:
    """Without a socket: a real worker spends more on each message, so that the part is smaller still."""
    measured = Echo(make_meter(), at_a_time)
    # A clock that costs nothing, and a call that is never timed.
    never = Meter(repeat(0).__next__)
    never.left = 1 << 62
    unmeasured = Echo(never, at_a_time)
    for echo in (measured, unmeasured):
        echo.go_round()
    found = []
    for _ in range(ATTEMPTS):
        found.append(_costs(measured, unmeasured))
        if found[-1] < COST:
            break
    print(f"\n{at_a_time} at a time: measuring costs {', '.join(f'{each:.2%}' for each in found)}")
    assert unmeasured.codec_seconds() == 0
    assert min(found) < COST
