"""Which route takes a request, and who may enter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.gateway.routing import Obstacle, Router, Wanted, check_origin, rewritten
from wsproxy.settings.tree import Route


def route(name: str, path_prefix: str = "/", hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> Route:
    return Route(name=name, upstream="u", hosts=hosts, path_prefix=path_prefix, origins=origins)


def matched(routes: list[Route], host: str, target: str) -> str | None:
    try:
        return Router(routes).match(Wanted(host.encode(), target.encode())).name
    except Refused as error:
        assert (error.status, error.result) == (404, "no_route")
        return None


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        ((), "anything.test", True),
        ((), "", True),
        (("feed.test",), "feed.test", True),
        (("feed.test",), "FEED.Test:8080", True),
        (("Feed.TEST",), "feed.test.", True),
        (("feed.test",), "feed.test.evil", False),
        (("feed.test",), "my.feed.test", False),
        (("feed.test",), "", False),
        (("*.feed.test",), "my.feed.test", True),
        (("*.feed.test",), "my.own.Feed.test:1", True),
        (("*.feed.test",), "feed.test", False),
        (("*.feed.test",), "myfeed.test", False),
        (("a.test", "*.b.test"), "x.b.test", True),
        (("[::1]",), "[::1]:8080", True),
        (("[::1]",), "[::1]", True),
        (("[::1]",), "[::2]", False),
        (("127.0.0.1",), "127.0.0.1:80", True),
    ],
)
def test_hosts(hosts: tuple[str, ...], host: str, expected: bool) -> None:
    assert matched([route("r", hosts=hosts)], host, "/") == ("r" if expected else None)


@pytest.mark.parametrize(
    ("prefix", "target", "expected"),
    [
        ("/", "/", True),
        ("/", "/any?x", True),
        ("/", "*", True),
        ("/feed", "/feed", True),
        ("/feed", "/feed?x=/y", True),
        ("/feed", "/feed/x", True),
        ("/feed", "/feed/", True),
        ("/feed", "/feedback", False),
        ("/feed", "/", False),
        ("/feed", "/x?/feed", False),
        ("/feed", "/Feed", False),
        ("/feed/", "/feed/x", True),
        ("/feed/", "/feed", False),
        ("/a b", "/a%20b/c", True),
        ("/a%20b", "/a%20b/c", True),
        # The other spellings of one path (RFC 3986 §6.2.2).
        ("/feed", "/%66eed", True),
        ("/feed", "//feed", True),
        ("/feed", "/x/../feed", True),
        ("/feed", "/./feed", True),
        ("/feed", "/x/%2e%2E/feed", True),
        ("/feed", "/..%2ffeed", True),
        ("/feed", "/feed/..", False),
        ("/feed", "/feed/%2e%2e/admin", False),
    ],
)
def test_paths(prefix: str, target: str, expected: bool) -> None:
    assert matched([route("r", prefix)], "x", target) == ("r" if expected else None)


def test_the_first_match_wins() -> None:
    routes = [route("feed", "/feed", ("a.test",)), route("all", "/", ("a.test",)), route("rest")]
    assert matched(routes, "a.test", "/feed/1") == "feed"
    assert matched(routes, "a.test", "/other") == "all"
    assert matched(routes, "b.test", "/feed") == "rest"
    assert matched([], "a.test", "/") is None


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/feed", "/feed", True),
        ("/feed", "/feed?x", True),
        ("/feed", "/x/../%66eed", True),
        ("/feed", "/feed/", False),
        ("/feed", "/feed/x", False),
        ("/feed/", "/feed/", True),
        ("/", "/", True),
        ("/", "/x", False),
    ],
)
def test_whole_paths(path: str, target: str, expected: bool) -> None:
    assert matched([Route(name="r", upstream="u", path=path)], "x", target) == ("r" if expected else None)


A_AND_B = {"X-Tenant": "a", "x-zone": "b"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"x-tenant", b"a"), (b"x-zone", b"b")], True),
        ([(b"x-zone", b"b"), (b"cookie", b"c"), (b"x-tenant", b"z"), (b"x-tenant", b"a")], True),
        ([(b"x-tenant", b"a")], False),
        ([(b"x-tenant", b"A"), (b"x-zone", b"b")], False),
        ([(b"x-tenant", b"a, b"), (b"x-zone", b"b")], False),
        ([], False),
    ],
)
def test_headers(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    router = Router([Route(name="r", upstream="u", match_headers=A_AND_B), route("rest")])
    assert (router.match(Wanted(b"x", b"/", headers)).name == "r") == expected


@pytest.mark.parametrize(
    ("offered", "expected"),
    [((b"v2",), True), ((b"v3", b"v1"), True), ((b"v3",), False), ((b"V1",), False), ((), False)],
)
def test_subprotocols(offered: tuple[bytes, ...], expected: bool) -> None:
    router = Router([Route(name="r", upstream="u", subprotocols=("v1", "v2")), route("rest")])
    assert (router.match(Wanted(b"x", b"/", (), offered)).name == "r") == expected


def test_why_the_routes_before_did_not_match() -> None:
    router = Router(
        [
            route("host", hosts=("b.test",)),
            route("path", "/b"),
            Route(name="header", upstream="u", match_headers={"X-Tenant": "b"}),
            Route(name="subprotocol", upstream="u", subprotocols=("v2",)),
            route("taken"),
            route("never"),
        ]
    )
    wanted = Wanted(b"a.test", b"/a", [(b"x-tenant", b"a")], (b"v1",))
    obstacles: list[tuple[str, Obstacle | None]] = [(found.name, why) for found, why in router.explain(wanted)]
    assert obstacles == [
        ("host", "host"),
        ("path", "path"),
        ("header", "header"),
        ("subprotocol", "subprotocol"),
        ("taken", None),
    ]


@pytest.mark.parametrize(
    ("prefix", "replacement", "target", "expected"),
    [
        ("/feed", "", "/feed/x?y", "/feed/x?y"),
        ("/feed", "/", "/feed/x?y=/feed", "/x?y=/feed"),
        ("/feed", "/", "/feed", "/"),
        ("/feed", "/", "/feed?", "/?"),
        ("/feed", "/", "/feed/", "/"),
        ("/feed/", "/", "/feed/x", "/x"),
        ("/feed", "/v2", "/feed", "/v2"),
        ("/feed", "/v2", "/feed/x/", "/v2/x/"),
        ("/feed", "/v2/", "/feed", "/v2/"),
        ("/feed", "/v2/", "/feed/x", "/v2/x"),
        ("/", "/v2", "/x", "/v2/x"),
        ("/", "/v2", "/", "/v2/"),
        ("/", "/v2", "*", "*"),
        ("/a/b", "/", "/a/b/c", "/c"),
        # What stays is as it was written, whatever the prefix was written as.
        ("/feed", "/", "/%66eed/a%20b/c%3Fd", "/a%20b/c%3Fd"),
        ("/feed", "/", "/feed/a;b=c/!", "/a;b=c/!"),
        # Unless it says something else than it seems to.
        ("/feed", "/v2", "/feed/../feed/x", "/v2/x"),
        ("/feed", "/v2", "/x/%2e%2e/feed/a%20b", "/v2/a%20b"),
        ("/feed", "/v2", "//feed//x", "/v2/x"),
        ("/feed", "/v2", "/feed/a%2Fb", "/v2/a%2Fb"),
        ("/feed/a", "/v2", "/feed%2Fa/b", "/v2/b"),
        ("/feed", "/v2", "/feed/./x/", "/v2/x/"),
        ("/feed", "/v2", "/feed/x/..%2fy?..", "/v2/y?.."),
        ("/feed", "/v2", "/feed/./a%3Fb%25", "/v2/a%3Fb%25"),
    ],
)
def test_a_rewritten_path(prefix: str, replacement: str, target: str, expected: str) -> None:
    rule = Route(name="r", upstream="u", path_prefix=prefix, replace_prefix=replacement)
    assert rewritten(rule, target.encode()).decode() == expected


def test_a_whole_path_is_replaced_whole() -> None:
    rule = Route(name="r", upstream="u", path="/old", replace_prefix="/new")
    assert rewritten(rule, b"/x/../old?a") == b"/new?a"


SEGMENTS = st.sampled_from(["feed", "%66eed", "..", "%2e%2E", ".", "", "a", "a%2Fb", "..%2f", "%252e", "b%20c"])


@given(st.lists(SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)))
def test_a_rewritten_path_leads_to_what_was_matched(path: str) -> None:
    """Understood as the matcher does, the path below the replacement is the path below the prefix."""
    rule = Route(name="r", upstream="u", path_prefix="/feed", replace_prefix="/v2/w")
    back = Route(name="r", upstream="u", path_prefix="/v2/w", replace_prefix="/feed")
    if matched([rule], "x", path) is None:
        return
    there = rewritten(rule, path.encode())
    assert there.startswith(b"/v2/w")
    assert matched([back], "x", there.decode()) == "r"
    assert rewritten(rule, rewritten(back, there)) == there


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_find_a_route_or_none(host: bytes, target: bytes) -> None:
    assert Router([route("all")]).match(Wanted(host, target)).name == "all"
    guarded = [route("guarded", "/admin", ("a.test",)), route("rest")]
    assert Router(guarded).match(Wanted(host, target)).name in {"guarded", "rest"}


@pytest.mark.parametrize(
    ("origins", "origin", "expected"),
    [
        ((), "https://evil.test", True),
        (("https://app.test",), None, True),
        (("https://app.test",), "https://app.test", True),
        (("https://app.test",), "HTTPS://App.Test", True),
        (("https://app.test:443",), "https://app.test", True),
        (("https://app.test",), "https://app.test:443", True),
        (("http://app.test",), "http://app.test:80", True),
        (("https://a.test", "http://b.test:8080"), "http://b.test:8080", True),
        (("https://app.test",), "http://app.test", False),
        (("https://app.test",), "https://app.test:8443", False),
        (("https://app.test",), "https://app.test:80", False),
        (("https://app.test",), "https://app.test.evil.test", False),
        (("https://app.test",), "https://my.app.test", False),
        (("https://app.test",), "null", False),
        (("https://app.test",), "", False),
        (("null",), "null", True),
    ],
)
def test_origins(origins: tuple[str, ...], origin: str | None, expected: bool) -> None:
    found = None if origin is None else origin.encode()
    if expected:
        check_origin(route("r", origins=origins), found)
    else:
        with pytest.raises(Refused) as caught:
            check_origin(route("r", origins=origins), found)
        assert (caught.value.status, caught.value.result) == (403, "forbidden")
