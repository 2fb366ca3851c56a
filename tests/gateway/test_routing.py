"""Which route takes a request, and who may enter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.gateway.routing import Router, check_origin
from wsproxy.settings.tree import Route


def route(name: str, path_prefix: str = "/", hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> Route:
    return Route(name=name, upstream="u", hosts=hosts, path_prefix=path_prefix, origins=origins)


def matched(routes: list[Route], host: str, target: str) -> str | None:
    try:
        return Router(routes).match(host.encode(), target.encode()).name
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


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_find_a_route_or_none(host: bytes, target: bytes) -> None:
    assert Router([route("all")]).match(host, target).name == "all"
    guarded = [route("guarded", "/admin", ("a.test",)), route("rest")]
    assert Router(guarded).match(host, target).name in {"guarded", "rest"}


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
