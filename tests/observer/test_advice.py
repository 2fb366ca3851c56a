"""The hints on the page after real traffic: each where its route asks for it, and none where all is well."""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.endtoend import peers
from tests.endtoend.conversations import content
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route

TUNNELS = 22
FORGETFUL = ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_max_window_bits=True)
Offer = ClientPerMessageDeflateFactory | None


def converse(proxy: Proxy, name: str, offer: Offer, tunnels: list[list[bytes]]) -> None:
    """Tunnels one after the other, in each of which its messages go to the upstream and back."""
    for messages in tunnels:
        with peers.client(proxy.url(f"/{name}"), deflate=offer) as client:
            for message in messages:
                client.send(message)
            for message in messages:
                assert client.recv() == message or not f"the echo of {len(message)} bytes differs"


def different(messages: int, size: int) -> list[list[bytes]]:
    """No message twice: those that are alike would be compressed once."""
    whole = content(TUNNELS * messages * size)
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    return [parts[at : at + messages] for at in range(0, len(parts), messages)]


def exceed(proxy: Proxy, name: str) -> None:
    for _ in range(TUNNELS):
        with peers.client(proxy.url(f"/{name}")) as client:
            client.send(bytes(20_000))
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=peers.DEADLINE)


@pytest.fixture(scope="module")
def advice() -> Iterator[dict[str, list[str]]]:
    """What is advised, by route."""
    noise = [random.Random(number).randbytes(3_000) for number in range(100)]
    with ExitStack() as stack:
        plain = stack.enter_context(peers.upstream())
        wide = stack.enter_context(peers.upstream(deflate=peers.WIDE))
        parts = (
            route("well", plain.url),
            route("silent", plain.url),
            route("forgetful", plain.url),
            route("noise", plain.url),
            route("large", plain.url, "limits.max_message_bytes = 10_000"),
            route("again", wide.url, 'compression.mode = "recompress"', *WIDE_UPSTREAM),
        )
        proxy = stack.enter_context(configured(*parts))
        converse(proxy, "well", peers.CHROME, [[content(2_000)] * 20] * TUNNELS)
        converse(proxy, "silent", peers.CHROME, [[content(2_000)]] * 5)
        converse(proxy, "silent", None, [[content(2_000)]] * TUNNELS)
        converse(proxy, "forgetful", FORGETFUL, different(20, 300))
        converse(proxy, "noise", peers.CHROME, [noise] * TUNNELS)
        converse(proxy, "again", peers.CHROME, [[content(2_000)]] * TUNNELS)
        exceed(proxy, "large")
        proxy.settled()
        found: dict[str, list[str]] = {}
        for hint in json.loads(proxy.page("/numbers.json"))["hints"]:
            found.setdefault(hint["route"], []).append(hint["text"])
        for name, texts in found.items():
            print(f"\n{name}: {texts}")
        yield found


@pytest.mark.parametrize(
    ("name", "begins", "names"),
    [
        ("silent", "81% of its clients agree on no compression", "permessage-deflate"),
        ("forgetful", "100% of its compressing clients get each message on its own", "server_no_context_takeover"),
        ("noise", "9", "compression.client.enabled = false"),
        ("again", "100% of its flows inflate and compress again", 'compression.mode = "passthrough"'),
        ("large", "22 tunnels (100%) were ended over a limit (1009)", "limits.max_message_bytes"),
    ],
)
def test_each_route_gets_the_advice_that_it_needs(
    advice: dict[str, list[str]], name: str, begins: str, names: str
) -> None:
    (only,) = advice[name]
    assert only.startswith(begins)
    assert names in only


def test_a_route_that_does_well_gets_none(advice: dict[str, list[str]]) -> None:
    assert "well" not in advice
