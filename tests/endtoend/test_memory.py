"""A slow reader behind a fast sender: the proxy stops reading, and its memory stays where it was."""

import select
import socket
import sys
import threading
import zlib
from collections.abc import Callable

import pytest

from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import content
from tests.endtoend.proxy import DEADLINE, WIDE_UPSTREAM, Proxy, route
from tests.endtoend.wire import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawUpstream,
    Tunnel,
    Wire,
    deflate,
    frame_bytes,
    tunnel,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")

MIB = 1024 * 1024
GIB = 1024 * MIB
ALLOWED = 64 * MIB
"""How far the resident set may rise above what it was when the proxy was ready."""
STALL_SECONDS = 0.4
"""A sender that the kernel takes nothing from for so long has been stopped by the proxy."""
PMD = "permessage-deflate"
PLANS = {
    "plain": (None, None, ()),
    "deflate": (PMD, None, ()),
    "inflate": (None, PMD, WIDE_UPSTREAM),
    "pass": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"')),
    "recode": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "recompress"')),
}
"""By plan's name towards the client: what the client offers, what the upstream agrees to, the route's settings."""


def _flood(wire: Wire, block: bytes, reader_done: threading.Event | None = None) -> int:
    """Send ``block`` again and again until the other end stops reading, or a GiB is sent; gives the bytes sent.

    :param reader_done: until this is set, a stall is only a slow reader's.
    """
    wire.sock.setblocking(False)
    view = memoryview(block)
    sent = 0
    while sent < GIB:
        if select.select([], [wire.sock], [], STALL_SECONDS)[1]:
            sent += wire.sock.send(view[sent % len(block) :])
        elif reader_done is None or reader_done.is_set():
            break
    wire.sock.settimeout(DEADLINE)
    return sent


def _hold_memory(proxy: Proxy, what: str) -> None:
    risen = proxy.peak_rss() - proxy.rss_at_start
    assert risen <= ALLOWED, f"{what}: the resident set rose by {risen / MIB:.0f} MiB"


def _messages(side: str, *frames: Frame) -> bytes:
    """About a MiB of these frames again and again, as ``side`` sends them."""
    one = b"".join(frame_bytes(frame, masked=side == "client") for frame in frames)
    return one * (MIB // len(one) + 1)


FLOODS: dict[str, Callable[[str], bytes]] = {
    "messages": lambda side: _messages(side, Frame(BINARY, content(60_000))),
    "small messages": lambda side: _messages(side, Frame(TEXT, b"{}")),
    "empty messages": lambda side: _messages(side, Frame(BINARY, b"")),
    "pings": lambda side: _messages(side, Frame(PING, b"x" * 125)),
    "one endless message": lambda side: _messages(side, Frame(CONTINUATION, content(60_000), fin=False)),
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_flood_is_stopped(start_proxy: StartProxy, bare: RawUpstream, side: str, flood: str) -> None:
    room = [f"limits.max_message_bytes = {GIB * 2}", "limits.max_fragments = 1000000"]
    proxy = start_proxy(*[route(name, bare.url, *lines, *room) for name, (_, _, lines) in PLANS.items()])
    block = FLOODS[flood](side)
    for plan in ("plain", "deflate"):
        offer, agree, _ = PLANS[plan]
        with tunnel(proxy.address, bare, f"/{plan}", offer=offer, agree=agree) as ends:
            near, _ = ends.ends_from(side)
            if flood == "one endless message":
                near.send(Frame(BINARY, b"begin", fin=False))
            assert _flood(near, block) < GIB, "nothing stopped the sender"
            _hold_memory(proxy, f"{flood} from the {side}, {plan}")


def _drain_slowly(wire: Wire, total: int, proxy: Proxy) -> None:
    """Read ``total`` bytes in bits of 16 KiB, watching the proxy."""
    room = memoryview(bytearray(16 * 1024))
    read = 0
    while read < total:
        got = wire.sock.recv_into(room)
        assert got, "the proxy gave up"
        read += got
    _hold_memory(proxy, "while the reader was slow")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_slow_reader_behind_a_fast_sender(start_proxy: StartProxy, bare: RawUpstream, side: str, plan: str) -> None:
    """The sender would send a GiB; the reader takes 24 MiB in small bits, then nothing more."""
    offer, agree, lines = PLANS[plan]
    proxy = start_proxy(route("bare", bare.url, *lines))
    with tunnel(proxy.address, bare, "/bare", offer=offer, agree=agree) as ends:
        near, far = ends.ends_from(side)
        packed = (offer if side == "client" else agree) is not None
        payload = deflate(content(200_000)) if packed else content(60_000)
        block = _messages(side, Frame(BINARY, payload, rsv1=packed))
        sent: list[int] = []
        reader_done = threading.Event()
        sender = threading.Thread(target=lambda: sent.append(_flood(near, block, reader_done)))
        sender.start()
        try:
            _drain_slowly(far, 24 * MIB, proxy)
        finally:
            reader_done.set()
            sender.join()
        assert sent[0] < GIB, "nothing stopped the sender"
        _hold_memory(proxy, "after the reader had stopped")
        _still_serves(proxy, bare, offer, agree)


def _still_serves(proxy: Proxy, bare: RawUpstream, offer: str | None, agree: str | None) -> None:
    with tunnel(proxy.address, bare, "/bare", offer=offer, agree=agree) as other:
        other.client.send(Frame(PING, b"?"))
        assert other.upstream.frame() == Frame(PING, b"?")


@pytest.mark.parametrize("plan", ["deflate", "recode", "pass"])
def test_little_on_the_wire_that_inflates_to_much(start_proxy: StartProxy, bare: RawUpstream, plan: str) -> None:
    """A GiB in a MiB: each message is within the limits, and the upstream reads little of the first."""
    offer, agree, lines = PLANS[plan]
    room = ("limits.max_expansion = 2000", f"limits.max_message_bytes = {GIB}")
    proxy = start_proxy(route("bare", bare.url, *lines, *room))
    packed = _packed_zeros(256)
    assert len(packed) < MIB // 2
    with tunnel(proxy.address, bare, "/bare", offer=offer, agree=agree) as ends:
        ends.client.send(*[Frame(BINARY, packed, rsv1=True)] * 4)
        assert ends.upstream.frame().opcode == BINARY
        _still_serves(proxy, bare, offer, agree)
        _hold_memory(proxy, "bombs")


def _packed_zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    zeros = b"\x00" * MIB
    return (b"".join(packer.compress(zeros) for _ in range(mebibytes)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_a_thousand_tunnels_one_after_the_other_leave_nothing(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url))
    early = 0
    for number in range(1_000):
        with tunnel(proxy.address, bare, "/bare", offer=PMD) as ends:
            _one_exchange(ends)
        if number == 200:
            early = proxy.rss()
    proxy.settled()
    assert proxy.rss() - early < 8 * MIB
    assert proxy.metric("wsproxy_tunnels_total") == 1_000
    assert proxy.metric("wsproxy_sessions_active") == 0
    assert proxy.metric("wsproxy_endpoint_connections") == 0


def _one_exchange(ends: Tunnel) -> None:
    ends.upstream.text("hello")
    assert ends.client.frame().rsv1
    for wire in (ends.client, ends.upstream):
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
