"""Codec time by sampling: true sums whatever the order of calls, and few readings of the clock."""

import time
import zlib
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.protocol.meter import Meter
from wsproxy.protocol.tally import Tally

READING_NS = 400


class Clock:
    """Each reading takes time, as a system call does."""

    def __init__(self) -> None:
        self.now = 0
        self.reading_ns = READING_NS
        self.readings = 0

    def __call__(self) -> int:
        self.now += self.reading_ns
        self.readings += 1
        return self.now


def counted(costs: list[tuple[int, Tally]]) -> int:
    """Make calls of these costs; how many times the clock was read for them."""
    clock = Clock()
    meter = Meter(clock)
    before = clock.readings
    for cost, tally in costs:
        meter.left -= 1
        if meter.left > 0:
            clock.now += cost
        else:
            started = meter.clock()
            clock.now += cost
            meter.spent(tally, started)
    return clock.readings - before


@given(st.lists(st.integers(500, 50_000), min_size=1, max_size=24), st.integers(0, 23))
def test_traffic_that_repeats_itself_is_summed_to_two_percent(pattern: list[int], shift: int) -> None:
    tally = Tally()
    costs = [(cost, tally) for cost in islice(cycle(pattern), shift, shift + 20_000)]
    readings = counted(costs)
    assert tally.codec_ns == pytest.approx(sum(cost for cost, _ in costs), rel=0.02)
    assert readings < len(costs) / 3


def test_two_directions_in_turn_get_each_its_own() -> None:
    one, other = Tally(), Tally()
    counted([(9000, one), (1000, other)] * 10_000)
    assert one.codec_ns == pytest.approx(9000 * 10_000, rel=0.01)
    assert other.codec_ns == pytest.approx(1000 * 10_000, rel=0.01)


def test_the_first_call_is_counted() -> None:
    tally = Tally()
    counted([(1234, tally)])
    assert tally.codec_ns == 1234


def test_a_timed_call_that_raises_is_followed_by_a_timed_call() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.left -= 1
    meter.clock()  # and then the codec raised
    meter.left -= 1
    assert meter.left <= 0


def test_real_calls_agree_with_the_clock_read_around_all_of_them() -> None:
    tally, meter = Tally(), Meter(time.thread_time_ns)
    text = b'{"symbol":"BTC-USD","price":"64321.07","size":"0.01"}' * 20
    compressor = zlib.compressobj(6, zlib.DEFLATED, -12)
    began = time.thread_time_ns()
    for _ in range(20_000):
        meter.left -= 1
        if meter.left > 0:
            compressor.compress(text), compressor.flush(zlib.Z_SYNC_FLUSH)
        else:
            started = meter.clock()
            compressor.compress(text), compressor.flush(zlib.Z_SYNC_FLUSH)
            meter.spent(tally, started)
    assert tally.codec_ns == pytest.approx(time.thread_time_ns() - began, rel=0.1)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=300))
def test_a_tally_never_falls_where_calls_take_less_than_timing_them_was_found_to_add(costs: list[int]) -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.reading_ns = 0
    tally = Tally()
    for cost in costs:
        meter.left -= 1
        if meter.left > 0:
            continue
        before = tally.codec_ns
        started = meter.clock()
        clock.now += cost
        meter.spent(tally, started)
        assert tally.codec_ns >= before


def test_what_was_too_little_is_taken_off_the_next_time() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.reading_ns = 0
    tally = Tally()
    meter.spent(tally, meter.clock())
    assert tally.codec_ns == 0
    gap = meter.left
    started = meter.clock()
    clock.now += 1000
    meter.spent(tally, started)
    assert tally.codec_ns == (1000 - READING_NS) * gap - READING_NS
