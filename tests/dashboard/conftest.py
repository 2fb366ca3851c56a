"""A proxy with traffic on it, and the browser that looks."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.sync.client import ClientConnection

from tests.dashboard.chromium import Tab, browser, find
from tests.endtoend import peers
from tests.endtoend.conversations import content, text
from tests.endtoend.proxy import Proxy, configured, route
from tests.world.tools import NO_CHROMIUM

CLIENTS = 3


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Routes that compress well, badly and not at all, with tunnels that ended and tunnels that stand."""
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.upstream())
        parts = (
            route("feed", upstream.url),
            route("noise", upstream.url),
            route("bare", upstream.url, "compression.client.enabled = false"),
        )
        started = stack.enter_context(configured(*parts))
        for name in ("feed", "noise", "bare"):
            for number in range(CLIENTS):
                with peers.client(started.url(f"/{name}"), deflate=peers.CHROME) as client:
                    _converse(client, name)
                    client.close(4000 + number if name == "feed" else 1000)
        started.settled()
        standing = stack.enter_context(peers.client(started.url("/feed"), deflate=peers.CHROME))
        _converse(standing, "feed")
        yield started


def _converse(client: ClientConnection, name: str) -> None:
    for number in range(10):
        noise = bytes((number * 131 + index * index * 37 + index // 7 * 91) % 256 for index in range(2_000))
        message = noise if name == "noise" else content(1_500) if number % 2 else text(700)
        client.send(message)
        assert client.recv() == message


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    binary = find()
    if binary is None:
        pytest.skip(NO_CHROMIUM)
    with browser(binary) as opened:
        yield opened
