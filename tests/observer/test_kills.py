"""A worker's kill, seen from outside: what it had told stays, to the byte; what it had not told is all that is missing.

Counters never fall meanwhile. A worker tells when it is scraped, and every five seconds.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import sleep

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection

from tests.endtoend.conversations import CASES
from tests.endtoend.proxy import BASE, Proxy, wait_for
from tests.endtoend.test_workers import children, ended
from tests.observer.test_truth import COLUMNS, Observed, abandoned, converse, observed, orderly

TUNNELS = 6
TOLD_WITHIN_SECONDS = 5.0
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def world() -> Iterator[Observed]:
    """Two workers on the plan that does most: deflate to clients, inflate from them."""
    # Without pings of the proxy's own: nothing travels but what a test lets travel.
    case = replace(CASES[1], settings=(*CASES[1].settings, "timeouts.ping_interval_seconds = 0"))
    with observed(case, "workers = 2\n" + BASE) as watched:
        yield watched


@pytest.fixture
def clients(world: Observed) -> Iterator[list[ClientConnection]]:
    """Tunnels whose workers may die."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(abandoned(world)) for _ in range(TUNNELS)]


def counters(proxy: Proxy) -> dict[Sample, float]:
    """Everything that must not fall."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(proxy.page("/metrics"))
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


@contextlib.contextmanager
def never_falling(proxy: Proxy) -> Iterator[None]:
    """Scrapes all the time, and holds each counter to what it was."""
    over = threading.Event()
    fallen: list[tuple[Sample, float, float | None]] = []
    last = counters(proxy)

    def scrape() -> None:
        nonlocal last
        while not over.wait(0.02):
            now = counters(proxy)
            fallen.extend((each, was, now.get(each)) for each, was in last.items() if now.get(each, -1.0) < was)
            last = now

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert fallen == []


def kill(proxy: Proxy, *pids: int) -> None:
    """Kill workers; returns when their successors serve."""
    before = ended(proxy)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for("the word of it", lambda: ended(proxy) == before + len(pids))
    wait_for("all workers", lambda: proxy.metric("wsproxy_workers") == 2)


def missing(world: Observed) -> dict[tuple[str, str, str], int]:
    """What the observer saw and the proxy does not tell of."""
    seen, counted = world.seen(), world.counted()
    return {(*which, column): seen[which][column] - counted[which][column] for which in seen for column in COLUMNS}


def test_what_was_told_before_a_kill_stays_to_the_byte(world: Observed, clients: list[ClientConnection]) -> None:
    proxy = world.proxy
    for client in clients:
        converse(client)
    wait_for("all bytes to be told", world.wires_agree)
    with never_falling(proxy):
        # Those who stay are the older ones: in two kills every tunnel has gone.
        for _ in range(2):
            kill(proxy, children(proxy.pid)[0])
            world.hold()
        orderly(world)
    wait_for("the last tunnel's end", lambda: proxy.metric("wsproxy_tunnels_active") == 0)
    world.hold()
    # Tunnels that died with their worker have ended, too.
    assert proxy.metric("wsproxy_closes_total", initiator="proxy", code="1006") == TUNNELS
    assert proxy.metric("wsproxy_closes_total") == proxy.metric("wsproxy_tunnels_total") == TUNNELS + 1
    assert proxy.metric("wsproxy_endpoint_connections") == proxy.metric("wsproxy_sessions_active") == 0


def test_what_was_not_told_is_all_that_is_missing(world: Observed, clients: list[ClientConnection]) -> None:
    proxy = world.proxy
    for client in clients:
        converse(client)
    wait_for("all bytes to be told", world.wires_agree)
    told = world.counted()
    for client in clients:
        converse(client)
    kill(proxy, *children(proxy.pid))
    wait_for("the observer to have read all", lambda: all(number >= 0 for number in missing(world).values()))
    lost = missing(world)
    print(f"\nnever told: {lost}")
    after = world.counted()
    for which, numbers in told.items():
        for column in COLUMNS:
            assert after[which][column] >= numbers[column], f"{which}: {column}"
    orderly(world)
    wait_for("nothing more to be missing", lambda: missing(world) == lost)


def test_a_worker_tells_without_being_scraped(world: Observed, clients: list[ClientConnection]) -> None:
    for client in clients:
        converse(client)
    # Nothing can be polled: to look is to scrape. Twice the time, for a busy machine.
    sleep(2 * TOLD_WITHIN_SECONDS)
    kill(world.proxy, *children(world.proxy.pid))
    world.hold()
