"""Seen from outside, on the real proxy: compressed once for many, a budget of memory, noise that is sent raw."""

import random
import zlib
from contextlib import ExitStack

import pytest

from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import content
from tests.endtoend.proxy import BASE, Proxy, route, wait_for
from tests.endtoend.wire import BINARY, Frame, RawUpstream, Wire, answer, knock, tunnel

OFFER = "permessage-deflate; client_max_window_bits"
FORGETFUL = "compression.client.server_no_context_takeover = true"


def read(wire: Wire) -> bytes:
    """One message, which stands on its own."""
    frame = wire.frame()
    assert frame.fin
    assert frame.rsv1
    return zlib.decompressobj(-15).decompress(frame.payload + b"\x00\x00\xff\xff")


def outcome(proxy: Proxy, name: str, **labels: str) -> float:
    return proxy.metric("wsproxy_codec_messages_total", leg="client", outcome=name, **labels)


def takeover(proxy: Proxy, value: str) -> float:
    labels = {"leg": "client", "extension": "permessage-deflate", "takeover": value}
    return proxy.metric("wsproxy_agreements_total", **labels)


def broadcast(proxy: Proxy, bare: RawUpstream, path: str, message: bytes, clients: int = 5) -> None:
    with ExitStack() as stack:
        tunnels = [stack.enter_context(tunnel(proxy.address, bare, path, offer=OFFER)) for _ in range(clients)]
        for each in tunnels:
            each.upstream.send(Frame(BINARY, message))
        assert [read(each.client) for each in tunnels] == [message] * clients


def test_a_message_to_many_is_compressed_once(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("a", bare.url, FORGETFUL) + route("b", bare.url, FORGETFUL))
    message = content(3000)
    broadcast(proxy, bare, "/a", message)
    wait_for("the messages' being counted", lambda: outcome(proxy, "cached") == 4)
    assert outcome(proxy, "compressed") == 1
    assert proxy.metric("wsproxy_cache_hit_bytes_total", route="a", leg="client") == 4 * 3000
    assert proxy.metric("wsproxy_codec_input_bytes_total", leg="client", operation="compress") == 5 * 3000
    # The other route has a cache of its own.
    broadcast(proxy, bare, "/b", message, clients=1)
    wait_for("the message's being counted", lambda: outcome(proxy, "compressed", route="b") == 1)
    assert outcome(proxy, "cached", route="b") == 0
    assert proxy.metric("wsproxy_cache_bytes", route="b") > 3000


@pytest.mark.parametrize("lines", [(FORGETFUL, "compression.cache_bytes = 0"), ()], ids=["off", "takeover"])
def test_a_message_to_many_is_compressed_for_each(
    start_proxy: StartProxy, bare: RawUpstream, lines: tuple[str, ...]
) -> None:
    proxy = start_proxy(route("a", bare.url, *lines))
    broadcast(proxy, bare, "/a", content(3000))
    wait_for("the messages' being counted", lambda: outcome(proxy, "compressed") == 5)
    assert outcome(proxy, "cached") == 0
    assert proxy.metric("wsproxy_cache_bytes") == 0


def test_over_the_budget_no_window_is_kept(start_proxy: StartProxy, bare: RawUpstream) -> None:
    # A tunnel's codecs may come to hold some 50,000 bytes with zlib.
    zlib_alone = route("a", bare.url, 'compression.client.engine = "zlib"')
    proxy = start_proxy(zlib_alone, base=BASE + "[limits]\ncodec_memory_bytes = 80_000\n")
    with tunnel(proxy.address, bare, "/a", offer=OFFER):
        assert takeover(proxy, "both") == 1
        reserved = proxy.metric("wsproxy_codec_memory_reserved_bytes")
        assert 0.5 < reserved / proxy.metric("wsproxy_codec_memory_budget_bytes") <= 1
        with tunnel(proxy.address, bare, "/a", offer=OFFER) as second:
            assert takeover(proxy, "none") == 1
            assert proxy.metric("wsproxy_codec_memory_reserved_bytes") == reserved
            for _ in range(3):
                second.upstream.send(Frame(BINARY, content(3000)))
                assert read(second.client) == content(3000)
                second.client.send(Frame(BINARY, deflated(b"up"), rsv1=True))
                assert second.upstream.frame().payload == b"up"
            assert proxy.metric("wsproxy_codec_memory_bytes") == 0
    proxy.settled()
    assert proxy.metric("wsproxy_codec_memory_reserved_bytes") == 0
    with tunnel(proxy.address, bare, "/a", offer=OFFER):
        assert takeover(proxy, "both") == 2


def test_the_budget_holds_for_those_who_come_at_once(start_proxy: StartProxy, bare: RawUpstream) -> None:
    """Five are being negotiated before the upstream answers any of them."""
    zlib_alone = route("a", bare.url, 'compression.client.engine = "zlib"')
    proxy = start_proxy(zlib_alone, base=BASE + "[limits]\ncodec_memory_bytes = 80_000\n")
    with ExitStack() as stack:
        clients, upstreams = [], []
        for _ in range(5):
            clients.append(knock(proxy.address, "/a", OFFER))
            stack.callback(clients[-1].hang_up)
            upstreams.append(bare.receive())
            stack.callback(upstreams[-1][0].hang_up)
        for wire, asked in upstreams:
            wire.sock.sendall(answer(asked))
        agreed = [client.head().get("sec-websocket-extensions") or "" for client in clients]
        assert ["server_no_context_takeover" in each for each in agreed] == [False] + 4 * [True]
        assert (takeover(proxy, "both"), takeover(proxy, "none")) == (1, 4)


def deflated(text: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -12)
    return (stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_noise_goes_raw_between_what_is_compressed(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("a", bare.url))
    source = random.Random(3)
    unpack = zlib.decompressobj(-12)
    raw = 0
    with tunnel(proxy.address, bare, "/a", offer=OFFER) as ends:
        for number in range(30):
            message = source.randbytes(1500) if number % 2 else content(1500)
            ends.upstream.send(Frame(BINARY, message))
            frame = ends.client.frame()
            if frame.rsv1:
                assert unpack.decompress(frame.payload + b"\x00\x00\xff\xff") == message
            else:
                raw += 1
                assert frame.payload == message
        assert raw == 14
        wait_for("the messages' being counted", lambda: outcome(proxy, "skipped_incompressible") == 14)
        assert outcome(proxy, "compressed") == 16
