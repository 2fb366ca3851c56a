"""A real Prometheus scrapes real traffic: its numbers are the proxy's; rules and dashboards find what they ask for."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.endtoend import peers
from tests.endtoend.conversations import content, text
from tests.endtoend.proxy import BASE, Proxy, configured, route, wait_for
from tests.endtoend.wire import knock
from tests.prometheus.server import MISSING, SHIPPED, Prometheus, find, prometheus
from wsproxy.telemetry.metrics import CATALOGUE

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
TRAFFIC_SECONDS = 8.0
BUDGET = "[limits]\ncodec_memory_bytes = 100_000_000\n"


class Observed:
    """A proxy with two workers, and a Prometheus that saw a while of traffic through it."""

    def __init__(self, proxy: Proxy, server: Prometheus) -> None:
        self.proxy = proxy
        self.server = server

    def wait_for_series(self, expression: str) -> None:
        wait_for(f"series of {expression}", lambda: bool(self.server.query(expression)))

    def wait_for_number(self, expression: str, value: float) -> None:
        wait_for(f"{expression} to be {value}", lambda: self.server.number(expression) == value)


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    binary = find("prometheus")
    if binary is None:
        pytest.skip(MISSING)
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.upstream())
        wide = stack.enter_context(peers.upstream(deflate=peers.WIDE))
        parts = (
            route("feed", upstream.url),
            route(
                "deep",
                wide.url,
                "compression.upstream.enabled = true",
                'extensions.client = [{ name = "permessage-bzip2" }]',
            ),
            route("gone", "ws://127.0.0.1:1"),
        )
        proxy = stack.enter_context(configured(*parts, base="workers = 2\n" + BASE + BUDGET))
        host, port = proxy.metrics_address
        server = stack.enter_context(prometheus(binary, f"{host}:{port}"))
        stay = stack.enter_context(peers.client(proxy.url("/feed"), deflate=peers.CHROME))
        limit = monotonic() + TRAFFIC_SECONDS
        while monotonic() < limit:
            _converse(proxy)
            stay.send(text(2_000))
            stay.recv()
        wait_for("the last word", lambda: proxy.metric("wsproxy_tunnels_active") == 1)
        yield Observed(proxy, server)


def _converse(proxy: Proxy) -> None:
    for name in ("feed", "deep"):
        with peers.client(proxy.url(f"/{name}"), deflate=peers.CHROME) as client:
            for size in (100, 3_000):
                client.send(content(size))
                client.recv()
            assert client.ping().wait(10)
    for path, status in (("/gone", 502), ("/nowhere", 404)):
        wire = knock(proxy.address, path)
        assert wire.head().status == status
        wire.hang_up()


def test_it_is_scraped_without_an_error(observed: Observed) -> None:
    (target,) = observed.server.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_its_numbers_are_the_proxys(observed: Observed) -> None:
    for name in (
        "wsproxy_payload_bytes_total",
        "wsproxy_wire_bytes_total",
        "wsproxy_messages_total",
        "wsproxy_codec_output_bytes_total",
        "wsproxy_tunnels_total",
        "wsproxy_message_size_bytes_count",
    ):
        told = observed.proxy.metric(name)
        assert told > 0
        observed.wait_for_number(f"sum({name})", told)


def test_it_knows_types_units_and_help(observed: Observed) -> None:
    told = observed.server.ask("metadata")
    for metric in CATALOGUE:
        # OpenMetrics, which Prometheus asks for, names a counter without its suffix.
        (known,) = told[metric.name.removesuffix("_total")]
        assert known["help"] == metric.help
        assert known["unit"] == metric.unit
        assert known["type"] == (
            "counter" if metric.name.endswith("_total") else "histogram" if metric.bounds else "gauge"
        )


def test_series_are_few_and_stay_so(observed: Observed) -> None:
    """Three routes: what they count is bounded by the configuration."""
    assert observed.server.number('count({__name__=~"wsproxy_.*"})') < 3 * 260


def test_the_recording_rules_record(observed: Observed) -> None:
    records = re.findall(r"- record: (\S+)", (SHIPPED / "wsproxy.rules.yml").read_text())
    assert len(records) > 8
    for record in records:
        observed.wait_for_series(record)
    for group in observed.server.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] != "err", rule
    ratio = observed.server.number('job_route:wsproxy_compression_ratio:rate5m{route="feed"}')
    assert 1 < ratio < 100


def test_the_alert_for_an_upstream_that_is_gone_is_on_its_way(observed: Observed) -> None:
    def pending() -> bool:
        found = observed.server.query('ALERTS{alertname="WsproxyHandshakesFailing", route="gone"}')
        return [each["metric"]["alertstate"] for each in found] == ["pending"]

    wait_for("the alert", pending)


def test_every_query_of_the_documentation_finds_series(observed: Observed) -> None:
    rows = re.findall(r"^\| `wsproxy_\w+` \| [^|]*\? \| `([^`|]+)` \|$", DOCUMENT, flags=re.MULTILINE)
    assert len(rows) == len(CATALOGUE)
    for query in rows:
        assert observed.server.query(query), query


def _expressions(dashboard: Path) -> list[tuple[str, str]]:
    board = json.loads(dashboard.read_text())
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


def _filled_in(expression: str, board: dict[str, Any]) -> str:
    """As Grafana would send it, everything chosen."""
    values = {"__rate_interval": "8s", "__range": "1m"}
    for variable in board["templating"]["list"]:
        values[variable["name"]] = variable.get("allValue") or variable.get("query")
    return re.sub(r"\$(\w+)", lambda found: str(values[found[1]]), expression)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_finds_series(observed: Observed, dashboard: Path) -> None:
    board = json.loads(dashboard.read_text())
    expressions = _expressions(dashboard)
    assert len(expressions) >= 20
    for title, expression in expressions:
        assert observed.server.query(_filled_in(expression, board)), f"{title}: {expression}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_choice_finds_values(observed: Observed, dashboard: Path) -> None:
    board = json.loads(dashboard.read_text())
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None
            selector = found[1].replace("$job", ".*")
            assert observed.server.ask(f"label/{found[2]}/values", **{"match[]": selector}), variable["name"]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(dashboard: Path) -> None:
    """Needs no Prometheus: identities, places and names of metrics."""
    board = json.loads(dashboard.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (p["x"] + x, p["y"] + y)
        for p in (panel["gridPos"] for panel in panels)
        for x in range(p["w"])
        for y in range(p["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    known = {metric.name for metric in CATALOGUE} | {"process_resident_memory_bytes"}
    for _, expression in _expressions(dashboard):
        named = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(?:wsproxy|process)_\w+", expression)}
        assert named <= known, named - known
