"""Samples: names, types and labels as documented, and numbers that are those of the counters."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.telemetry.driven import at_once, finished
from wsproxy import __version__
from wsproxy.errors import Side
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.gateway.pools import Pool
from wsproxy.protocol.keepalive import Lapse
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import Tally
from wsproxy.settings.tree import Compression, Health, LegCompression, Listener, Route, Settings, Upstream, WeightedUrl
from wsproxy.telemetry import metrics
from wsproxy.telemetry.counters import NO_ROUTE, Counters, Tallies
from wsproxy.telemetry.exposition import LINES_A_PIECE, render
from wsproxy.telemetry.metrics import CATALOGUE, Kind, Metric
from wsproxy.telemetry.snapshot import Snapshot, merge

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()

TYPES = {
    Kind.COUNTER: "counter",
    Kind.HISTOGRAM: "histogram",
    Kind.SUM: "gauge",
    Kind.LEAST: "gauge",
    Kind.INFO: "gauge",
}
METRICS = {metric.name: (TYPES[metric.kind], set(metric.labels)) for metric in CATALOGUE}


def tallies_of_a_feed() -> Tallies:
    """The upstream sent ten plain messages, which went out compressed; the client answered with two and a ping."""
    (from_client, to_client), (from_upstream, to_upstream) = (Tally(), Tally()), (Tally(), Tally())
    from_upstream.text = to_client.text = 10
    from_upstream.payload_bytes = to_client.payload_bytes = to_client.codec_input = 10_000
    from_upstream.wire_bytes, to_client.wire_bytes = 10_040, 2_540
    from_upstream.plain = to_client.compressed = 10
    to_client.codec_output = 2_500
    to_client.codec_ns = 1_500_000_000
    from_client.binary = to_upstream.binary = from_client.inflated = to_upstream.plain = 2
    from_client.ping = 1
    from_client.codec_input, from_client.codec_output = 100, 400
    from_client.payload_bytes = to_upstream.payload_bytes = 400
    from_client.wire_bytes, to_upstream.wire_bytes = 130, 412
    return (from_client, to_client), (from_upstream, to_upstream)


@pytest.fixture
def counters() -> Counters:
    """Two like tunnels, one of them ended, and a bit of everything else."""
    pool = Pool(
        "backend", Upstream(endpoints=(WeightedUrl("ws://a:1"), WeightedUrl("ws://b:2")), health=Health(fall=1))
    )
    taken = pool.choose("192.0.2.1")
    assert taken is not None
    assert pool.failed(next(each for each in pool.instances() if each is not taken))
    counters = Counters(
        Settings(
            listeners=(Listener(name="public", bind="127.0.0.1:0"),),
            routes=(
                Route(
                    name="feed",
                    upstream="backend",
                    compression=Compression(client=LegCompression(enabled=True, engine="zlib")),
                ),
            ),
            upstreams={"backend": Upstream(endpoints=(WeightedUrl("ws://a:1"), WeightedUrl("ws://b:2")))},
        ),
        [pool],
    )
    counters.sessions_active["public"] = 3
    counters.handshakes["feed", "accepted"] = 2
    counters.handshakes[NO_ROUTE, "no_route"] = 1
    route = counters.routes["feed"]
    agreement = Agreement(server=Window(12, True), client=Window(12, True))
    for size in [1000] * 20 + [1, 63, 64, 2**24, 2**24 - 1]:
        route.sizes[Side.CLIENT][size.bit_length()] += 1
    route.sizes[Side.CLIENT][-1] += 1
    for ended in (True, False):
        plans = (Plan.DEFLATE, Plan.INFLATE)
        tunnel = route.open(tallies_of_a_feed(), (agreement, None), plans, codec_memory=lambda: 32768)
        if ended:
            route.end(tunnel, 12.5, "client", 4001, Lapse.IDLE)
    for seconds in (0.004, 0.3):
        route.round_trip(Side.UPSTREAM, seconds)
    counters.refused["public", "tls"] += 1
    counters.codec_memory_reserved = lambda: 65536
    counters.extension_events = lambda: [(("feed", "client", "permessage-bzip2", "fault"), 1)]
    return counters


def scrape(counters: Counters, accept: str = "") -> str:
    lifecycle = Snapshot()
    for result in ("success", "failure"):
        lifecycle.add(metrics.RELOADS, (result,), 0)
    lifecycle.add(metrics.WORKER_RESTARTS, ("0",), 0)
    lifecycle.add(metrics.LAST_RELOAD_SUCCESSFUL, (), 1)
    snapshot = merge([finished(counters.snapshot(at_once)), lifecycle])
    return b"".join(render(snapshot, accept)).decode()


def families(counters: Counters, accept: str = "") -> dict[str, MetricFamily]:
    """Scrape and parse: families by the name that their samples are documented under."""
    body = scrape(counters, accept)
    parse = parse_openmetrics if accept else parse_text
    found = parse(body)
    return {f"{family.name}_total" if family.type == "counter" else family.name: family for family in found}


def sample(counters: Counters, name: str, **labels: str) -> float | None:
    for family in families(counters).values():
        for found in family.samples:
            if (found.name, found.labels) == (name, labels):
                return found.value
    return None


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_names_types_and_labels(counters: Counters, accept: str) -> None:
    found = families(counters, accept)
    ours = {name: family for name, family in found.items() if name.startswith("wsproxy_")}
    assert {name: family.type for name, family in ours.items()} == {name: kind for name, (kind, _) in METRICS.items()}
    for name, family in ours.items():
        assert family.samples, f"{name} has no sample"
        assert family.documentation.endswith(".")
        for each in family.samples:
            assert set(each.labels) - {"le"} == METRICS[name][1]


def test_prometheus_clients_own_collectors_are_there(counters: Counters) -> None:
    assert "python_info" in families(counters)


SAMPLES: list[tuple[str, dict[str, str], float]] = [
    ("wsproxy_sessions_active", {"listener": "public"}, 3),
    ("wsproxy_tunnels_active", {"route": "feed", "upstream": "backend"}, 1),
    ("wsproxy_tunnels_total", {"route": "feed", "upstream": "backend"}, 2),
    ("wsproxy_handshakes_total", {"route": "feed", "result": "accepted"}, 2),
    ("wsproxy_handshakes_total", {"route": "feed", "result": "limited"}, 0),
    ("wsproxy_handshakes_total", {"route": "", "result": "no_route"}, 1),
    (
        "wsproxy_agreements_total",
        {"route": "feed", "leg": "client", "extension": "permessage-deflate", "takeover": "both", "window_bits": "12"},
        2,
    ),
    (
        "wsproxy_agreements_total",
        {"route": "feed", "leg": "upstream", "extension": "none", "takeover": "none", "window_bits": "0"},
        2,
    ),
    ("wsproxy_plans_total", {"route": "feed", "direction": "to_client", "plan": "deflate"}, 2),
    ("wsproxy_plans_total", {"route": "feed", "direction": "to_upstream", "plan": "inflate"}, 2),
    ("wsproxy_plans_total", {"route": "feed", "direction": "to_upstream", "plan": "pass"}, 0),
    ("wsproxy_messages_total", {"route": "feed", "leg": "client", "direction": "sent", "kind": "text"}, 20),
    ("wsproxy_messages_total", {"route": "feed", "leg": "upstream", "direction": "sent", "kind": "binary"}, 4),
    ("wsproxy_messages_total", {"route": "feed", "leg": "client", "direction": "received", "kind": "ping"}, 2),
    ("wsproxy_payload_bytes_total", {"route": "feed", "leg": "client", "direction": "sent"}, 20_000),
    ("wsproxy_wire_bytes_total", {"route": "feed", "leg": "client", "direction": "sent"}, 5_080),
    ("wsproxy_wire_bytes_total", {"route": "feed", "leg": "upstream", "direction": "received"}, 20_080),
    ("wsproxy_codec_messages_total", {"route": "feed", "leg": "client", "outcome": "compressed"}, 20),
    ("wsproxy_codec_messages_total", {"route": "feed", "leg": "client", "outcome": "inflated"}, 4),
    ("wsproxy_codec_messages_total", {"route": "feed", "leg": "upstream", "outcome": "plain"}, 24),
    ("wsproxy_codec_input_bytes_total", {"route": "feed", "leg": "client", "operation": "compress"}, 20_000),
    ("wsproxy_codec_output_bytes_total", {"route": "feed", "leg": "client", "operation": "compress"}, 5_000),
    ("wsproxy_codec_output_bytes_total", {"route": "feed", "leg": "client", "operation": "decompress"}, 800),
    (
        "wsproxy_codec_cpu_seconds_total",
        {"route": "feed", "leg": "client", "operation": "compress", "engine": "zlib"},
        3.0,
    ),
    ("wsproxy_compression_ratio", {"route": "feed", "leg": "client", "direction": "sent"}, 4.0),
    ("wsproxy_compression_ratio", {"route": "feed", "leg": "client", "direction": "received"}, 4.0),
    ("wsproxy_codec_memory_bytes", {"route": "feed"}, 32768),
    ("wsproxy_codec_memory_reserved_bytes", {}, 65536),
    ("wsproxy_message_size_bytes_bucket", {"route": "feed", "direction": "to_client", "le": "63.0"}, 2),
    ("wsproxy_message_size_bytes_bucket", {"route": "feed", "direction": "to_client", "le": "255.0"}, 3),
    ("wsproxy_message_size_bytes_bucket", {"route": "feed", "direction": "to_client", "le": "1023.0"}, 23),
    ("wsproxy_message_size_bytes_bucket", {"route": "feed", "direction": "to_client", "le": "16777215.0"}, 24),
    ("wsproxy_message_size_bytes_bucket", {"route": "feed", "direction": "to_client", "le": "+Inf"}, 26),
    ("wsproxy_message_size_bytes_count", {"route": "feed", "direction": "to_client"}, 26),
    ("wsproxy_message_size_bytes_sum", {"route": "feed", "direction": "to_client"}, 20_000),
    ("wsproxy_message_size_bytes_sum", {"route": "feed", "direction": "to_upstream"}, 800),
    ("wsproxy_tunnel_duration_seconds_bucket", {"route": "feed", "le": "10.0"}, 0),
    ("wsproxy_tunnel_duration_seconds_bucket", {"route": "feed", "le": "60.0"}, 1),
    ("wsproxy_tunnel_duration_seconds_sum", {"route": "feed"}, 12.5),
    ("wsproxy_closes_total", {"route": "feed", "initiator": "client", "code": "4xxx"}, 1),
    ("wsproxy_tunnel_timeouts_total", {"route": "feed", "reason": "idle"}, 1),
    ("wsproxy_tunnel_timeouts_total", {"route": "feed", "reason": "ping"}, 0),
    ("wsproxy_ping_rtt_seconds_bucket", {"route": "feed", "leg": "upstream", "le": "0.005"}, 1),
    ("wsproxy_ping_rtt_seconds_count", {"route": "feed", "leg": "upstream"}, 2),
    ("wsproxy_ping_rtt_seconds_count", {"route": "feed", "leg": "client"}, 0),
    ("wsproxy_connections_refused_total", {"listener": "public", "reason": "tls"}, 1),
    ("wsproxy_endpoint_connections", {"upstream": "backend", "endpoint": "ws://a:1"}, 1),
    ("wsproxy_endpoint_up", {"upstream": "backend", "endpoint": "ws://a:1"}, 1),
    ("wsproxy_endpoint_up", {"upstream": "backend", "endpoint": "ws://b:2"}, 0),
    ("wsproxy_config_reloads_total", {"result": "failure"}, 0),
    ("wsproxy_config_last_reload_successful", {}, 1),
]


@pytest.mark.parametrize(("name", "labels", "value"), SAMPLES, ids=lambda each: each if isinstance(each, str) else "")
def test_samples(counters: Counters, name: str, labels: dict[str, str], value: float) -> None:
    assert sample(counters, name, **labels) == value


def test_a_ratio_is_told_only_of_something_compressed(counters: Counters) -> None:
    assert sample(counters, "wsproxy_compression_ratio", route="feed", leg="upstream", direction="sent") is None


def test_build_info_names_the_version(counters: Counters) -> None:
    (only,) = families(counters)["wsproxy_build_info"].samples
    assert (only.labels["version"], only.value) == (__version__, 1)
    assert "zlib" in only.labels["engines"].split(",")


def test_a_scrape_changes_nothing(counters: Counters) -> None:
    def ours() -> list[str]:
        return [
            line
            for line in scrape(counters).splitlines()
            if line.startswith("wsproxy_") and not line.startswith("wsproxy_worker_cpu")
        ]

    assert ours() == ours()


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_a_scrape_has_one_end(counters: Counters, accept: str) -> None:
    assert scrape(counters, accept).count("# EOF") == bool(accept)
    assert scrape(counters, accept).endswith("# EOF\n") == bool(accept)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_the_catalogue_is_in_order(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert metric.name.removesuffix("_total").endswith(metric.unit)


def test_the_page_has_a_query_for_each_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(wsproxy_\w+)` \| [A-Z][^|]*\? \| `([^`|]+)` \|$", DOCUMENT, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(dict.fromkeys(name for name, _ in rows))
    assert {name for name, _ in rows} == set(METRICS)
    for name, query in rows:
        assert re.search(rf"\b{name}(_bucket)?\b", query), query


def test_the_page_describes_each_metric_and_nothing_else() -> None:
    form = r"^\| `(wsproxy_\w+)` \| (counter|gauge|histogram) \| *(\w*) *\| (.*?) \|"
    rows = [
        (name, kind, unit.strip(), labels)
        for name, kind, unit, labels in re.findall(form, DOCUMENT, flags=re.MULTILINE)
    ]
    page = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, _, labels in rows}
    assert page == METRICS
    assert {name: unit for name, _, unit, _ in rows} == {metric.name: metric.unit for metric in CATALOGUE}


@pytest.mark.parametrize(
    ("label", "metric"),
    [
        ("result` of a handshake", "wsproxy_handshakes_total"),
        ("result` of a reload", "wsproxy_config_reloads_total"),
        ("reason` of a timeout", "wsproxy_tunnel_timeouts_total"),
        ("reason` of a refused connection", "wsproxy_connections_refused_total"),
        ("plan`", "wsproxy_plans_total"),
        ("kind`", "wsproxy_messages_total"),
        ("outcome`", "wsproxy_codec_messages_total"),
        ("operation`", "wsproxy_codec_input_bytes_total"),
    ],
)
def test_the_page_lists_the_values_of_a_label(counters: Counters, label: str, metric: str) -> None:
    (row,) = re.findall(rf"^\| `{label} \| (.*) \|$", DOCUMENT, flags=re.MULTILINE)
    told = {each.labels[label.partition("`")[0]] for each in families(counters)[metric].samples}
    assert set(re.findall(r"`([\w-]+)`", row)) == told


MANY = 120


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_many_routes_are_told_of_in_small_pieces_that_are_one_answer(accept: str) -> None:
    """No tunnel waits for the lines of hundreds of routes, and each metric has its comments once."""
    counters = Counters(
        Settings(
            routes=tuple(Route(name=f"route-{number}", upstream="backend") for number in range(MANY)),
            upstreams={"backend": Upstream(endpoints=(WeightedUrl("ws://a:1"),))},
        )
    )
    pieces = list(render(finished(counters.snapshot(at_once)), accept))
    lines = [piece.count(b"\n") - piece.count(b"# ") for piece in pieces]
    assert max(lines) <= LINES_A_PIECE
    assert min(lines[:-2]) >= 0
    answer = b"".join(pieces).decode()
    told = re.findall(r"^# TYPE (wsproxy_\w+)", answer, flags=re.MULTILINE)
    assert len(told) == len(set(told)) == len(CATALOGUE)
    assert answer.count("# HELP wsproxy_") == len(CATALOGUE)
    parse = parse_openmetrics if accept else parse_text
    found = {family.name: family for family in parse(answer)}
    names = {sample.labels["route"] for sample in found["wsproxy_message_size_bytes"].samples}
    assert names == {f"route-{number}" for number in range(MANY)}
    assert len(found["wsproxy_messages"].samples) == MANY * 2 * 2 * 5
