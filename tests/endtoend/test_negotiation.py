"""The two legs negotiate on their own (RFC 7692 §7.1): who offers what, who gets what, and what is declined."""

from collections.abc import Iterator

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.endtoend import peers
from tests.endtoend.conversations import converse
from tests.endtoend.proxy import Proxy, configured, route, sidecar
from tests.endtoend.wire import RawUpstream, knock


def test_a_sidecar_without_a_file_compresses_before_a_legacy_upstream(plain_upstream: peers.Upstream) -> None:
    with sidecar(plain_upstream.url) as proxy:
        agreed = converse(proxy.url("/any/path?a=1"), peers.CHROME, [0, 10, 5_000])
        assert agreed.startswith("permessage-deflate")
        assert plain_upstream.requests[-1].path == "/any/path?a=1"
        assert "Sec-WebSocket-Extensions" not in plain_upstream.requests[-1].headers


@pytest.fixture(scope="module")
def proxy(plain_upstream: peers.Upstream, wide_upstream: peers.Upstream) -> Iterator[Proxy]:
    with configured(
        route("legacy", plain_upstream.url),
        route("asked", wide_upstream.url, "compression.upstream.enabled = true"),
        route("unasked", wide_upstream.url),
        route("lacking", plain_upstream.url, "compression.upstream.enabled = true"),
        route("off", plain_upstream.url, "compression.client.enabled = false"),
    ) as running:
        yield running


@pytest.mark.parametrize("name", ["legacy", "asked", "unasked", "lacking", "off"])
def test_a_client_that_does_not_offer_gets_no_extension(proxy: Proxy, name: str) -> None:
    assert converse(proxy.url(f"/{name}"), None, [0, 10, 70_000]) == ""


def test_a_route_that_is_off_declines(proxy: Proxy) -> None:
    assert converse(proxy.url("/off"), peers.CHROME, [10, 5_000]) == ""


def test_an_upstream_is_asked_only_where_the_route_says_so(proxy: Proxy, wide_upstream: peers.Upstream) -> None:
    converse(proxy.url("/asked"), None, [10, 5_000])
    assert wide_upstream.agreed[-1].startswith("permessage-deflate")
    converse(proxy.url("/unasked"), peers.CHROME, [10, 5_000])
    assert wide_upstream.agreed[-1] == ""


def test_an_upstream_that_lacks_it_is_served_plainly(proxy: Proxy, plain_upstream: peers.Upstream) -> None:
    agreed = converse(proxy.url("/lacking"), peers.CHROME, [10, 5_000])
    assert agreed.startswith("permessage-deflate")
    assert plain_upstream.agreed[-1] == ""


@pytest.mark.parametrize("server_bits", [None, 9, 10, 12, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9, 15])
@pytest.mark.parametrize("takeover", [True, False])
def test_clients_with_every_offer(
    proxy: Proxy, server_bits: int | None, client_bits: int | None, *, takeover: bool
) -> None:
    """The independent client fails an answer that its offer does not allow, and a window that is not kept to."""
    offer = ClientPerMessageDeflateFactory(
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    )
    for name in ("legacy", "asked"):
        assert converse(proxy.url(f"/{name}"), offer, [3, 9_000, 40_000]).startswith("permessage-deflate")


@pytest.mark.parametrize("mode", ["auto", "recompress"])
def test_a_leg_that_is_set_to_forget_forgets(wide_upstream: peers.Upstream, mode: str) -> None:
    """What keeps secrets and an attacker's text out of one window is not given up for the sake of passing frames."""
    lines = (
        f'compression.mode = "{mode}"',
        "compression.client.server_no_context_takeover = true",
        "compression.client.client_no_context_takeover = true",
        "compression.upstream.enabled = true",
    )
    with configured(route("echo", wide_upstream.url, *lines)) as proxy:
        agreed = converse(proxy.url("/echo"), peers.CHROME, [10, 5_000])
        assert "server_no_context_takeover" in agreed
        assert "client_no_context_takeover" in agreed


OFFERS_THAT_CANNOT_BE = (
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=010",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits=abc",
    "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; unheard_of",
    "permessage-bzip2",
    "x-webkit-deflate-frame",
)


@pytest.mark.parametrize("offer", OFFERS_THAT_CANNOT_BE)
def test_an_offer_that_cannot_be_is_declined_not_refused(proxy: Proxy, offer: str) -> None:
    wire = knock(proxy.address, "/legacy", offer)
    head = wire.head()
    assert head.status == 101
    assert head.get("sec-websocket-extensions") is None
    wire.close()
    assert wire.until_close() == (1000, "")
    wire.hang_up()


@pytest.mark.parametrize(
    "header", ['foo; bar="a, permessage-deflate"', 'foo; bar="' + "\\" * 16_000, "permessage-deflate; =", ",;,"]
)
def test_a_header_that_is_no_list_of_extensions_activates_nothing(proxy: Proxy, header: str) -> None:
    """RFC 6455 §9.1 lets it fail the handshake; what it must not do is to switch on what stands in a quoted string."""
    wire = knock(proxy.address, "/legacy", header)
    head = wire.head()
    assert head.status in {101, 400}
    assert head.get("sec-websocket-extensions") is None
    wire.hang_up()


def test_the_next_offer_is_taken_where_the_first_cannot_be(proxy: Proxy) -> None:
    wire = knock(proxy.address, "/legacy", "permessage-deflate; server_max_window_bits=8, permessage-deflate")
    told = wire.head().get("sec-websocket-extensions")
    assert told is not None
    assert told.startswith("permessage-deflate")
    wire.hang_up()


WRONG_ANSWERS = (
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; unheard_of",
    "permessage-deflate, permessage-deflate",
    "permessage-bzip2",
)


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_an_upstream_that_answers_what_was_not_offered_is_a_502(bare: RawUpstream, answer: str) -> None:
    with configured(route("bare", bare.url, "compression.upstream.enabled = true")) as proxy:
        client = knock(proxy.address, "/bare", "permessage-deflate")
        upstream, _ = bare.accept(answer)
        assert client.head().status == 502
        upstream.hang_up()
        client.hang_up()


def test_an_extension_that_nobody_offered_is_a_502(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url)) as proxy:
        client = knock(proxy.address, "/bare", "permessage-deflate")
        upstream, asked = bare.accept("permessage-deflate")
        assert asked.get("sec-websocket-extensions") is None
        assert client.head().status == 502
        upstream.hang_up()
        client.hang_up()
