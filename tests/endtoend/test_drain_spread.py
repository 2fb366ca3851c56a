"""A drain of many tunnels: everybody is told, one after the other, and the end comes in time."""

import signal
from collections import Counter
from time import monotonic

import pytest

from tests.endtoend.crowd import crowd, crowd_upstream
from tests.endtoend.proxy import configured, route, wait_for

SPREAD = 5.0
GRACE = 30.0
BASE = (
    f"[shutdown]\ngrace_seconds = {GRACE}\nclose_spread_seconds = {SPREAD}\n"
    '[metrics]\nlisten = "127.0.0.1:0"\n[[listeners]]\nname = "public"\nbind = "127.0.0.1:0"\n'
)


@pytest.mark.parametrize(("workers", "tunnels"), [(1, 1000), (2, 300)])
def test_closes_are_spread(workers: int, tunnels: int) -> None:
    base = f"workers = {workers}\n" + BASE
    with crowd_upstream() as url, configured(route("feed", url), base=base) as proxy:
        with crowd(proxy.url("/feed"), tunnels, pause=0) as clients:
            wait_for("all tunnels", lambda: proxy.metric("wsproxy_tunnels_active") == tunnels)
            began = monotonic()
            proxy.signal(signal.SIGTERM)
            report = clients.closed()
        assert proxy.process.wait(GRACE) == 0
        took = monotonic() - began
    assert took < GRACE
    assert report.faults == []
    assert Counter(code for code, _ in report.closes) == {1001: tunnels}
    by_second = Counter(int(when - began) for _, when in report.closes)
    print(f"\n{tunnels} tunnels, {workers} worker(s), ended after {took:.1f} s:")
    for second in range(max(by_second) + 1):
        print(f"  second {second}: {by_second[second]:4} {'#' * (by_second[second] * 100 // tunnels)}")
    # An even spread is a fifth in each of five seconds; a loaded machine may be late, and early is nobody.
    assert max(by_second.values()) < tunnels * 0.45
    assert len([second for second, closes in by_second.items() if closes >= tunnels * 0.1]) >= 4
