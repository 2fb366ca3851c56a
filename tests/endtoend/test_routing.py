"""Which upstream a request reaches, and what it is asked there: real requests, each answered by who got it."""

import http.client
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.server import ServerConnection

from tests.endtoend.peers import Upstream, client, upstream
from tests.endtoend.proxy import DEADLINE, Proxy, configured
from tests.endtoend.web import WebUpstream, web_upstream

CONFIG = """
[[routes]]
name = "tenant"
path_prefix = "/feed"
match_headers = {{ "X-Tenant" = "a" }}
upstream = "a"
[[routes]]
name = "modern"
path_prefix = "/feed"
subprotocols = ["v2", "v3"]
upstream = "b"
[[routes]]
name = "whole"
path = "/feed"
replace_prefix = "/whole"
upstream = "b"
[[routes]]
name = "host"
hosts = ["*.example.org"]
upstream = "b"
[[routes]]
name = "stripped"
path_prefix = "/api/v1"
replace_prefix = "/"
upstream = "a"
[[routes]]
name = "web"
path_prefix = "/pages"
replace_prefix = "/web"
upstream = "web"
[[routes]]
name = "rest"
path_prefix = "/feed"
upstream = "c"
[upstreams.a]
endpoints = ["{a}/base"]
[upstreams.b]
endpoints = ["{b}"]
[upstreams.c]
endpoints = ["{c}"]
[upstreams.web]
endpoints = ["{web}"]
"""


@dataclass(slots=True)
class World:
    proxy: Proxy
    upstreams: dict[str, Upstream]
    web: WebUpstream

    def ask(self, path: str, headers: dict[str, str] | None = None, subprotocols: tuple[str, ...] = ()) -> str:
        """Who answers, and the path that it was asked for."""
        with client(
            self.proxy.url(path), headers=list((headers or {}).items()), subprotocols=subprotocols
        ) as connection:
            name = str(connection.recv(DEADLINE))
        return f"{name} {self.upstreams[name].requests[-1].path}"


def telling(name: str) -> AbstractContextManager[Upstream]:
    """An upstream that tells its name and closes."""

    def conversation(connection: ServerConnection) -> None:
        connection.send(name)

    return upstream(conversation, subprotocols=("v2", "v3"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        telling("a") as a,
        telling("b") as b,
        telling("c") as c,
        web_upstream() as web,
        configured(CONFIG.format(a=a.url, b=b.url, c=c.url, web=web.url)) as proxy,
    ):
        yield World(proxy, {"a": a, "b": b, "c": c}, web)


@pytest.mark.parametrize(
    ("path", "headers", "subprotocols", "expected"),
    [
        ("/feed/x?y=1", {"X-Tenant": "a"}, (), "a /base/feed/x?y=1"),
        ("/feed/x", {"x-tenant": "a"}, ("v2",), "a /base/feed/x"),
        ("/feed/x", {"X-Tenant": "b"}, ("v1", "v3"), "b /feed/x"),
        ("/feed/x", {}, ("v1",), "c /feed/x"),
        ("/feed/x", {}, (), "c /feed/x"),
        ("/feed?y", {}, (), "b /whole?y"),
        ("/api/v1", {}, (), "a /base/"),
        ("/api/v1/x%20y/?z=%2F", {}, (), "a /base/x%20y/?z=%2F"),
    ],
)
def test_a_handshake_goes_to_the_first_route_that_matches(
    world: World, path: str, headers: dict[str, str], subprotocols: tuple[str, ...], expected: str
) -> None:
    assert world.ask(path, headers, subprotocols) == expected


def test_a_host_with_a_wildcard(world: World) -> None:
    connection = http.client.HTTPConnection(*world.proxy.address, timeout=DEADLINE)
    connection.request("GET", "/anything", headers={"Host": "my.example.org:80"})
    assert connection.getresponse().status == 426  # upstream b speaks nothing but WebSocket
    connection.close()


def test_what_no_route_takes_is_a_404(world: World) -> None:
    with pytest.raises(InvalidStatus) as refused, client(world.proxy.url("/other")):
        pass
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize("target", ["/pages/page?x=1", "http://other.test/pages/page?x=1", "/x/../pages/./page?x=1"])
def test_plain_requests_are_routed_and_rewritten_too(world: World, target: str) -> None:
    connection = http.client.HTTPConnection(*world.proxy.address, timeout=DEADLINE)
    connection.putrequest("GET", target, skip_host=True)
    connection.putheader("Host", "other.test")
    connection.putheader("X-Kept", "kept")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"<p>hello</p>\n")
    connection.close()
    method, path, headers = world.web.seen[-1]
    assert (method, path) == ("GET", "/web/page?x=1")
    assert ("host", "other.test") in headers
    assert ("x-kept", "kept") in headers
