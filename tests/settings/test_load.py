"""The loader: what right files mean."""

from tests.settings.texts import LEAST, UPSTREAM
from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.permessage_deflate import Policy
from wsproxy.settings.load import load
from wsproxy.settings.tree import (
    Certificate,
    Compression,
    Headers,
    LegCompression,
    Listener,
    Metrics,
    Route,
    RouteLimits,
    Settings,
    Timeouts,
    Upstream,
    WeightedUrl,
)


def test_the_least_file_is_all_defaults() -> None:
    assert load(LEAST, {}) == Settings(
        listeners=(Listener(name="default", bind="127.0.0.1:8080"),),
        metrics=Metrics(listen="127.0.0.1:9464"),
        routes=(Route(name="feed", upstream="feed"),),
        upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://10.0.0.1:9000"),))},
    )


def test_defaults_compress_towards_the_client_only() -> None:
    compression = Route(name="feed", upstream="feed").compression
    assert (compression.client.enabled, compression.upstream.enabled) == (True, False)


def test_a_table_that_says_one_thing_keeps_the_defaults_of_its_place() -> None:
    settings = load(
        LEAST.replace("[upstreams.feed]", "[routes.compression.client]\nmem_level = 9\n[upstreams.feed]"), {}
    )
    client = settings.routes[0].compression.client
    assert client == LegCompression(enabled=True, mem_level=9)


def test_reads_every_kind_of_value() -> None:
    settings = load(
        """
        [log]
        format = "json"
        [metrics]
        listen = ""
        [shutdown]
        grace_seconds = 7
        close_code = 4000
        [[listeners]]
        name = "one"
        bind = "unix:/run/a.sock"
        unix_mode = 0o600
        [[listeners]]
        name = "two"
        bind = "127.0.0.1:0"
        [[routes]]
        name = "feed"
        hosts = ["feed.example.com", "*.example.org"]
        path_prefix = "/feed"
        upstream = "feed"
        origins = ["https://app.example.com"]
        [routes.compression]
        mode = "passthrough"
        verify = false
        [routes.compression.client]
        engine = "zlib"
        level = 9
        threshold = 0
        [routes.compression.upstream]
        enabled = true
        lenient = true
        [routes.limits]
        max_message_bytes = 1024
        [routes.timeouts]
        connect_seconds = 0.5
        [upstreams.feed]
        endpoints = ["wss://a.internal/base", "unix:/run/b.sock"]
        balance = "round_robin"
        [upstreams.feed.tls]
        server_name = "feed.internal"
        """,
        {},
    )
    assert settings.log.format == "json"
    assert settings.metrics.listen == ""
    assert settings.shutdown.grace_seconds == 7.0
    assert isinstance(settings.shutdown.grace_seconds, float)
    assert [(listener.name, listener.unix_mode) for listener in settings.listeners] == [("one", 0o600), ("two", 0o660)]
    (route,) = settings.routes
    assert route == Route(
        name="feed",
        upstream="feed",
        hosts=("feed.example.com", "*.example.org"),
        path_prefix="/feed",
        origins=("https://app.example.com",),
        compression=Compression(
            mode="passthrough",
            verify=False,
            client=LegCompression(enabled=True, engine="zlib", level=9, threshold=0),
            upstream=LegCompression(enabled=True, lenient=True),
        ),
        limits=RouteLimits(max_message_bytes=1024),
        timeouts=Timeouts(connect_seconds=0.5),
    )
    assert settings.upstreams["feed"].tls.server_name == "feed.internal"


def test_an_endpoint_is_a_string_or_a_table() -> None:
    text = LEAST.replace('["ws://10.0.0.1:9000"]', '["ws://a", { url = "ws://b", weight = 3 }, { url = "ws://c" }]')
    endpoints = load(text, {}).upstreams["feed"].endpoints
    assert endpoints == (WeightedUrl("ws://a"), WeightedUrl("ws://b", 3), WeightedUrl("ws://c", 1))


def test_reads_tables_in_tables_and_names_with_values() -> None:
    settings = load(
        """
        workers = "auto"
        [[listeners]]
        name = "tls"
        bind = "127.0.0.1:0"
        trusted_proxies = ["10.0.0.0/8", "::1", "unix"]
        tls.certificates = [{ cert = "a.pem", key = "a.key" }, { cert = "b.pem", key = "b.key" }]
        [[routes]]
        name = "feed"
        upstream = "feed"
        match_headers = { "X-Tenant" = "${TENANT}" }
        subprotocols = ["v1.feed"]
        headers = { set = { "X-Env" = "prod, test" }, remove = ["Cookie"] }
        """
        + UPSTREAM,
        {"TENANT": "a"},
    )
    assert settings.workers == "auto"
    assert settings.listeners[0].tls.certificates == (Certificate("a.pem", "a.key"), Certificate("b.pem", "b.key"))
    assert settings.listeners[0].trusted_proxies == ("10.0.0.0/8", "::1", "unix")
    (route,) = settings.routes
    assert route.match_headers == {"X-Tenant": "a"}
    assert route.subprotocols == ("v1.feed",)
    assert route.headers == Headers(set={"X-Env": "prod, test"}, remove=("Cookie",))


def test_a_leg_gives_its_policy_and_options() -> None:
    leg = LegCompression(
        engine="zlib",
        level=3,
        mem_level=4,
        strategy="rle",
        server_max_window_bits=10,
        client_max_window_bits=11,
        server_no_context_takeover=True,
        threshold=64,
        lenient=True,
    )
    assert leg.policy == Policy(10, 11, server_no_context_takeover=True, client_no_context_takeover=False, lenient=True)
    assert leg.deflate_options == DeflateOptions(engine="zlib", level=3, mem_level=4, strategy="rle", threshold=64)
    assert LegCompression().deflate_options == DeflateOptions()
    assert LegCompression().policy == Policy()
