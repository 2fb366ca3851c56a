"""How many may enter and how much they may send: 429, 503 and 1008, with the counters that say so."""

import http.client
import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.proxy import BASE, Proxy, route, wait_for
from tests.endtoend.test_edges import TRUSTED, TRUSTING, arriving, ask
from tests.endtoend.wire import BINARY, TEXT, Frame, Head, RawUpstream, Wire, knock, tunnel


def limited(*lines: str) -> str:
    """`BASE` with limits of the worker."""
    return BASE.replace("[shutdown]", "[limits]\n" + "\n".join(lines) + "\n[shutdown]")


def knocks(proxy: Proxy, count: int, path: str = "/feed") -> list[tuple[Wire, Head]]:
    """One after the other, each answered before the next."""
    answered: list[tuple[Wire, Head]] = []
    for _ in range(count):
        wire = knock(proxy.address, path)
        answered.append((wire, wire.head()))
    return answered


def check_told(wire: Wire, head: Head, status: int) -> None:
    assert head.status == status
    retry_after = head.get("retry-after")
    assert retry_after is not None and int(retry_after) >= 1
    length = head.get("content-length")
    assert length is not None
    wire.body(int(length))
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.at_end()


def test_a_worker_that_is_full(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(route("feed", plain_upstream.url), base=limited("max_connections = 2"))
    (first, head), (_, other) = knocks(proxy, 2)
    assert (head.status, other.status) == (101, 101)
    check_told(*knocks(proxy, 1)[0], 503)
    # Whoever asks for nothing is told as well.
    with socket.create_connection(proxy.address, 15) as sock:
        assert sock.recv(100).startswith(b"HTTP/1.1 503 ")
    connection = http.client.HTTPConnection(*proxy.address, timeout=15)
    connection.request("GET", "/feed")
    assert connection.getresponse().status == 503
    connection.close()
    first.close(1000)
    first.closed_with()
    first.hang_up()
    wait_for("room", lambda: knocks(proxy, 1)[0][1].status == 101)
    assert proxy.metric("wsproxy_handshakes_total", route="", result="limited") >= 3
    assert proxy.metric("wsproxy_connections_refused_total", listener="public", reason="limited") >= 3
    assert any(" refused " in line and "result=limited" in line and "status=503" in line for line in proxy.lines)


def test_a_full_worker_answers_over_tls(
    start_proxy: StartProxy, plain_upstream: peers.Upstream, tmp_path: Path
) -> None:
    ca = trustme.CA()
    both = tmp_path / "both.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(both))
    listener = f'[listeners.tls]\ncertificates = [{{ cert = "{both}", key = "{both}" }}]\n'
    proxy = start_proxy(listener, route("feed", plain_upstream.url), base=limited("max_connections = 1"))
    client = ssl.create_default_context()
    ca.configure_trust(client)
    with client.wrap_socket(socket.create_connection(proxy.address, 15), server_hostname="127.0.0.1") as first:
        assert ask(proxy, first).head().status == 101
        with client.wrap_socket(socket.create_connection(proxy.address, 15), server_hostname="127.0.0.1") as second:
            assert ask(proxy, second).head().status == 503


def test_connections_of_one_address(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    base = limited("max_connections_per_address = 2")
    proxy = start_proxy(TRUSTING, route("feed", plain_upstream.url), base=base)
    assert [head.status for _, head in knocks(proxy, 2)] == [101, 101]
    check_told(*knocks(proxy, 1)[0], 429)
    assert ask(proxy, arriving(proxy.address, "127.0.0.2")).head().status == 101
    # A trusted proxy brings many clients; each of them has its own number.
    statuses = [
        ask(proxy, arriving(proxy.address), X_Forwarded_For=address).head().status
        for address in ("203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8::2")
    ]
    assert statuses == [101, 101, 429, 101, 101, 101]
    neighbour = ask(proxy, arriving(proxy.address), X_Forwarded_For="2001:db8::3").head()
    assert neighbour.status == 429


def test_handshakes_of_one_address(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    base = limited("handshakes_per_second_per_address = 3")
    proxy = start_proxy(route("feed", plain_upstream.url), base=base)
    statuses = [head.status for _, head in knocks(proxy, 12)]
    assert statuses[:3] == [101, 101, 101] and 429 in statuses
    assert ask(proxy, arriving(proxy.address, TRUSTED)).head().status == 101
    time.sleep(0.5)  # the rate is about time: this much of it gives one handshake back
    assert knocks(proxy, 1)[0][1].status == 101
    assert proxy.metric("wsproxy_handshakes_total", route="feed", result="limited") == statuses.count(429)


def test_tunnels_of_a_route_and_of_an_address(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(
        route("feed", plain_upstream.url, "limits.max_tunnels = 2", "limits.max_tunnels_per_address = 1"),
        route("free", plain_upstream.url),
    )
    (first, head), (second, refused) = knocks(proxy, 2)
    assert head.status == 101
    check_told(second, refused, 429)
    assert ask(proxy, arriving(proxy.address, "127.0.0.2")).head().status == 101
    third = ask(proxy, arriving(proxy.address, "127.0.0.3"))
    check_told(third, third.head(), 503)
    assert knocks(proxy, 1, "/free")[0][1].status == 101
    first.hang_up()
    wait_for("room", lambda: knocks(proxy, 1)[0][1].status == 101)


def test_handshakes_of_a_route(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(
        route("feed", plain_upstream.url, "limits.handshakes_per_second = 2"), route("free", plain_upstream.url)
    )
    statuses = [head.status for _, head in knocks(proxy, 10)]
    assert statuses[:2] == [101, 101] and 429 in statuses
    assert {head.status for _, head in knocks(proxy, 10, "/free")} == {101}


@pytest.mark.parametrize(
    ("setting", "frames", "reason"),
    [
        ("limits.messages_per_second = 50", [Frame(TEXT, b"x")] * 200, "too many messages a second"),
        ("limits.bytes_per_second = 10_000", [Frame(BINARY, bytes(1000))] * 40, "too many bytes a second"),
    ],
)
def test_a_client_that_sends_too_much(
    start_proxy: StartProxy, bare: RawUpstream, setting: str, frames: list[Frame], reason: str
) -> None:
    proxy = start_proxy(route("feed", bare.url, setting))
    with tunnel(proxy.address, bare, "/feed") as ends:
        ends.client.send(*frames)
        assert ends.client.until_close() == (1008, reason)
        assert ends.upstream.until_close() == (1008, reason)
    proxy.settled()
    assert proxy.metric("wsproxy_closes_total", route="feed", initiator="proxy", code="1008") == 1


def test_a_client_within_its_rate_goes_on(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(
        route("feed", bare.url, "limits.messages_per_second = 100", "limits.bytes_per_second = 100_000")
    )
    with tunnel(proxy.address, bare, "/feed") as ends:
        begun = time.monotonic()
        for number in range(150):
            ends.client.text(str(number))
            assert ends.upstream.frame() == Frame(TEXT, str(number).encode())
            # An upstream may send as much as it likes.
            ends.upstream.send(Frame(BINARY, bytes(20_000)))
            assert ends.client.frame().payload == bytes(20_000)
            time.sleep(max(0.0, begun + number / 100 - time.monotonic()))  # the rate is what is tried
        ends.client.close(1000)
        assert ends.upstream.closed_with() == (1000, "")


def test_a_crowd_at_a_full_worker_is_told_as_far_as_that_is_cheap(
    start_proxy: StartProxy, plain_upstream: peers.Upstream
) -> None:
    proxy = start_proxy(route("feed", plain_upstream.url), base=limited("max_connections = 1"))
    assert knocks(proxy, 1)[0][1].status == 101
    crowd = [socket.create_connection(proxy.address, 15) for _ in range(600)]
    told = 0
    for sock in crowd:
        # Whoever is told and stays is waited for; the others find the connection closed.
        data = sock.recv(100)
        assert data == b"" or data.startswith(b"HTTP/1.1 503 ")
        told += bool(data)
    assert told >= 256
    for sock in crowd:
        sock.close()
    wait_for("all of them to be gone", lambda: proxy.metric("wsproxy_sessions_active") == 1)
    assert proxy.metric("wsproxy_connections_refused_total", reason="limited") == 600
    check_told(*knocks(proxy, 1)[0], 503)
