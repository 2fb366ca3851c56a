"""TERM and INT: tunnels are closed at a message boundary, newcomers are sent away, and the end comes in time."""

import signal
import socket

import pytest

from tests.endtoend.conftest import StartProxy
from tests.endtoend.proxy import Proxy, route, wait_for
from tests.endtoend.wire import BINARY, CONTINUATION, Frame, RawUpstream, Wire, answer, knock, tunnel


def _base(grace_seconds: float, *lines: str) -> str:
    shutdown = "\n".join([f"grace_seconds = {grace_seconds}", "close_spread_seconds = 0", *lines])
    return (
        f'[metrics]\nlisten = "127.0.0.1:0"\n[shutdown]\n{shutdown}\n'
        '[[listeners]]\nname = "public"\nbind = "127.0.0.1:0"\n'
    )


def _drain(proxy: Proxy, number: signal.Signals = signal.SIGTERM) -> None:
    assert proxy.is_ready()
    proxy.signal(number)
    wait_for("the drain's beginning", lambda: not proxy.is_ready())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tunnels_get_1001_and_the_exit_code_is_0(
    start_proxy: StartProxy, bare: RawUpstream, number: signal.Signals
) -> None:
    proxy = start_proxy(route("bare", bare.url), base=_base(60))
    with tunnel(proxy.address, bare, "/bare") as one, tunnel(proxy.address, bare, "/bare") as other:
        proxy.signal(number)
        for ends in (one, other):
            assert ends.client.closed_with()[0] == 1001
            ends.client.close(1001)
            assert ends.upstream.closed_with()[0] == 1001
            ends.upstream.close(1001)
            assert ends.client.at_end()
    assert proxy.wait() == 0


def test_the_close_code_for_clients_can_be_chosen(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url), base=_base(60, "close_code = 1012"))
    with tunnel(proxy.address, bare, "/bare") as ends:
        proxy.signal(signal.SIGTERM)
        assert ends.client.closed_with()[0] == 1012
        ends.client.close(1012)
        assert ends.upstream.closed_with()[0] == 1001
    assert proxy.wait() == 0


def test_a_message_under_way_is_finished_and_newcomers_get_503(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url), base=_base(60))
    with tunnel(proxy.address, bare, "/bare") as ends:
        ends.upstream.send(Frame(BINARY, b"first ", fin=False))
        assert ends.client.frame() == Frame(BINARY, b"first ", fin=False)
        _drain(proxy)

        newcomer = knock(proxy.address, "/bare")
        refusal = newcomer.head()
        assert refusal.status == 503
        retry_after = refusal.get("retry-after")
        assert retry_after is not None
        assert int(retry_after) > 0
        newcomer.hang_up()
        assert proxy.metric("wsproxy_handshakes_total", result="draining") == 1

        ends.upstream.send(Frame(CONTINUATION, b"last"))
        assert ends.client.frame() == Frame(CONTINUATION, b"last")
        assert ends.client.closed_with()[0] == 1001
        ends.client.close(1001)
        assert ends.upstream.closed_with()[0] == 1001
    assert proxy.wait() == 0


def test_a_page_under_way_is_finished(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url), base=_base(60))
    client = Wire(socket.create_connection(proxy.address), masks=True)
    client.sock.sendall(b"GET /bare HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream, _ = bare.receive()
    upstream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
    assert client.head().status == 200
    assert client.body(5) == b"half "
    _drain(proxy)
    upstream.sock.sendall(b"whole")
    assert client.body(5) == b"whole"
    assert client.at_end()
    assert proxy.wait() == 0


def test_the_deadline_is_hard(start_proxy: StartProxy, bare: RawUpstream) -> None:
    """A message that never ends, a client that answers nothing: with or without them the end comes."""
    proxy = start_proxy(route("bare", bare.url, "timeouts.close_seconds = 3600"), base=_base(1))
    with tunnel(proxy.address, bare, "/bare") as stuck, tunnel(proxy.address, bare, "/bare") as mute:
        stuck.upstream.send(Frame(BINARY, b"first ", fin=False))
        assert stuck.client.frame().opcode == BINARY
        proxy.signal(signal.SIGTERM)
        assert mute.client.closed_with()[0] == 1001
        assert proxy.wait() == 0
        assert stuck.client.closed_with()[0] == 1001
    assert len([line for line in proxy.lines if " closed " in line]) == 2, proxy.lines


def test_a_second_signal_stops_at_once(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url, "timeouts.close_seconds = 3600"), base=_base(3600))
    with tunnel(proxy.address, bare, "/bare") as ends:
        ends.upstream.send(Frame(BINARY, b"first ", fin=False))
        assert ends.client.frame().opcode == BINARY
        _drain(proxy)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


def test_a_handshake_under_way_when_the_drain_begins(start_proxy: StartProxy, bare: RawUpstream) -> None:
    """It is too late for a tunnel that would last: 503, or a tunnel that is closed like the others."""
    proxy = start_proxy(route("bare", bare.url), base=_base(60))
    client = knock(proxy.address, "/bare")
    upstream, asked = bare.receive()
    _drain(proxy)
    upstream.sock.sendall(answer(asked))
    told = client.head().status
    assert told in {101, 503}
    if told == 101:
        assert client.closed_with()[0] == 1001
        client.close(1001)
        assert upstream.closed_with()[0] == 1001
    upstream.hang_up()
    client.hang_up()
    assert proxy.wait() == 0


@pytest.mark.parametrize("sent", [b"", b"GET /bare HTTP/1.1\r\nHost: a"])
def test_connections_that_ask_for_nothing_do_not_hold_up_the_end(
    start_proxy: StartProxy, bare: RawUpstream, sent: bytes
) -> None:
    proxy = start_proxy(route("bare", bare.url), base=_base(3600))
    idle = Wire(socket.create_connection(proxy.address), masks=True)
    idle.sock.sendall(sent)
    wait_for("its being accepted", lambda: proxy.metric("wsproxy_sessions_active") == 1)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    idle.hang_up()
