"""What a scrape costs the worker that serves ten thousand tunnels: CPU in all, and at a time."""

import gc
from collections.abc import Callable, Iterator
from time import thread_time

import pytest

from tests.telemetry.driven import finished, pausing
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import choose, choose_to_decompress
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import FIELDS, Tally
from wsproxy.settings.tree import Route, Settings, Upstream, WeightedUrl
from wsproxy.telemetry import metrics
from wsproxy.telemetry.counters import Counters, Tallies
from wsproxy.telemetry.exposition import render

TUNNELS = 10_000
CPU_SECONDS = 0.050
AT_A_TIME_SECONDS = 0.005
TRIES = 7
"""The best one counts: other processes share the machine's caches."""


def _tallies(number: int) -> Tallies:
    tallies = ((Tally(), Tally()), (Tally(), Tally()))
    for leg in tallies:
        for tally in leg:
            for index, name in enumerate(FIELDS):
                setattr(tally, name, number * 10 ** (index % 8))
    return tallies


def _codecs() -> Callable[[], int]:
    """What one tunnel is asked for its memory with: as in `service.tunnel`, a codec each way."""
    window = Window(12, True)
    codecs = (Decoder(choose_to_decompress("auto"), window), Encoder(choose("auto", 12), window, DeflateOptions()))
    codecs[1].message(b"[1, 2, 3]" * 20)
    return lambda: sum(codec.memory for codec in codecs)


@pytest.fixture(scope="module")
def counters() -> Iterator[Counters]:
    busy = Counters(
        Settings(
            routes=(Route(name="feed", upstream="feed"),),
            upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:1"),))},
        )
    )
    agreement = Agreement(server=Window(12, True), client=Window(12, True))
    for number in range(TUNNELS):
        plans = (Plan.DEFLATE, Plan.INFLATE)
        busy.routes["feed"].open(_tallies(number), (agreement, None), plans, _codecs())
    gc.collect()
    yield busy


def _scrape(counters: Counters) -> tuple[float, float, int]:
    """CPU seconds in all, the longest without a pause, and the tunnels that were told of."""
    began = last = thread_time()
    longest = 0.0

    def note() -> None:
        nonlocal last, longest
        now = thread_time()
        longest, last = max(longest, now - last), now

    snapshot = finished(counters.snapshot(pausing(note)))
    for _ in render(snapshot, ""):
        note()
    return thread_time() - began, longest, int(snapshot.number(metrics.TUNNELS_ACTIVE, "feed", "feed"))


def test_a_scrape_is_cheap_and_never_long_at_a_time(counters: Counters) -> None:
    _scrape(counters)
    tries = [_scrape(counters) for _ in range(TRIES)]
    cpu, longest = (min(column) for column in list(zip(*tries, strict=True))[:2])
    print(f"\n{TUNNELS:,} tunnels: {1e3 * cpu:.1f} ms of CPU a scrape, {1e3 * longest:.2f} ms at a time")
    assert {told for _, _, told in tries} == {TUNNELS}
    assert cpu < CPU_SECONDS
    assert longest < AT_A_TIME_SECONDS


def test_memory_is_asked_of_every_tunnel_in_turn() -> None:
    counters = Counters(
        Settings(
            routes=(Route(name="feed", upstream="feed"),),
            upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:1"),))},
        )
    )
    held = 1
    for number in range(TUNNELS):
        counters.routes["feed"].open(_tallies(number), (None, None), (Plan.PLAIN, Plan.PLAIN), lambda: held)

    def told() -> float:
        return finished(counters.snapshot(pausing(lambda: None))).number(metrics.CODEC_MEMORY, "feed")

    assert told() == TUNNELS
    held = 3
    assert [told() for _ in range(4)][-1] == 3 * TUNNELS
