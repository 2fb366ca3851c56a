"""The built-in page in a real browser: its figures are those of /metrics, and everyone can use it."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.dashboard.chromium import Tab
from tests.endtoend import peers
from tests.endtoend.proxy import BASE, Proxy, configured, route, wait_for

CHECKS = Path(__file__).with_name("checks.js").read_text()
DESK, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(proxy: Proxy, tab: Tab) -> Tab:
    """The page, with two readings taken."""
    tab.size(*DESK)
    tab.open(_address(proxy))
    wait_for("the charts", lambda: bool(tab.evaluate("document.querySelectorAll('.chart canvas').length === 5")))
    tab.evaluate(CHECKS)
    return tab


def _address(proxy: Proxy) -> str:
    host, port = proxy.metrics_address
    return f"http://{host}:{port}/"


def _scaled(value: float, unit: str = "B") -> str:
    """As people read it: three digits and a decimal prefix."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            number = value / size
            return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _compressed(proxy: Proxy, **labels: str) -> tuple[float, float, float]:
    """What compressing to clients took, gave and cost."""
    labels |= {"leg": "client", "operation": "compress"}
    names = ("codec_input_bytes_total", "codec_output_bytes_total", "codec_cpu_seconds_total")
    taken, given, seconds = (proxy.metric(f"wsproxy_{name}", **labels) for name in names)
    return taken, given, seconds


def _sent(proxy: Proxy, name: str, **labels: str) -> float:
    return proxy.metric(f"wsproxy_{name}", leg="client", direction="sent", **labels)


def test_what_was_saved_is_what_the_metrics_say(proxy: Proxy, page: Tab) -> None:
    taken, given, seconds = _compressed(proxy)
    payload = _sent(proxy, "payload_bytes_total")
    assert payload > 0
    assert page.text("#saved-share") == f"{100 * (taken - given) / payload:.1f} %"
    assert page.text("#saved-bytes") == f"{_scaled(taken - given)} of {_scaled(payload)} did not travel"
    messages = sum(_sent(proxy, "messages_total", kind=kind) for kind in ("text", "binary"))
    cost = 1e6 * seconds / messages
    assert page.text("#cpu-message") == f"{cost:.{2 if cost < 10 else 1}f} µs"
    assert page.text("#tunnels") == f"{proxy.metric('wsproxy_tunnels_active'):.0f}" == "1"


def test_money_is_at_the_price_that_is_set(proxy: Proxy, page: Tab) -> None:
    taken, given, _ = _compressed(proxy)
    page.evaluate("price.value = '1000'; price.dispatchEvent(new Event('input'))")
    assert page.text("#worth") == f"${1000 * (taken - given) / 1e9:.2f}"
    page.evaluate("price.value = '0.09'; price.dispatchEvent(new Event('input'))")


def _routes(page: Tab) -> list[list[str]]:
    rows = page.evaluate(
        "[...document.querySelectorAll('#routes tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return [[" ".join(cell.replace("\u202f", " ").split()) for cell in row] for row in rows]


def test_each_route_has_its_figures(proxy: Proxy, page: Tab) -> None:
    rows = {row[0]: row for row in _routes(page)}
    assert set(rows) == {"feed", "noise", "bare"}
    for name, (_, tunnels, _, payload, wire, ratio, cost) in rows.items():
        taken, given, seconds = _compressed(proxy, route=name)
        assert tunnels == f"{proxy.metric('wsproxy_tunnels_active', route=name):.0f}"
        assert payload == _scaled(_sent(proxy, "payload_bytes_total", route=name))
        assert wire == _scaled(_sent(proxy, "wire_bytes_total", route=name))
        assert ratio == (f"{taken / given:.2f} ×" if given else "–")
        assert (cost == "–") == (seconds == 0)


def test_the_worst_compressing_come_first_when_asked_for(page: Tab) -> None:
    page.evaluate("worst.focus()")
    page.press("Enter")
    assert [row[0] for row in _routes(page)] == ["noise", "feed", "bare"]
    assert page.evaluate("[worst, busiest].map((b) => b.ariaPressed)") == ["true", "false"]
    page.evaluate("busiest.click()")
    assert _routes(page)[0][0] == "feed"


def test_lists_have_the_agreements_the_handshakes_and_the_closes(proxy: Proxy, page: Tab) -> None:
    agreed = page.text("#agreements")
    tunnels = proxy.metric("wsproxy_tunnels_total")
    assert f"upstream: none uncompressed{tunnels:.0f} · 100 %" in agreed
    with_it = proxy.metric("wsproxy_agreements_total", leg="client", extension="permessage-deflate")
    assert f"client: permessage-deflate 12 bits, both ends keep their window{with_it:.0f} · " in agreed
    assert page.text("#handshakes").startswith(f"accepted 101, a tunnel{tunnels:.0f} · 100 %")
    closes = page.text("#closes")
    assert "1000 normal, by the client6 · " in closes
    assert "4xxx application, by the client3 · " in closes


def test_the_charts_say_their_latest_values(page: Tab) -> None:
    labels = page.evaluate("[...document.querySelectorAll('.chart')].map((c) => c.getAttribute('aria-label'))")
    assert len(labels) == 5
    for label in labels:
        assert re.search(r": (\w.* |nothing)", label), label
    assert page.text("#open-key") == "tunnels 1"


def test_the_page_asks_nobody_else_and_breaks_none_of_its_rules(proxy: Proxy, page: Tab) -> None:
    assert {url.startswith(_address(proxy)) for url in page.requests} == {True}
    assert page.complaints == []


def test_its_policy_holds(page: Tab) -> None:
    """What is not ours does not run and is not loaded, and the browser says why."""
    blocked = """new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.injected = true";
        document.body.append(script);
    })"""
    assert page.evaluate(blocked) == "script-src-elem"
    assert page.evaluate("window.injected") is None
    page.complaints.clear()


def _next_stop(page: Tab) -> str:
    """Where the Tab key leads."""
    page.press("Tab")
    return str(page.evaluate("(({ id, className, pathname }) => id || className || pathname)(document.activeElement)"))


def test_the_keyboard_reaches_everything(page: Tab) -> None:
    seen = [_next_stop(page) for _ in range(16)]
    first = seen.index("skip")
    assert seen[first : first + 5] == ["skip", "pause", "price", "busiest", "worst"]
    assert seen[first + 5] == "/metrics"
    while _next_stop(page) != "pause":
        pass
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_screen_reader_is_told_what_is_there(page: Tab) -> None:
    named: dict[str, list[str]] = {}
    for node in page.tree():
        if not node.get("ignored"):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"wsproxy", "Routes", "Agreements", "Closes by code"} <= set(named["heading"])
    assert sum("Payload and wire" in name for name in named["image"]) == 1
    assert named["columnheader"] == [
        "Route",
        "Tunnels",
        "Messages a second",
        "Payload to clients",
        "On the wire",
        "Ratio",
        "Codec CPU a message",
    ]
    assert {"Pause", "Busiest", "Worst compressing"} <= set(named["button"])
    assert all(named[role] and all(named[role]) for role in ("button", "spinbutton", "rowheader"))


def test_a_paused_page_leaves_the_proxy_alone(page: Tab) -> None:
    page.evaluate("pause.click()")
    assert page.text("#state") == "paused"
    page.evaluate("pause.click()")
    assert page.text("#state").startswith("live")


@pytest.mark.parametrize(("width", "height"), [DESK, PHONE, (820, 1180)])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(page: Tab, width: int, height: int, dark: bool) -> None:
    page.size(width, height, dark)
    wait_for("the charts' new width", lambda: page.evaluate("document.documentElement.scrollWidth") <= width)
    wait_for("everything to be inside", lambda: page.evaluate("spilled()") == [])


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(page: Tab, dark: bool) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    page.size(*DESK, dark)
    assert page.evaluate("faint()") == []


WRITTEN = """{
    const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
    window.written = new Map();
    CanvasRenderingContext2D.prototype.clearRect = function (...where) {
        written.set(this, []);
        return clearRect.apply(this, where);
    };
    CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
        written.get(this)?.push(text);
        return fillText.call(this, text, ...where);
    };
}"""
"""Keeps what each chart last wrote on its canvas."""


@pytest.mark.parametrize(("width", "height"), [DESK, PHONE])
def test_no_two_marks_of_time_read_alike(proxy: Proxy, tab: Tab, width: int, height: int) -> None:
    """From the first seconds on, when a mark would be a part of a second."""
    tab.size(width, height)
    with tab.prepared(WRITTEN):
        tab.open(_address(proxy))
        times = "[...written.values()].map((texts) => texts.filter((text) => text.includes(':')))"
        wait_for("marks", lambda: [len(each) > 0 for each in tab.evaluate(times)] == [True] * 5)
        for found in tab.evaluate(times):
            assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("call", "text"),
    [("mark(0.0025)", "0.25 %"), ("mark(0.5)", "50 %"), ("mark(0)", "0 %"), ("bytes(2.5e15)", "2.50 PB")],
)
def test_figures(page: Tab, call: str, text: str) -> None:
    assert page.evaluate(f"import('/figures.js').then((figures) => figures.{call})").replace("\u202f", " ") == text


KEEPS_NOTHING = """Object.defineProperty(window, "localStorage", {
    get() { throw new DOMException("not here", "SecurityError"); },
})"""


def test_a_browser_that_keeps_nothing_shows_the_page(proxy: Proxy, tab: Tab) -> None:
    with tab.prepared(KEEPS_NOTHING):
        tab.open(_address(proxy))
        wait_for("the first numbers", lambda: tab.text("#state").startswith("live"))
        tab.evaluate("price.value = '1000'; price.dispatchEvent(new Event('input'))")
        taken, given, _ = _compressed(proxy)
        assert tab.text("#worth") == f"${1000 * (taken - given) / 1e9:.2f}"
    assert tab.complaints == []


NOBODY_THERE = """{
    const asked = window.fetch;
    window.polls = 0;
    window.fetch = async (...what) => {
        const told = await (await asked(...what)).json();
        told.series.wsproxy_build_info.rows = [];
        window.polls += 1;
        return { ok: true, json: async () => told };
    };
}"""


def test_while_no_worker_says_what_runs_the_page_goes_on(proxy: Proxy, tab: Tab) -> None:
    """As in the moment in which all of them are started again."""
    with tab.prepared(NOBODY_THERE):
        tab.open(_address(proxy))
        wait_for("two readings", lambda: bool(tab.evaluate("window.polls >= 2")))
        assert tab.text("#state").startswith("live")
        assert tab.text("#tunnels") == "1"
    assert tab.complaints == []


@pytest.fixture
def short_lived(tab: Tab) -> Iterator[tuple[Proxy, ExitStack]]:
    with peers.upstream() as upstream, ExitStack() as stack:
        # Two workers: the page tells of their sum.
        yield stack.enter_context(configured(route("feed", upstream.url), base="workers = 2\n" + BASE)), stack
        tab.complaints.clear()


def test_a_proxy_that_is_gone_is_said_to_be(short_lived: tuple[Proxy, ExitStack], tab: Tab) -> None:
    proxy, stack = short_lived
    tab.open(_address(proxy))
    wait_for("the first numbers", lambda: tab.text("#state").startswith("live"))
    assert tab.text("#saved-bytes") == "nothing was sent yet"
    assert tab.text("#routes") == "No tunnel was opened yet."
    assert tab.text("#build").endswith("2 workers")
    stack.close()
    wait_for("the loss to be seen", lambda: tab.text("#state") == "no answer from the proxy")
