"""What clients and upstreams send, as it is seen in the log and in the metrics: no secret, no forged line, no label."""

import json
import random
import re
import socket
from collections import defaultdict
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.endtoend.proxy import BASE, WIDE_UPSTREAM, Proxy, configured, route, wait_for
from tests.endtoend.wire import CLOSE, DEADLINE, Frame, RawUpstream, hang_up_all, knock, raw_upstream, tunnel

SECRET = "s3kr1t"
"""A token in most of what follows: it is a bare word and a path's segment, so that only intent keeps it out."""
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error) (?P<event>[a-z ]+?)"
    r"( [a-z_]+=([^ \"]+|\"([^\"\\]|\\.)*\"))*"
)
CODES = (1000, 1001, 1003, 1005, 1006, 1011, 1015, 1016, 2999, 3000, 3456, 4000, 4321, 4999, 5000, 65_535)

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def asked(first: str, *fields: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (first, *fields, "")).encode("latin-1")


REFUSED = {
    "a cookie in a line that is none": asked("GET /feed HTTP/1.1", "Host: a", f"Cookie : session={SECRET}"),
    "a token in a first line that is none": asked(f"GET /feed?token={SECRET} now HTTP/1.1", "Host: a"),
    "a password in the target": asked(f"GET http://user:{SECRET}@a/feed HTTP/1.1", "Host: a"),
    "a password before a port": asked(f"CONNECT user:{SECRET}@a:443 HTTP/1.1", "Host: a"),
    "a password in Host": asked("GET /feed HTTP/1.1", f"Host: user:{SECRET}@a", *HANDSHAKE),
    "a query": asked(f"GET /nowhere?token={SECRET} HTTP/1.1", "Host: a", *HANDSHAKE),
    "a fragment": asked(f"GET /nowhere#{SECRET} HTTP/1.1", "Host: a", *HANDSHAKE),
    "fields": asked(
        "GET /nowhere HTTP/1.1",
        "Host: a",
        *HANDSHAKE,
        f"Cookie: session={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"Sec-WebSocket-Protocol: base64url.bearer.{SECRET}",
        f"X-Api-Key: {SECRET}",
        f"traceparent: 00-{SECRET}-01",
        f"Origin: https://{SECRET}.example",
    ),
    "an origin": asked("GET /closed HTTP/1.1", "Host: a", *HANDSHAKE, f"Origin: https://{SECRET}.example"),
    "a control character": asked("GET /feed HTTP/1.1", "Host: a", f"X-Token: {SECRET}\x01", *HANDSHAKE),
    "extensions": asked("GET /feed HTTP/1.1", "Host: a", *HANDSHAKE, f"Sec-WebSocket-Extensions: {SECRET};;;"),
    "a key": asked("GET /feed HTTP/1.1", "Host: a", *HANDSHAKE[:3], f"Sec-WebSocket-Key: {SECRET}"),
    "a version": asked("GET /feed HTTP/1.1", "Host: a", *HANDSHAKE[:2], f"Sec-WebSocket-Version: {SECRET}"),
    "a length": asked("GET /feed HTTP/1.1", "Host: a", f"Content-Length: {SECRET}"),
    "a coding": asked("GET /feed HTTP/1.1", "Host: a", f"Transfer-Encoding: {SECRET}"),
    "a subprotocol twice": asked(
        "GET /feed HTTP/1.1", "Host: a", *HANDSHAKE, f"Sec-WebSocket-Protocol: {SECRET}, {SECRET}"
    ),
    "too much": asked("GET /feed HTTP/1.1", "Host: a", f"Cookie: {SECRET * 20_000}"),
}
"""Requests that the proxy refuses by itself."""

ANSWERS = {
    "a cookie in a line that is none": asked("HTTP/1.1 101 Switching Protocols", f"Set-Cookie : session={SECRET}"),
    "a status": asked(f"HTTP/1.1 {SECRET}"),
    "no HTTP": asked(SECRET),
    "a proof": asked(
        "HTTP/1.1 101 Switching Protocols", *HANDSHAKE[:2], f"Sec-WebSocket-Accept: {SECRET}", f"Set-Cookie: {SECRET}"
    ),
    "a place": asked("HTTP/1.1 302 Found", f"Location: https://a/?token={SECRET}", "Content-Length: 0"),
    "a refusal": asked("HTTP/1.1 403 Forbidden", f"Set-Cookie: session={SECRET}", "Content-Length: 0"),
}
"""Answers of an upstream that are no tunnel."""

FORGED = 'bye"\n2026-01-01T00:00:00.000Z info ready listen=x\r\x1b[2J {"event": "ready"}'

LABELS = {
    "listener": {"public"},
    "route": {"", "feed", "closed"},
    "upstream": {"feed", "closed"},
    "leg": {"client", "upstream"},
    "direction": {"received", "sent", "to_client", "to_upstream"},
    "initiator": {"client", "upstream", "proxy"},
    "worker": {"0"},
    "extension": {"permessage-deflate", "none"},
    "takeover": {"both", "server", "client", "none"},
    "window_bits": {"0", *map(str, range(9, 16))},
    "plan": {"plain", "deflate", "inflate", "recode", "pass"},
    "kind": {"text", "binary", "ping", "pong", "close"},
    "operation": {"compress", "decompress"},
    "engine": {"zlib", "zlib-ng", "isal"},
    "code": {*map(str, range(1000, 1004)), *map(str, range(1005, 1016)), "3xxx", "4xxx", "other"},
}
"""What these may be. Others have values of the configuration, or of lists that the catalogue's test holds."""
SERIES_AT_MOST = 2 * 260


@pytest.fixture
def bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream
    hang_up_all()


def parts(bare: RawUpstream) -> tuple[str, str]:
    closed = route("closed", bare.url, 'origins = ["https://app.example.com"]')
    feed = route("feed", bare.url, "timeouts.close_seconds = 1", *WIDE_UPSTREAM)
    # It answers wrongly again and again, and is to be asked all the same.
    return feed + 'health.mode = "off"\n', closed


@pytest.fixture(params=["text", "json"])
def proxy(request: pytest.FixtureRequest, bare: RawUpstream) -> Iterator[Proxy]:
    """Tells everything that it ever tells."""
    log = f'[log]\nformat = "{request.param}"\nlevel = "debug"\n'
    with configured(*parts(bare), base=BASE + log) as running:
        yield running


def event_of(line: str) -> str:
    """What a line tells of; it must be one record of printable ASCII."""
    assert line.isascii() and line.isprintable(), line
    if line.startswith("{"):
        return str(json.loads(line)["event"])
    found = LINE.fullmatch(line)
    assert found is not None, line
    return found["event"]


def events(proxy: Proxy, event: str) -> list[str]:
    return [line for line in list(proxy.lines) if event_of(line) == event]


def status(address: tuple[str, int], request: bytes) -> int:
    """Of the answer to a request that is sent as it is."""
    with socket.create_connection(address, DEADLINE) as sock:
        sock.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65_536)
            assert data, head
            head += data
        return int(head.split()[1])


def test_no_secret_of_a_request_is_in_the_log(proxy: Proxy) -> None:
    for number, (what, request) in enumerate(REFUSED.items(), 1):
        assert status(proxy.address, request) >= 400, what
        wait_for(f"the line of {what}", lambda: len(events(proxy, "refused")) == number)  # noqa: B023
    assert [line for line in proxy.lines if SECRET in line] == []
    assert SECRET not in proxy.page("/metrics")


def test_no_secret_of_an_upstreams_answer_is_in_the_log(proxy: Proxy, bare: RawUpstream) -> None:
    for number, (what, told) in enumerate(ANSWERS.items(), 1):
        wire = knock(proxy.address, f"/feed?token={SECRET}", Cookie=SECRET)
        upstream, _ = bare.receive()
        upstream.sock.sendall(told)
        assert wire.head().status >= 300, what
        for each in (wire, upstream):
            each.hang_up()
        wait_for(f"the line of {what}", lambda: len(events(proxy, "refused")) == number)  # noqa: B023
    assert [line for line in proxy.lines if SECRET in line] == []
    assert SECRET not in proxy.page("/metrics")


def test_a_tunnel_tells_neither_its_query_nor_its_cookies_and_its_reason_forges_nothing(
    proxy: Proxy, bare: RawUpstream
) -> None:
    client = knock(proxy.address, f"/feed/{SECRET}?token={SECRET}", Cookie=SECRET, Sec_WebSocket_Protocol=SECRET)
    upstream, _ = bare.accept()
    assert client.head().status == 101
    for ending, starting in ((client, upstream), (upstream, client)):
        starting.close(4000, FORGED)
        assert ending.closed_with() == (4000, FORGED)
    wait_for("its line", lambda: len(events(proxy, "closed")) == 1)
    (line,) = events(proxy, "closed")
    if line.startswith("{"):
        assert json.loads(line)["reason"] == FORGED
    assert len(events(proxy, "ready")) == 1
    assert [each for each in proxy.lines if SECRET in each] == []


def test_nothing_from_outside_makes_a_label(bare: RawUpstream) -> None:
    """Hosts, paths, fields, extensions, subprotocols and close codes of any kind."""
    source = random.Random(7)
    with configured(*parts(bare)) as proxy:
        for _ in range(60):
            word = f"x{source.randrange(10**9)}"
            fields = (f"Host: {word}.example", *HANDSHAKE, f"Origin: https://{word}", f"X-{word}: {word}")
            where = source.choice(["/feed", "/closed", f"/{word}"])
            first = source.choice([f"GET {where}/{word}?{word} HTTP/1.1", f"{word.upper()} {where} HTTP/1.1"])
            if where != "/feed" or not first.startswith("GET"):
                status(proxy.address, asked(first, *fields))
        for number, code in enumerate(CODES):
            word, bits = f"x{number}", number % 8 + 8
            offer = f"{word}; a={word}, permessage-deflate; server_max_window_bits={bits}; client_max_window_bits"
            with tunnel(proxy.address, bare, f"/feed/{word}", offer=source.choice([offer, None])) as ends:
                near, far = source.choice([(ends.client, ends.upstream), (ends.upstream, ends.client)])
                near.send(Frame(CLOSE, code.to_bytes(2, "big") + word.encode()))
                far.until_close()
        proxy.settled()
        # An upstream that accepts what it was not offered.
        wire = knock(proxy.address, "/feed", "permessage-deflate")
        refused, _ = bare.accept("x-evil; bits=1")
        assert wire.head().status == 502
        refused.hang_up()
        samples = [
            sample
            for family in text_string_to_metric_families(proxy.page("/metrics"))
            for sample in family.samples
            if sample.name.startswith("wsproxy_")
        ]
        assert proxy.metric("wsproxy_tunnels_total") == len(CODES)
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        for label, value in sample.labels.items():
            found[label].add(value)
    for label, allowed in LABELS.items():
        assert found[label] <= allowed, label
    assert not [value for values in found.values() for value in values if re.search(r"x\d|evil", value)]
    assert len(samples) < SERIES_AT_MOST
