"""The URL grammar of endpoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.settings.endpoints import Endpoint, parse_endpoint


def tcp(url: str, host: str, port: int, tls: bool = False, base_path: str = "") -> Endpoint:
    return Endpoint(url=url, tls=tls, host=host, port=port, unix_path=None, base_path=base_path)


GOOD = [
    tcp("ws://10.0.0.1:9000", "10.0.0.1", 9000),
    tcp("http://a.internal", "a.internal", 80),
    tcp("wss://a.internal", "a.internal", 443, tls=True),
    tcp("https://a.internal:8443/", "a.internal", 8443, tls=True),
    tcp("WSS://a:9443/base", "a", 9443, tls=True, base_path="/base"),
    tcp("ws://a/base/", "a", 80, base_path="/base"),
    tcp("ws://a/b%20c/d", "a", 80, base_path="/b%20c/d"),
    tcp("ws://[::1]", "::1", 80),
    tcp("ws://[::1]:9000/x", "::1", 9000, base_path="/x"),
    Endpoint(url="unix:/run/app.sock", tls=False, host="localhost", port=80, unix_path="/run/app.sock", base_path=""),
]

BAD = [
    ("", "does not start with ws://"),
    ("10.0.0.1:9000", "does not start with ws://"),
    ("ftp://a", "does not start with ws://"),
    ("ws:/a", "does not start with ws://"),
    ("ws://", "has no host"),
    ("ws:///path", "has no host"),
    ("ws://:80", "is not a host name"),
    ("ws://a:", "'' is not a port"),
    ("ws://a:0", "has port 0"),
    ("ws://a:70000", "is not a port"),
    ("ws://::1", "is not a host name"),
    ("ws://[::1", "is not a host name"),
    ("ws://user:secret@a", "cannot hold a user or a password"),
    ("ws://a?x=1", "has a query or a fragment"),
    ("ws://a/b#c", "has a query or a fragment"),
    ("ws://a/b c", "must be percent-encoded"),
    ("ws://a/%zz", "must be percent-encoded"),
    ("ws://a/\r\nX: y", "must be percent-encoded"),
    ("ws://a\n", "is not a host name"),
    ("unix:app.sock", "is not an absolute path"),
]


@pytest.mark.parametrize("endpoint", GOOD, ids=lambda endpoint: endpoint.url)
def test_reads(endpoint: Endpoint) -> None:
    assert parse_endpoint(endpoint.url) == endpoint


@pytest.mark.parametrize(("url", "problem"), BAD)
def test_refuses_with_a_reason(url: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_endpoint(url)
    assert problem in str(caught.value)


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(ValueError) as caught:
        parse_endpoint("wss://user:hunter2@a")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=30), st.sampled_from(["ws://", "wss://a", "http://a:1/", "https://[", "unix:/", ""]))
def test_what_is_accepted_is_safe_in_a_request_line(rest: str, start: str) -> None:
    try:
        endpoint = parse_endpoint(start + rest)
    except ValueError:
        return
    assert 0 < endpoint.port < 65536
    assert endpoint.base_path.isascii()
    assert not set(endpoint.base_path) & set(" \r\n\t?#")
    assert not endpoint.base_path.endswith("/")
