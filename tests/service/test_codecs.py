"""What tunnels share: caches through reloads, and who still fits into the budget."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import available
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Window
from wsproxy.service.codecs import Codecs
from wsproxy.settings.compression import Compression, LegCompression
from wsproxy.settings.process import WorkerLimits
from wsproxy.settings.routes import Route
from wsproxy.settings.tree import Settings
from wsproxy.settings.upstreams import Upstream

LEG = LegCompression(enabled=True, engine="zlib")


def make(name: str, cache_bytes: int = 1000, upstream: LegCompression | None = None) -> Route:
    compression = Compression(client=LEG, upstream=upstream or LegCompression(), cache_bytes=cache_bytes)
    return Route(name=name, upstream="u", compression=compression)


def settings(*routes: Route, budget: int = 0) -> Settings:
    return Settings(routes=routes, upstreams={"u": Upstream(())}, limits=WorkerLimits(codec_memory_bytes=budget))


def test_a_cache_outlives_a_reload_that_does_not_change_it() -> None:
    a, b, c = make("a"), make("b"), make("c", 0)
    codecs = Codecs(settings(a, b, c))
    first = {route.name: codecs.cache(route) for route in (a, b, c)}
    assert first["c"] is None
    assert first["a"] is not first["b"]
    codecs.adopt(settings(a, make("b", 2000)))
    assert codecs.cache(a) is first["a"]
    assert codecs.cache(b) is not first["b"]
    assert codecs.cache(c) is None


def test_without_a_budget_everything_is_afforded() -> None:
    codecs = Codecs(settings(make("a")))
    codecs.reserved = 10**12
    with codecs.afford(make("a")) as share:
        assert share.route == make("a")


@pytest.mark.parametrize("upstream", [None, replace(LEG, client_max_window_bits=15)], ids=["client", "both"])
def test_what_is_afforded_fits(upstream: LegCompression | None) -> None:
    """What is reserved for the agreements of the afforded route is never more than what the budget leaves."""
    route = make("a", upstream=upstream)
    engine = available()["zlib"]
    windows = [Window(12, True), *([Window(15, True)] if upstream else [])]
    size = sum(Encoder(engine, window, DeflateOptions()).capacity for window in windows)
    size += sum(Decoder(engine, Window(12, True)).capacity for _ in windows)
    codecs = Codecs(settings(route, budget=3 * size))
    with ExitStack() as stack:
        # All at once: none of the three has a tunnel yet when the fourth comes.
        shares = [stack.enter_context(codecs.afford(route)) for _ in range(4)]
        assert [share.route == route for share in shares] == [True, True, True, False]
        assert codecs.reserved == 3 * size
        forgetful = shares[3].route.compression
        for leg in (forgetful.client, forgetful.upstream):
            assert leg.server_no_context_takeover
            assert leg.client_no_context_takeover
        assert replace(forgetful.client, server_no_context_takeover=False, client_no_context_takeover=False) == replace(
            LEG, lenient=True
        )
        # The client of one of them did not want any compression.
        shares[0].settle(0)
        assert stack.enter_context(codecs.afford(route)).route == route
    assert codecs.reserved == 0


def test_a_reservation_ends_with_its_tunnel_whatever_ends_it() -> None:
    codecs = Codecs(settings(make("a")))
    with pytest.raises(ValueError, match="it failed"), codecs.afford(make("a")) as share:
        share.settle(1000)
        assert codecs.reserved == 1000
        raise ValueError("it failed")
    assert codecs.reserved == 0


def test_no_window_no_reservation() -> None:
    engine = available()["zlib"]
    assert Encoder(engine, Window(12, False), DeflateOptions()).capacity == 0
    assert Decoder(engine, Window(12, False)).capacity == 0
