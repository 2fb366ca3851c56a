"""One trace from the client over the upstream's request to the log line."""

import json
import re

import pytest

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.proxy import BASE, Proxy, route, wait_for
from tests.endtoend.wire import knock

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
JSON_LOG = BASE + '[log]\nformat = "json"\n'


def _line(proxy: Proxy, event: str) -> dict[str, object]:
    def found() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in list(proxy.lines)]
        return [line for line in lines if line["event"] == event]

    wait_for(f"the line of {event}", lambda: bool(found()))
    return found()[0]


def _asked(upstream: peers.Upstream) -> list[str]:
    return upstream.requests[-1].headers.get_all("traceparent")


def test_a_trace_goes_on(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(route("feed", plain_upstream.url), base=JSON_LOG)
    headers = [("traceparent", PARENT), ("tracestate", "vendor=1")]
    with peers.client(proxy.url("/feed?token=secret"), headers=headers) as client:
        client.send("hello")
        client.recv()
    assert _asked(plain_upstream) == [PARENT]
    assert plain_upstream.requests[-1].headers["tracestate"] == "vendor=1"
    closed = _line(proxy, "closed")
    assert closed["trace_id"] == TRACE
    assert "secret" not in json.dumps(closed)


@pytest.mark.parametrize("sent", [None, "00-nonsense", PARENT.upper()])
def test_a_trace_begins(start_proxy: StartProxy, plain_upstream: peers.Upstream, sent: str | None) -> None:
    proxy = start_proxy(route("feed", plain_upstream.url), base=JSON_LOG)
    with peers.client(proxy.url("/feed"), headers=[("traceparent", sent)] if sent else []):
        pass
    (asked,) = _asked(plain_upstream)
    found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", asked)
    assert found is not None
    assert _line(proxy, "closed")["trace_id"] == found[1]


def test_a_refusal_is_of_its_trace(start_proxy: StartProxy) -> None:
    proxy = start_proxy(route("gone", "ws://127.0.0.1:1"), base=JSON_LOG)
    wire = knock(proxy.address, "/gone", traceparent=PARENT)
    assert wire.head().status == 502
    assert _line(proxy, "refused")["trace_id"] == TRACE


def test_nothing_is_written_for_a_message(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(route("feed", plain_upstream.url), base=JSON_LOG)
    with peers.client(proxy.url("/feed"), deflate=peers.CHROME) as client:
        for number in range(200):
            client.send(f"message {number}")
            client.recv()
        assert client.ping().wait(10)
    proxy.settled()
    _line(proxy, "closed")
    assert [json.loads(line)["event"] for line in proxy.lines] == ["ready", "closed"]
