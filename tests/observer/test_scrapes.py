"""The measurement of scrapes, with few tunnels: `make bench-scrapes` takes as many as may be."""

import sys

import pytest

from tests.observer.scrapes import measure, report

TUNNELS = 300


@pytest.mark.skipif(sys.platform != "linux", reason="CPU is read from /proc")
def test_every_tunnel_is_told_of_while_messages_go_on() -> None:
    found = measure(TUNNELS, scrapes=5, watch_seconds=0.5)
    print(f"\n{report(TUNNELS, found)}")
    assert found.told == TUNNELS + 1
    assert found.cpu > 0
    assert found.quiet and found.scraped
