"""What scrapes cost a worker with thousands of tunnels: ``python -m tests.observer.scrapes [TUNNELS]``.

Owns: the measurement, on a real process from outside. Must never import wsproxy. Linux only: CPU is read from /proc.
"""

import contextlib
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from tests.endtoend.proxy import Proxy, configured, environment, route
from tests.endtoend.wire import Wire, knock
from tests.observer.many import OFFER, PATH, QUESTION

MOST = 10_000
SPARE_DESCRIPTORS = 200
"""For everything but tunnels, which take two each."""
SCRAPES = 20
WATCH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU and times in seconds.

    :ivar told: tunnels in the metrics at the end.
    :ivar cpu: of the worker for one scrape.
    :ivar scrape: from asking to the last byte: the median.
    :ivar quiet: round trips of one tunnel's messages while nobody scrapes; ``scraped``: while somebody does.
    """

    told: int
    size: int
    cpu: float
    scrape: float
    quiet: list[float]
    scraped: list[float]


def most_tunnels() -> int:
    """What the limit on open files lets one process have; raises it as far as it may be raised, for children too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(MOST, (hard - SPARE_DESCRIPTORS) // 2)


def measure(tunnels: int, scrapes: int = SCRAPES, watch_seconds: float = WATCH_SECONDS) -> Measured:
    with _program("upstream") as port, configured(route(PATH.strip("/"), f"ws://127.0.0.1:{port}")) as proxy:
        host, listening = proxy.address
        with _program("clients", host, str(listening), str(tunnels)), _probe(proxy) as probe:
            proxy.page("/metrics")
            idle = _cpu_of(proxy, lambda: sleep(1.0))
            times: list[float] = []
            busy = _cpu_of(proxy, lambda: times.extend(_scrape(proxy) for _ in range(scrapes)))
            quiet = _round_trips(probe, watch_seconds)
            # Not in this process, whose threads would wait for each other.
            with _program("scrapes", *map(str, proxy.metrics_address)):
                scraped = _round_trips(probe, watch_seconds)
            told = int(proxy.metric("wsproxy_tunnels_active"))
            size = len(proxy.page("/metrics"))
    return Measured(told, size, (busy - idle * sum(times)) / scrapes, median(times), quiet, scraped)


@contextlib.contextmanager
def _program(*arguments: str) -> Iterator[str]:
    """A program of `many`, until the end; gives its first line, which says that it is ready."""
    command = [sys.executable, "-m", "tests.observer.many", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, f"it ended with {process.wait()}"
            yield line
        finally:
            process.kill()


@contextlib.contextmanager
def _probe(proxy: Proxy) -> Iterator[Wire]:
    """One more tunnel, whose messages are timed."""
    wire = knock(proxy.address, PATH, OFFER)
    assert wire.head().status == 101
    try:
        yield wire
    finally:
        wire.hang_up()


def _cpu_of(proxy: Proxy, work: Callable[[], None]) -> float:
    """Seconds of CPU that the worker spends while ``work`` goes on."""
    before = _cpu(proxy)
    work()
    return _cpu(proxy) - before


def _cpu(proxy: Proxy) -> float:
    """Of its one thread that carries tunnels."""
    return int(Path(f"/proc/{proxy.pid}/schedstat").read_text().split()[0]) / 1e9


def _scrape(proxy: Proxy) -> float:
    started = perf_counter()
    proxy.page("/metrics")
    return perf_counter() - started


def _round_trips(probe: Wire, seconds: float) -> list[float]:
    found = []
    end = perf_counter() + seconds
    while (started := perf_counter()) < end:
        probe.send(QUESTION)
        probe.frame()
        found.append(perf_counter() - started)
        sleep(0.001)
    return found


def report(tunnels: int, found: Measured) -> str:
    lines = [
        f"{tunnels:,} tunnels: a scrape takes {1e3 * found.cpu:.1f} ms of the worker's CPU, "
        f"{1e3 * found.scrape:.1f} ms till its last byte, {found.size / 1000:.0f} kB"
    ]
    for name, trips in (("without scrapes", found.quiet), ("between scrapes", found.scraped)):
        ordered = sorted(trips)
        lines.append(
            f"  another tunnel's message and its answer, {name}: median {1e3 * median(ordered):.2f} ms, "
            f"99 in 100 within {1e3 * ordered[len(ordered) * 99 // 100]:.2f} ms, slowest {1e3 * ordered[-1]:.2f} ms"
        )
    return "\n".join(lines)


def main(*arguments: str) -> None:
    most = most_tunnels()
    tunnels = min(most, int(arguments[0])) if arguments else most
    print(report(tunnels, measure(tunnels)))


if __name__ == "__main__":
    main(*sys.argv[1:])
