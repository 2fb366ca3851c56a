"""The page's files and numbers, without a browser."""

import json
import re
from importlib import resources
from time import thread_time

import pytest

from tests.telemetry.driven import at_once, finished
from wsproxy.settings.tree import Route, Settings, Upstream, WeightedUrl
from wsproxy.telemetry import board, metrics
from wsproxy.telemetry.counters import Counters
from wsproxy.telemetry.pages import respond
from wsproxy.telemetry.snapshot import Snapshot

FOLDER = resources.files("wsproxy.telemetry") / "dashboard"
NAMES = sorted(each.name for each in FOLDER.iterdir())


def feed() -> Snapshot:
    counters = Counters(
        Settings(
            routes=(Route(name="feed", upstream="feed"),),
            upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:1"),))},
        )
    )
    counters.handshakes["feed", "accepted"] = 3
    return finished(counters.snapshot(at_once))


def test_every_file_is_served_and_the_licence_lies_beside_the_library() -> None:
    served = {
        path: board.file(path) for path in (b"/", *(f"/{name}".encode() for name in NAMES), b"/uPlot.js", b"/uPlot.css")
    }
    contents = {found.content for found in served.values() if found is not None}
    for name in NAMES:
        assert (FOLDER / name).read_bytes() in contents or name == "uPlot.LICENSE"
    assert "MIT" in (FOLDER / "uPlot.LICENSE").read_text()


def test_what_a_file_names_is_served_from_here() -> None:
    for path in (b"/", b"/page.js", b"/charts.js", b"/page.css"):
        found = board.file(path)
        assert found is not None
        named = re.findall(
            r"""(?:src|href|from)[= ]["'](?:\./)?([\w.#/:-]+)["']|url\(([^)]*)\)""", found.content.decode()
        )
        for name in {one or other for one, other in named}:
            if not name.startswith("#") and name != "metrics":
                assert board.file(f"/{name}".encode()) is not None, name


def test_nothing_is_written_into_the_page_by_its_script() -> None:
    """Names come from outside of it: they are text, never markup, and nothing is evaluated."""
    for name in ("page.js", "charts.js", "figures.js"):
        source = (FOLDER / name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?:", source
        )


def test_the_numbers_are_the_snapshots_without_zeros() -> None:
    told = json.loads(board.numbers(feed(), 12.5))
    assert told["now"] == 12.5
    handshakes = told["series"]["wsproxy_handshakes_total"]
    assert handshakes == {"labels": ["route", "result"], "rows": [["feed", "accepted", 3]]}
    assert told["series"]["wsproxy_tunnels_total"] == {"labels": ["route", "upstream"], "rows": []}
    assert set(told["series"]) <= {metric.name for metric in metrics.CATALOGUE}


@pytest.mark.parametrize("path", [b"/", b"/page.js", b"/uPlot.css"])
def test_files_come_with_their_policy(path: bytes) -> None:
    async def nothing() -> Snapshot:
        return Snapshot()

    page = finished(respond(b"GET", path, b"", nothing, at_once, True))
    headers = dict(page.headers)
    policy = headers[b"Content-Security-Policy"].decode()
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers[b"X-Content-Type-Options"] == b"nosniff"


def test_the_numbers_of_many_routes_are_made_in_little_time() -> None:
    """Two hundred routes in one piece, without a pause for tunnels: the best of some tries."""
    names = [f"route-{number}" for number in range(200)]
    counters = Counters(
        Settings(
            routes=tuple(Route(name=name, upstream="feed") for name in names),
            upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:1"),))},
        )
    )
    snapshot = finished(counters.snapshot(at_once))
    for series in snapshot.numbers.values():
        for labels in series:
            series[labels] = 12_345_678
    spent = []
    for _ in range(5):
        started = thread_time()
        board.numbers(snapshot, 1.0)
        spent.append(thread_time() - started)
    assert min(spent) < 0.05
