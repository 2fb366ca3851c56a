"""The read-only pages: method, target and Accept to status, headers and body."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.driven import at_once, finished, taking
from wsproxy.settings.tree import Route, Settings, Upstream, WeightedUrl
from wsproxy.telemetry.counters import Counters
from wsproxy.telemetry.pages import Page
from wsproxy.telemetry.pages import respond as respond_in_time

TAKE = taking(
    Counters(
        Settings(
            routes=(Route(name="feed", upstream="feed"),),
            upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:1"),))},
        )
    )
)


def respond(method: bytes, target: bytes, accept: bytes = b"", ready: bool = True) -> Page:
    return finished(respond_in_time(method, target, accept, TAKE, at_once, ready))


@pytest.mark.parametrize(
    ("method", "target", "ready", "status", "start"),
    [
        (b"GET", b"/livez", False, 200, b"alive\n"),
        (b"GET", b"/livez", True, 200, b"alive\n"),
        (b"GET", b"/readyz", True, 200, b"ready\n"),
        (b"GET", b"/readyz", False, 503, b"not ready\n"),
        (b"GET", b"/readyz?verbose", True, 200, b"ready\n"),
        (b"GET", b"/", True, 200, b"<!doctype html>"),
        (b"GET", b"/page.js?x", True, 200, b"//"),
        (b"GET", b"/numbers.json", True, 200, b'{"now":'),
        (b"GET", b"/../board.py", True, 404, b"no such page\n"),
        (b"GET", b"/index.html", True, 404, b"no such page\n"),
        (b"GET", b"/metrics", True, 200, b"# HELP "),
        (b"GET", b"/metrics/", True, 404, b"no such page\n"),
        (b"GET", b"/nothing", True, 404, b"no such page\n"),
        (b"GET", b"*", True, 404, b"no such page\n"),
        (b"GET", b"", True, 404, b"no such page\n"),
        (b"POST", b"/metrics", True, 405, b"only GET and HEAD\n"),
        (b"OPTIONS", b"*", True, 405, b"only GET and HEAD\n"),
    ],
)
def test_pages(method: bytes, target: bytes, ready: bool, status: int, start: bytes) -> None:
    page = respond(method, target, b"", ready)
    headers = dict(page.headers)
    assert (page.status, page.body.startswith(start)) == (status, True)
    assert int(headers[b"Content-Length"]) == len(page.body)
    assert headers.get(b"Allow") == (b"GET, HEAD" if status == 405 else None)


@pytest.mark.parametrize("target", [b"/livez", b"/readyz", b"/", b"/nothing"])
def test_head_has_the_headers_and_no_body(target: bytes) -> None:
    get, head = (respond(method, target, b"", True) for method in (b"GET", b"HEAD"))
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
    assert get.body


OPENMETRICS = b"application/openmetrics-text"
PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (b"", b"text/plain"),
        (b"*/*", b"text/plain"),
        (b"text/html, text/plain;version=0.0.4", b"text/plain"),
        (OPENMETRICS, OPENMETRICS),
        (OPENMETRICS.upper(), OPENMETRICS),
        (PROMETHEUS, OPENMETRICS),
        (OPENMETRICS + b";version=abc", OPENMETRICS),
        (b"text/plain;version=abc", b"text/plain"),
    ],
)
def test_the_format_is_negotiated(accept: bytes, media_type: bytes) -> None:
    page = respond(b"GET", b"/metrics", accept, True)
    assert dict(page.headers)[b"Content-Type"].split(b";")[0] == media_type
    assert page.body.endswith(b"# EOF\n") == (media_type == OPENMETRICS)


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=60))
def test_no_request_can_raise(method: bytes, target: bytes, accept: bytes) -> None:
    for known_method, known_target in ((method, target), (b"GET", target), (b"GET", b"/metrics")):
        page = respond(known_method, known_target, accept, True)
        assert b"\r" not in b"".join(value for _, value in page.headers)
