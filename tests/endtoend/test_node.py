"""Node's ws on either side of the proxy, and on both."""

import pytest

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import converse
from tests.endtoend.node_peers import NodePeers
from tests.endtoend.proxy import route

MESSAGES: list[dict[str, object]] = [
    {"text": ""},
    {"text": "hällo, 世界 🙂"},
    {"size": 0, "binary": True},
    {"size": 200},
    {"size": 5_000},
    {"size": 125, "binary": True},
    {"size": 70_000, "binary": True},
    {"size": 1_000_000},
    {"size": 1_000_000, "binary": True},
    {"fragments": ["one ", "", "two ", "thrée ", "x" * 3_000]},
    {"text": "after the fragments"},
    {"text": "and after that"},
]
OFFERS: dict[str, dict[str, object]] = {
    "none": {"perMessageDeflate": False},
    "defaults": {"perMessageDeflate": True},
    "everything": {"perMessageDeflate": {"threshold": 0}},
    "no takeover": {
        "perMessageDeflate": {"serverNoContextTakeover": True, "clientNoContextTakeover": True, "threshold": 0}
    },
    "small windows": {"perMessageDeflate": {"serverMaxWindowBits": 9, "clientMaxWindowBits": 10, "threshold": 0}},
}
UPSTREAMS: dict[str, dict[str, object]] = {
    "legacy": {"perMessageDeflate": False},
    "defaults": {"perMessageDeflate": {"threshold": 0}},
    "no takeover": {"perMessageDeflate": {"serverNoContextTakeover": True, "clientNoContextTakeover": True}},
}
MODES = ("auto", "recompress", "passthrough")


def _hold(node: NodePeers, url: str, offer: str) -> None:
    seen = node.converse(url, MESSAGES, OFFERS[offer])
    assert (seen.echoes, seen.wrong) == (len(MESSAGES), [])
    assert seen.pong == "are you there"
    assert (seen.code, seen.reason) == (4001, "done")
    assert seen.extensions.startswith("permessage-deflate") is (offer != "none")


def test_node_as_the_client(start_proxy: StartProxy, node: NodePeers, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(route("echo", plain_upstream.url))
    for offer in OFFERS:
        _hold(node, proxy.url("/echo"), offer)
        proxy.settled()
        assert plain_upstream.closes[-1] == (4001, "done")


@pytest.mark.parametrize("options", UPSTREAMS)
def test_node_as_the_upstream(start_proxy: StartProxy, node: NodePeers, options: str) -> None:
    with node.upstream(UPSTREAMS[options]) as url:
        proxy = start_proxy(
            *[route(mode, url, "compression.upstream.enabled = true", f'compression.mode = "{mode}"') for mode in MODES]
        )
        for mode in MODES:
            for offer in (None, peers.CHROME):
                converse(proxy.url(f"/{mode}"), offer)


@pytest.mark.parametrize("options", UPSTREAMS)
def test_node_on_both_sides(start_proxy: StartProxy, node: NodePeers, options: str) -> None:
    with node.upstream(UPSTREAMS[options]) as url:
        proxy = start_proxy(
            *[route(mode, url, "compression.upstream.enabled = true", f'compression.mode = "{mode}"') for mode in MODES]
        )
        for mode in MODES:
            for offer in ("defaults", "small windows"):
                _hold(node, proxy.url(f"/{mode}"), offer)
