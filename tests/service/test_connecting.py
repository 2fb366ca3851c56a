"""Attempts to connect: how many, for how long, and what is told of them.

Real sockets that accept, refuse or stay silent.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from tests.service.forwarding import run
from wsproxy.errors import Refused
from wsproxy.gateway.generation import Group
from wsproxy.gateway.pools import Pool
from wsproxy.service.connecting import Attempts
from wsproxy.settings.tree import Health, Timeouts, Upstream, WeightedUrl


@contextmanager
def silent() -> Iterator[str]:
    """An endpoint whose backlog is full: a connection to it is neither made nor refused."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        while True:
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.05)
            if sock.connect_ex(("127.0.0.1", port)):
                break
        yield f"ws://127.0.0.1:{port}"


@contextmanager
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def refusing() -> str:
    with listening() as url:
        return url


def group_of(*urls: str, **settings: object) -> Group:
    upstream = Upstream(endpoints=tuple(map(WeightedUrl, urls)), balance="round_robin", **settings)  # type: ignore[arg-type]
    return Group(Pool("feed", upstream), None, "", "off")


def attempts(group: Group, connect_seconds: float = 5.0) -> Attempts:
    return Attempts(group, "192.0.2.1", Timeouts(connect_seconds=connect_seconds))


def places(group: Group) -> list[int]:
    return [group.pool.live(endpoint) for endpoint in group.pool.endpoints]


def test_each_is_tried_until_one_lets_us_in() -> None:
    async def main() -> None:
        with listening() as url:
            group = group_of(refusing(), refusing(), url)
            upstream = await attempts(group).connect()
            assert upstream.endpoint.url == url
            assert places(group) == [0, 0, 1]
            upstream.close()
            upstream.close()
            assert places(group) == [0, 0, 0]

    run(main)


def test_when_none_does_the_last_ones_fault_is_told() -> None:
    async def main() -> None:
        group = group_of(refusing(), refusing())
        with pytest.raises(Refused) as refused:
            await attempts(group).connect()
        assert (refused.value.status, refused.value.result) == (502, "upstream_unreachable")
        assert places(group) == [0, 0]

    run(main)


def test_an_endpoint_that_failed_later_is_not_tried_again() -> None:
    async def main() -> None:
        with listening() as first, listening() as second:
            group = group_of(first, second, health=Health(fall=1))
            trying = attempts(group)
            upstream = await trying.connect()
            trying.failed(upstream, Refused(502, "rejected_by_upstream", "closed"))
            assert [group.pool.is_up(endpoint) for endpoint in group.pool.endpoints] == [False, True]
            other = await trying.connect()
            assert (upstream.endpoint.url, other.endpoint.url) == (first, second)
            trying.failed(other, Refused(502, "rejected_by_upstream", "closed too"))
            with pytest.raises(Refused, match="closed too"):
                await trying.connect()
            assert places(group) == [0, 0]

    run(main)


def test_silent_endpoints_do_not_take_for_ever() -> None:
    """Five that never answer: one attempt of 0.4 s, another, and then it is enough."""

    async def main() -> None:
        with ExitStack() as stack:
            group = group_of(*(stack.enter_context(silent()) for _ in range(5)))
            started = trio.current_time()
            with pytest.raises(Refused) as refused:
                await attempts(group, connect_seconds=0.4).connect()
            assert refused.value.status == 504
            assert 0.8 <= trio.current_time() - started < 2.0
            assert places(group) == [0] * 5

    run(main)


def test_a_silent_endpoint_leaves_time_for_the_next() -> None:
    async def main() -> None:
        with silent() as dead, listening() as url:
            group = group_of(dead, url)
            upstream = await attempts(group, connect_seconds=0.3).connect()
            assert upstream.endpoint.url == url
            upstream.close()

    run(main)


def test_a_cancelled_attempt_gives_its_place_back_and_speaks_against_nobody() -> None:
    async def main() -> None:
        with silent() as dead:
            group = group_of(dead, health=Health(fall=1))
            with trio.move_on_after(0.1) as scope:
                await attempts(group).connect()
            assert scope.cancelled_caught
            assert places(group) == [0]
            assert group.pool.is_up(group.pool.endpoints[0])

    run(main)


def test_no_descriptors_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told at once, at the first endpoint, and ejects nobody."""

    class Exhausted(socket.socket):
        def connect_ex(self, _place: object) -> int:
            return errno.EMFILE

    async def main() -> None:
        group = group_of("ws://127.0.0.1:1", "ws://127.0.0.1:2", health=Health(fall=1))
        monkeypatch.setattr("wsproxy.network.dial.socket.socket", Exhausted)
        with pytest.raises(Refused) as refused:
            await attempts(group).connect()
        assert (refused.value.status, refused.value.result) == (503, "limited")
        assert [group.pool.is_up(endpoint) for endpoint in group.pool.endpoints] == [True, True]
        assert places(group) == [0, 0]

    run(main)
