"""What the metrics tell of a drain that does not end: what the alert for it is made of."""

import signal
from collections.abc import Iterator

import pytest

from tests.endtoend.proxy import BASE, configured, route, wait_for
from tests.endtoend.wire import BINARY, Frame, RawUpstream, hang_up_all, knock, raw_upstream, tunnel


@pytest.fixture
def bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream
    hang_up_all()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_drain_is_told_of_while_tunnels_stand(bare: RawUpstream, workers: int) -> None:
    base = f"workers = {workers}\n" + BASE.replace("grace_seconds = 2", "grace_seconds = 3600")
    with (
        configured(route("bare", bare.url, "timeouts.close_seconds = 3600"), base=base) as proxy,
        tunnel(proxy.address, bare, "/bare") as ends,
    ):
        # In the midst of a message it cannot be closed.
        ends.upstream.send(Frame(BINARY, b"half of a ", fin=False))
        assert ends.client.frame().payload == b"half of a "
        assert proxy.metric("wsproxy_draining") == 0
        proxy.signal(signal.SIGTERM)
        # A worker that has no tunnel ends at once, and the other one goes on.
        wait_for(
            "the drain to be told of", lambda: proxy.metric("wsproxy_draining") == proxy.metric("wsproxy_workers") == 1
        )
        assert proxy.metric("wsproxy_tunnels_active") == 1
        assert not proxy.is_ready()
        wire = knock(proxy.address, "/bare")
        assert wire.head().status == 503
        assert proxy.metric("wsproxy_handshakes_total", result="draining") == 1
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
