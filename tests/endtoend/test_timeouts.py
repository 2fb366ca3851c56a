"""What time does to tunnels of a real proxy: pings, lost ends, stuck ends, idleness, age. Each is told and counted."""

import socket
import time

import pytest
from websockets.sync.client import connect

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.proxy import Proxy, route, wait_for
from tests.endtoend.wire import BINARY, PING, PONG, TEXT, Frame, RawUpstream, Wire, frame_bytes, tunnel


def check_counted(proxy: Proxy, reason: str) -> None:
    """One tunnel ended by this limit, and by no other, and its line says so."""
    proxy.settled()
    words = {"ping": "ping timeout", "write_stall": "took nothing", "idle": "idle timeout", "max_age": "maximum age"}
    assert proxy.metric("wsproxy_tunnel_timeouts_total", route="feed", reason=reason) == 1
    assert proxy.metric("wsproxy_tunnel_timeouts_total") == 1
    wait_for("its line", lambda: any(" closed " in line and words[reason] in line for line in proxy.lines))


def pong_after_ping(wire: Wire) -> bytes:
    frame = wire.frame()
    assert frame.opcode == PING
    wire.send(Frame(PONG, frame.payload))
    return frame.payload


def test_both_ends_are_pinged_and_their_pongs_stay_here(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("feed", bare.url, "timeouts.ping_interval_seconds = 1"))
    with tunnel(proxy.address, bare, "/feed") as ends:
        seen = {pong_after_ping(wire) for wire in (ends.client, ends.upstream) for _ in range(2)}
        assert len(seen) == 4
        # What the ends send themselves crosses, in between.
        ends.client.send(Frame(PING, b"mine"))
        assert next_but_ours(ends.upstream) == Frame(PING, b"mine")
        ends.upstream.send(Frame(PONG, b"mine"))
        assert next_but_ours(ends.client) == Frame(PONG, b"mine")
        ends.upstream.send(Frame(PONG, b"unasked"), Frame(TEXT, b"text"))
        assert [next_but_ours(ends.client) for _ in range(2)] == [Frame(PONG, b"unasked"), Frame(TEXT, b"text")]
        for leg in ("client", "upstream"):
            assert proxy.metric("wsproxy_ping_rtt_seconds_count", route="feed", leg=leg) >= 2
            assert 0 < proxy.metric("wsproxy_ping_rtt_seconds_sum", route="feed", leg=leg) < 10


def next_but_ours(wire: Wire) -> Frame:
    """The next frame that is not a ping of the proxy's; those are answered."""
    while (frame := wire.frame()).opcode == PING and len(frame.payload) == 12:
        wire.send(Frame(PONG, frame.payload))
    return frame


def test_pings_keep_quiet_tunnels_of_real_ends(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    proxy = start_proxy(
        route("feed", plain_upstream.url, "timeouts.ping_interval_seconds = 1", "timeouts.ping_timeout_seconds = 3")
    )
    with connect(proxy.url("/feed"), ping_interval=None, proxy=None) as client:
        wait_for(
            "several pings",
            lambda: proxy.metric("wsproxy_ping_rtt_seconds_count", route="feed", leg="upstream") >= 4,
        )
        client.send("still here")
        assert client.recv(15) == "still here"
        # websockets' own keepalive, through the proxy: the upstream's pong comes back.
        assert client.ping().wait(15)


@pytest.mark.parametrize("silent", ["client", "upstream"])
def test_an_end_that_does_not_answer_is_lost(start_proxy: StartProxy, bare: RawUpstream, silent: str) -> None:
    proxy = start_proxy(
        route("feed", bare.url, "timeouts.ping_interval_seconds = 1", "timeouts.ping_timeout_seconds = 2")
    )
    with tunnel(proxy.address, bare, "/feed") as ends:
        _, other = ends.ends_from(silent)
        begun = time.monotonic()
        other.sock.settimeout(1.0)
        told = None
        while told is None and time.monotonic() < begun + 20:
            try:
                frame = next_but_ours(other)
            except TimeoutError:
                continue
            assert frame.opcode == 8, frame
            told = int.from_bytes(frame.payload[:2])
        assert told == (1001 if silent == "client" else 1011)
        assert 2.5 < time.monotonic() - begun < 15
    check_counted(proxy, "ping")
    line = next(line for line in proxy.lines if " closed " in line)
    assert f"initiator={silent}" in line and "code=1006" in line


def test_an_idle_tunnel_is_closed_though_it_pings(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("feed", bare.url, "timeouts.idle_seconds = 3", "timeouts.ping_interval_seconds = 1"))
    with tunnel(proxy.address, bare, "/feed") as ends:
        # Messages of one direction keep it.
        for _ in range(5):
            ends.upstream.text("x")
            assert next_but_ours(ends.client) == Frame(TEXT, b"x")
            time.sleep(1)
        begun = time.monotonic()
        while (frame := next_but_ours(ends.client)).opcode != 8:
            assert frame.opcode == PING
        assert frame.payload == b"\x03\xe9idle timeout"
        assert 1.5 < time.monotonic() - begun < 15
        ends.client.send(frame)
        while (frame := next_but_ours(ends.upstream)).opcode != 8:
            pass
        assert frame.payload == b"\x03\xe9going away"
    check_counted(proxy, "idle")


def test_an_old_tunnel_ends_at_a_message_boundary(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("feed", bare.url, "timeouts.max_age_seconds = 3", "timeouts.max_age_jitter = 0.5"))
    with tunnel(proxy.address, bare, "/feed") as ends:
        begun = time.monotonic()
        ends.upstream.send(Frame(TEXT, b"begun, ", fin=False))
        assert ends.client.frame() == Frame(TEXT, b"begun, ", fin=False)
        ends.client.sock.settimeout(5)
        with pytest.raises(TimeoutError):
            ends.client.frame()
        ends.upstream.send(Frame(0, b"done"))
        assert ends.client.frame() == Frame(0, b"done")
        assert ends.client.closed_with() == (1001, "maximum age")
        assert time.monotonic() - begun > 1.5
        ends.client.close(1001)
        assert ends.upstream.closed_with() == (1001, "going away")
    check_counted(proxy, "max_age")


def fill(wire: Wire, other: Wire) -> None:
    """Send from ``wire`` until nothing goes any more; ``other`` reads nothing."""
    wire.sock.settimeout(0.5)
    data = frame_bytes(Frame(BINARY, bytes(65_536)), masked=wire.masks)
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            wire.sock.sendall(data)


@pytest.mark.parametrize("stuck", ["client", "upstream"])
@pytest.mark.parametrize("leaves", [False, True])
def test_a_side_that_takes_nothing(start_proxy: StartProxy, bare: RawUpstream, stuck: str, leaves: bool) -> None:
    """Also where the other end has left, and its FIN is behind bytes for which there is no window."""
    proxy = start_proxy(
        route("feed", bare.url, "timeouts.write_stall_seconds = 2", "timeouts.ping_interval_seconds = 0")
    )
    with tunnel(proxy.address, bare, "/feed") as ends:
        other, talker = ends.ends_from(stuck)
        begun = time.monotonic()
        fill(talker, other)
        if leaves:
            talker.sock.shutdown(socket.SHUT_WR)
        wait_for("the tunnel's end", lambda: proxy.metric("wsproxy_tunnels_active") == 0)
        assert time.monotonic() - begun > 1.5
    check_counted(proxy, "write_stall")
