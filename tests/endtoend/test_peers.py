"""The ends that judge the proxy, joined to each other without it: what fails here is no fault of the proxy's."""

import pytest

from tests.endtoend import peers
from tests.endtoend.node_peers import NodePeers
from tests.endtoend.wire import PING, PONG, TEXT, Frame, RawUpstream, Tunnel, deflate, tunnel


@pytest.mark.parametrize("compress", [False, True])
def test_websockets_ends_agree(
    plain_upstream: peers.Upstream, wide_upstream: peers.Upstream, *, compress: bool
) -> None:
    upstream = wide_upstream if compress else plain_upstream
    with peers.client(upstream.url, deflate=peers.CHROME) as client:
        assert bool(peers.agreement(client)) is compress
        for message in ("", "text", b"binary", "long" * 50_000):
            client.send(message)
            assert client.recv() == message


def test_node_ends_agree(node: NodePeers) -> None:
    messages: list[dict[str, object]] = [{"text": "hällo"}, {"size": 0}, {"size": 70_000, "binary": True}]
    with node.upstream({"perMessageDeflate": True}) as url:
        seen = node.converse(url, messages, {"perMessageDeflate": True})
        assert seen.extensions.startswith("permessage-deflate")
        assert (seen.echoes, seen.wrong, seen.pong) == (3, [], "are you there")
        assert (seen.code, seen.reason) == (4001, "done")


def test_a_node_client_reads_the_other_implementations_frames(wide_upstream: peers.Upstream, node: NodePeers) -> None:
    seen = node.converse(wide_upstream.url, [{"fragments": ["one ", "two"]}], {"perMessageDeflate": True})
    assert (seen.echoes, seen.wrong) == (1, [])


def test_the_bare_ends_speak_to_each_other(bare: RawUpstream) -> None:
    with tunnel(("127.0.0.1", bare.port), bare, offer="permessage-deflate", agree="permessage-deflate") as ends:
        _exchange(ends)


def _exchange(ends: Tunnel) -> None:
    packed = Frame(TEXT, deflate(b"hello"), rsv1=True)
    ends.client.send(packed, Frame(PING, b"1"))
    assert ends.upstream.frame() == packed
    assert ends.upstream.frame() == Frame(PING, b"1")
    ends.upstream.send(Frame(PONG, b"1"), Frame(TEXT, b"x" * 70_000))
    assert ends.client.frame() == Frame(PONG, b"1")
    assert ends.client.frame() == Frame(TEXT, b"x" * 70_000)
    ends.client.close(4000, "bye")
    assert ends.upstream.closed_with() == (4000, "bye")
