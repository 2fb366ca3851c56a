"""Whoever breaks a rule after the 101 is told so with the right code, and the other side hears of it too."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from websockets.exceptions import ConnectionClosed

from tests.endtoend import peers
from tests.endtoend.conversations import content
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route, sidecar, wait_for
from tests.endtoend.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawUpstream,
    Tunnel,
    deflate,
    frame_bytes,
    raw_upstream,
    tunnel,
)

PMD = "permessage-deflate"
MESSAGE = 10_000
FRAME = 8_000
FRAGMENTS = 16
LIMITS = (
    f"limits.max_message_bytes = {MESSAGE}",
    f"limits.max_frame_bytes = {FRAME}",
    f"limits.max_fragments = {FRAGMENTS}",
)
PLANS = {
    "plain": (None, None, ()),
    "deflate": (PMD, None, ()),
    "pass": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"')),
    "recode": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "recompress"')),
}
"""By plan: what the client offers, what the upstream agrees to, the route's settings."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What one side sends, the code that it gets, and the code that the other side gets if that is another."""

    name: str
    frames: tuple[Frame | bytes, ...]
    code: int
    packed: bool = False
    """Needs permessage-deflate on the guilty leg."""


def _fragments(count: int) -> tuple[Frame, ...]:
    return (Frame(BINARY, b"a", fin=False), *[Frame(CONTINUATION, b"a", fin=False)] * (count - 1))


FAULTS = (
    Fault("frame over the limit", (Frame(BINARY, b"x" * (FRAME + 1)),), 1009),
    Fault(
        "only the header of a frame over the limit",
        (b"\x82\xff\x00\x00\x00\x10\x00\x00\x00\x00\x01\x02\x03\x04",),
        1009,
    ),
    Fault(
        "message over the limit",
        (Frame(BINARY, b"x" * FRAME, fin=False), Frame(CONTINUATION, b"x" * (MESSAGE - FRAME + 1))),
        1009,
    ),
    Fault(
        "inflates over the limit by one", (Frame(BINARY, deflate(b"x" * (MESSAGE + 1)), rsv1=True),), 1009, packed=True
    ),
    Fault("inflates over the limit by far", (Frame(TEXT, deflate(b"x" * 7_000_000), rsv1=True),), 1009, packed=True),
    Fault("too many fragments", _fragments(FRAGMENTS + 1), 1008),
    Fault("empty fragments", (Frame(TEXT, b"", fin=False), *[Frame(CONTINUATION, b"", fin=False)] * FRAGMENTS), 1008),
    Fault("text that is not UTF-8", (Frame(TEXT, b"caf\xe9!"),), 1007),
    Fault("text that ends within a character", (Frame(TEXT, "é".encode()[:1]),), 1007),
    Fault("compressed text that is not UTF-8", (Frame(TEXT, deflate(b"\xff\xfe"), rsv1=True),), 1007, packed=True),
    Fault("what is no DEFLATE", (Frame(BINARY, b"\xff" * 20, rsv1=True),), 1007, packed=True),
    Fault(
        "a window that was never filled", (Frame(BINARY, b"\x02\x4a\x00\x00\x12\x00", rsv1=True),), 1007, packed=True
    ),
    Fault("an unknown opcode", (Frame(0x3, b""),), 1002),
    Fault("a continuation of nothing", (Frame(CONTINUATION, b"x"),), 1002),
    Fault("a message within a message", (Frame(TEXT, b"a", fin=False), Frame(TEXT, b"b")), 1002),
    Fault("a fragmented ping", (Frame(PING, b"", fin=False),), 1002),
    Fault("a ping over 125 bytes", (Frame(PING, b"x" * 126),), 1002),
    Fault("RSV1 on a ping", (Frame(PING, b"", rsv1=True),), 1002, packed=True),
    Fault(
        "RSV1 on a continuation", (Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"", rsv1=True)), 1002, packed=True
    ),
    Fault("a close frame of one byte", (Frame(CLOSE, b"\x03"),), 1002),
    Fault("a close code that is never on the wire", (Frame(CLOSE, b"\x03\xee"),), 1002),
    Fault("a close reason that is not UTF-8", (Frame(CLOSE, b"\x03\xe8\xff"),), 1007),
)
UNAGREED = Fault("RSV1 without an agreement", (Frame(TEXT, b"x", rsv1=True),), 1002)


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(module_bare: RawUpstream) -> Iterator[Proxy]:
    parts = [route(name, module_bare.url, *LIMITS, *lines) for name, (_, _, lines) in PLANS.items()]
    with configured(*parts) as running:
        yield running


def _open(proxy: Proxy, bare: RawUpstream, plan: str) -> AbstractContextManager[Tunnel]:
    offer, agree, _ = PLANS[plan]
    return tunnel(proxy.address, bare, f"/{plan}", offer=offer, agree=agree)


def _commit(ends: Tunnel, fault: Fault, guilty: str) -> None:
    """The fault, and both sides' close codes."""
    near, far = ends.ends_from(guilty)
    for frame in fault.frames:
        if isinstance(frame, Frame):
            near.sock.sendall(frame_bytes(frame, masked=near.masks))
        else:
            # Written as a client's; an upstream's has neither mask bit nor key.
            near.sock.sendall(frame if near.masks else frame[:1] + bytes([frame[1] & 0x7F]) + frame[2:-4])
    assert near.until_close()[0] == fault.code
    gone = 1001 if guilty == "client" else 1011
    assert far.until_close()[0] == (gone if fault.code == 1002 else fault.code)
    near.close(fault.code)
    far.close(fault.code)
    assert ends.client.at_end()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("guilty", ["client", "upstream"])
def test_a_fault_has_its_code(proxy: Proxy, module_bare: RawUpstream, guilty: str, plan: str, fault: Fault) -> None:
    offer, agree, _ = PLANS[plan]
    if fault.packed and (offer if guilty == "client" else agree) is None:
        fault = UNAGREED
    with _open(proxy, module_bare, plan) as ends:
        _commit(ends, fault, guilty)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("guilty", ["client", "upstream"])
def test_what_is_exactly_at_the_limits_passes(proxy: Proxy, module_bare: RawUpstream, guilty: str, plan: str) -> None:
    with _open(proxy, module_bare, plan) as ends:
        near, far = ends.ends_from(guilty)
        near.send(Frame(BINARY, b"x" * FRAME, fin=False), Frame(CONTINUATION, b"x" * (MESSAGE - FRAME)))
        near.send(*_fragments(FRAGMENTS - 1), Frame(CONTINUATION, b"z"))
        near.close(4000)
        fins = 0
        while (frame := far.frame()).opcode != CLOSE:
            fins += frame.fin
        assert fins == 2
        assert frame.payload == b"\x0f\xa0"


def test_the_fault_of_one_tunnel_touches_no_other(proxy: Proxy, module_bare: RawUpstream) -> None:
    with _open(proxy, module_bare, "deflate") as bystander:
        for fault in FAULTS:
            with _open(proxy, module_bare, "deflate") as ends:
                _commit(ends, fault, "client")
        bystander.upstream.text("calm")
        assert bystander.client.frame().opcode == TEXT


@pytest.mark.parametrize(("size", "code"), [(16 * 1024 * 1024, 1000), (16 * 1024 * 1024 + 1, 1009)])
def test_without_a_file_a_message_may_have_16_mib(plain_upstream: peers.Upstream, size: int, code: int) -> None:
    with sidecar(plain_upstream.url) as proxy:
        with peers.client(proxy.url("/"), deflate=peers.CHROME) as client, contextlib.suppress(ConnectionClosed):
            client.send(content(1024 * 1024) * 16 + b"x" * (size % 2))
            assert len(client.recv()) == size
        assert client.close_code == code
        proxy.settled()
        assert plain_upstream.closes[-1][0] == code


def test_tunnels_that_ended_badly_are_counted_as_ended(proxy: Proxy) -> None:
    wait_for("no tunnel", lambda: proxy.metric("wsproxy_tunnels_active") == 0)
    wait_for("no session", lambda: proxy.metric("wsproxy_sessions_active") == 0)
