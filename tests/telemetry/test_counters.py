"""Counters: totals that never fall, keys that are bounded."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.driven import at_once, finished, pausing
from wsproxy.errors import Side
from wsproxy.extensions.engines import EngineUnavailable, choose, choose_to_decompress
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import FIELDS, Direction, Tally
from wsproxy.settings.tree import Compression, LegCompression, Listener, Route, Settings, Upstream, WeightedUrl
from wsproxy.telemetry import metrics
from wsproxy.telemetry.counters import (
    NO_ROUTE,
    RESULTS,
    Counters,
    Pause,
    RouteCounters,
    Tallies,
    Tunnel,
)
from wsproxy.telemetry.labels import AgreementKey, close_label
from wsproxy.telemetry.metrics import DURATION_BOUNDS


def new_tallies() -> Tallies:
    return ((Tally(), Tally()), (Tally(), Tally()))


def no_memory() -> int:
    return 0


def open_tunnel(
    route: RouteCounters,
    tallies: Tallies | None = None,
    agreements: tuple[Agreement | None, Agreement | None] = (None, None),
    plans: tuple[Plan, Plan] = (Plan.PLAIN, Plan.PLAIN),
    codec_memory: Callable[[], int] = no_memory,
) -> Tunnel:
    return route.open(tallies or new_tallies(), agreements, plans, codec_memory)


def new_route() -> RouteCounters:
    return RouteCounters(Route(name="feed", upstream="backend"))


def memory(route: RouteCounters) -> int:
    return finished(route.totals(at_once))[1]


def sums(route: RouteCounters, pause: Pause = at_once) -> dict[tuple[Side, Direction], tuple[int, ...]]:
    legs, _ = finished(route.totals(pause))
    return {leg: values(tally) for leg, tally in legs.items()}


def values(tally: Tally) -> tuple[int, ...]:
    return tuple(getattr(tally, name) for name in FIELDS)


SETTINGS = Settings(
    listeners=(Listener(name="public", bind="127.0.0.1:0"), Listener(name="inside", bind="unix:/run/a.sock")),
    routes=(Route(name="feed", upstream="backend"), Route(name="chat", upstream="backend")),
    upstreams={"backend": Upstream(endpoints=(WeightedUrl("ws://a"), WeightedUrl("ws://b")))},
)


def test_everything_configured_is_there_before_its_first_event() -> None:
    counters = Counters(SETTINGS)
    assert counters.sessions_active == {"public": 0, "inside": 0}
    assert list(counters.routes) == ["feed", "chat"]
    assert set(counters.handshakes) == {(route, result) for route in ("feed", "chat", NO_ROUTE) for result in RESULTS}
    assert set(counters.handshakes.values()) == {0}


def test_a_tunnels_life() -> None:
    route = new_route()
    agreement = Agreement(server=Window(12, True), client=Window(15, False))
    first = open_tunnel(
        route, agreements=(agreement, None), plans=(Plan.DEFLATE, Plan.INFLATE), codec_memory=lambda: 1000
    )
    second = open_tunnel(route, codec_memory=lambda: 24)
    assert (route.tunnels_active, route.tunnels_total, memory(route)) == (2, 2, 1024)
    assert route.plans[Side.CLIENT, Plan.DEFLATE] == route.plans[Side.UPSTREAM, Plan.INFLATE] == 1
    assert route.agreements == {
        AgreementKey(Side.CLIENT, "permessage-deflate", "server", 12): 1,
        AgreementKey(Side.CLIENT, "none", "none", 0): 1,
        AgreementKey(Side.UPSTREAM, "none", "none", 0): 2,
    }
    route.end(first, 2.5, "upstream", 1000)
    assert (route.tunnels_active, route.tunnels_total, memory(route)) == (1, 2, 24)
    route.end(second, 0.5, "proxy", None)
    assert route.closes == {("upstream", "1000"): 1, ("proxy", "1005"): 1}
    assert (sum(route.durations), route.duration_seconds) == (2, 3.0)


def test_a_tunnel_ends_once() -> None:
    route = new_route()
    tunnel = open_tunnel(route)
    route.end(tunnel, 1.0, "client", 1000)
    with pytest.raises(KeyError):
        route.end(tunnel, 1.0, "client", 1000)
    assert sum(route.durations) == sum(route.closes.values()) == 1


@pytest.mark.parametrize(
    ("server", "client", "takeover"),
    [(True, True, "both"), (True, False, "server"), (False, True, "client"), (False, False, "none")],
)
def test_takeover_label(server: bool, client: bool, takeover: str) -> None:
    route = new_route()
    agreement = Agreement(server=Window(9, server), client=Window(15, client))
    open_tunnel(route, agreements=(None, agreement))
    (key,) = [key for key in route.agreements if key.side is Side.UPSTREAM]
    assert (key.takeover, key.window_bits) == (takeover, 9)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.1, 0), (0.11, 1), (1.0, 1), (86_400.0, len(DURATION_BOUNDS) - 1), (1e9, len(DURATION_BOUNDS))],
)
def test_duration_buckets_include_their_bound(seconds: float, bucket: int) -> None:
    route = new_route()
    route.end(open_tunnel(route), seconds, "client", 1000)
    assert [index for index, count in enumerate(route.durations) if count] == [bucket]


CODES = [
    (None, "1005"),
    (1000, "1000"),
    (1003, "1003"),
    (1004, "other"),
    (1005, "1005"),
    (1006, "1006"),
    (1015, "1015"),
    (1016, "other"),
    (2999, "other"),
    (3000, "3xxx"),
    (3999, "3xxx"),
    (4000, "4xxx"),
    (4999, "4xxx"),
    (5000, "other"),
    (0, "other"),
]


@pytest.mark.parametrize(("code", "label"), CODES)
def test_close_labels(code: int | None, label: str) -> None:
    assert close_label(code) == label


def test_close_labels_are_few() -> None:
    assert len({close_label(code) for code in range(65536)}) < 20


def test_an_engine_is_named_as_chosen() -> None:
    route = RouteCounters(
        Route(name="a", upstream="b", compression=Compression(client=LegCompression(enabled=True, engine="zlib")))
    )
    assert route.engines == (("zlib", "zlib"), (choose_to_decompress("auto").name, choose("auto", 12).name))


def test_an_engine_that_is_not_there_is_said_so() -> None:
    broken = LegCompression(enabled=True, engine="brotli")  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="brotli"):
        RouteCounters(Route(name="a", upstream="b", compression=Compression(client=broken)))


STEPS = st.lists(
    st.one_of(
        st.just(("open",)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(
            st.just("count"),
            st.integers(0, 5),
            st.sampled_from(Side),
            st.sampled_from(Direction),
            st.sampled_from(FIELDS),
            st.integers(0, 2**40),
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_totals_are_exact_and_never_fall(steps: list[tuple[object, ...]]) -> None:
    route = new_route()
    legs = [(side, direction) for side in Side for direction in Direction]
    expected = {leg: dict.fromkeys(FIELDS, 0) for leg in legs}
    live: list[tuple[Tunnel, Tallies]] = []
    before = sums(route)
    for step in steps:
        match step:
            case ("open",):
                tallies = new_tallies()
                live.append((open_tunnel(route, tallies), tallies))
            case ("end", int(index)) if live:
                tunnel, _ = live.pop(index % len(live))
                route.end(tunnel, 1.0, "client", 1000)
            case ("count", int(index), Side() as side, Direction() as direction, str(name), int(amount)) if live:
                tally = live[index % len(live)][1][side][direction]
                setattr(tally, name, getattr(tally, name) + amount)
                expected[side, direction][name] += amount
        after = sums(route)
        assert all(new >= old for leg in legs for new, old in zip(after[leg], before[leg], strict=True))
        before = after
    assert {leg: dict(zip(FIELDS, before[leg], strict=True)) for leg in legs} == expected


def counting(amount: int) -> Tallies:
    tallies = new_tallies()
    tallies[Side.CLIENT][Direction.SENT].payload_bytes = amount
    return tallies


def test_what_happens_between_slices_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel that ends meanwhile counts with what it had in the end; one that begins counts the next time."""
    monkeypatch.setattr("wsproxy.telemetry.counters.TUNNELS_A_SLICE", 1)
    route = new_route()
    first, second, third = (open_tunnel(route, counting(amount)) for amount in (1, 10, 100))

    def between() -> None:
        for tunnel in (first, third):
            if tunnel in ended:
                continue
            tunnel.tallies[Side.CLIENT][Direction.SENT].payload_bytes += 1000
            route.end(tunnel, 1.0, "client", 1000)
            ended.append(tunnel)
        open_tunnel(route, counting(100_000))

    ended: list[Tunnel] = []
    payload = FIELDS.index("payload_bytes")
    # The first was summed before it went on: its thousand comes with the next snapshot.
    assert sums(route, pausing(between))[Side.CLIENT, Direction.SENT][payload] == 1 + 10 + 1100
    assert sums(route)[Side.CLIENT, Direction.SENT][payload] == 1001 + 10 + 1100 + 3 * 100_000
    route.end(second, 1.0, "client", 1000)
    assert sums(route)[Side.CLIENT, Direction.SENT][payload] == 1001 + 10 + 1100 + 3 * 100_000


def test_another_configuration_takes_nothing_away() -> None:
    counters = Counters(SETTINGS)
    feed = counters.routes["feed"]
    tunnel = open_tunnel(feed, counting(5))
    counters.sessions_active["public"] += 1
    changed = Route(name="feed", upstream="other")
    counters.adopt(
        Settings(
            listeners=(Listener(name="new", bind="127.0.0.1:0"),),
            routes=(changed, Route(name="more", upstream="other")),
            upstreams={"other": Upstream(endpoints=(WeightedUrl("ws://c"),))},
        ),
        [],
    )
    assert counters.routes["feed"] is not feed
    assert list(counters.routes) == ["feed", "more"]
    open_tunnel(counters.routes["feed"], counting(7))
    feed.end(tunnel, 1.0, "client", 1000)
    told = finished(counters.snapshot(at_once))
    assert told.number(metrics.PAYLOAD_BYTES, "feed", "client", "sent") == 12
    assert told.series(metrics.TUNNELS) == {
        ("feed", "backend"): 1,
        ("feed", "other"): 1,
        ("chat", "backend"): 0,
        ("more", "other"): 0,
    }
    assert told.series(metrics.SESSIONS_ACTIVE) == {("public",): 1, ("inside",): 0, ("new",): 0}
    assert told.number(metrics.HANDSHAKES, "more", "accepted") == 0
    counters.adopt(SETTINGS, [])
    assert counters.routes["feed"] is feed
