"""Streams on which other implementations failed: legal ones arrive intact, bombs end in one clean close."""

import contextlib
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.endtoend.conversations import content, with_engine
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route
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
    raw_upstream,
    tunnel,
)
from wsproxy.extensions.engines import available

PMD = "permessage-deflate"
MIB = 1024 * 1024
LIMIT = 100_000
PLANS = {
    "deflate": (PMD, None, ()),
    "inflate": (None, PMD, WIDE_UPSTREAM),
    "pass": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"')),
    "recode": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "recompress"')),
}
"""By plan: what the client offers, what the upstream agrees to, the route's settings."""
SENDERS = {"deflate": "client", "inflate": "upstream", "pass": "client", "recode": "upstream"}
"""By plan: the side that sends the compressed messages here."""


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=sorted(available()))
def proxy(request: pytest.FixtureRequest, module_bare: RawUpstream) -> Iterator[Proxy]:
    engine = with_engine(request.param)
    limit = (f"limits.max_message_bytes = {LIMIT}",)
    parts = [
        route(name, module_bare.url, *lines, *engine, *more)
        for plan, (_, _, lines) in PLANS.items()
        for name, more in ((plan, ()), (f"small-{plan}", limit))
    ]
    with configured(*parts) as running:
        yield running


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(slots=True)
class Ends:
    """The side that sends compressed messages, and the other one with what it needs to read them."""

    near: Wire
    far: Wire
    unpack: "zlib._Decompress"

    def arrives(self) -> bytes:
        """The content of the next message that the other side gets, inflated as a strict client would."""
        frames = [self.far.frame()]
        while not frames[-1].fin:
            frames.append(self.far.frame())
        raw = b"".join(frame.payload for frame in frames if frame.opcode != PING)
        if not frames[0].rsv1:
            return raw
        message, left = b"", raw + b"\x00\x00\xff\xff"
        while left:
            message += self.unpack.decompress(left)
            left = self.unpack.unused_data
            if self.unpack.eof:
                # BFINAL ended a stream; what follows is a new one with the window kept (RFC 7692 §7.2.3.4).
                self.unpack = zlib.decompressobj(-15, zdict=message[-32768:])
        return message


@pytest.fixture
def ends(proxy: Proxy, module_bare: RawUpstream, plan: str) -> Iterator[Ends]:
    with _tunnel(proxy, module_bare, plan, plan) as opened:
        yield Ends(*opened.ends_from(SENDERS[plan]), zlib.decompressobj(-15))


@pytest.fixture
def small(proxy: Proxy, module_bare: RawUpstream, plan: str) -> Iterator[Ends]:
    with _tunnel(proxy, module_bare, plan, f"small-{plan}") as opened:
        yield Ends(*opened.ends_from(SENDERS[plan]), zlib.decompressobj(-15))


def _tunnel(proxy: Proxy, bare: RawUpstream, plan: str, name: str) -> contextlib.AbstractContextManager[Tunnel]:
    offer, agree, _ = PLANS[plan]
    return tunnel(proxy.address, bare, f"/{name}", offer=offer, agree=agree)


def _final(data: bytes) -> bytes:
    """One message whose last block has BFINAL set, with the empty block that keeps it aligned (RFC 7692 §7.2.3.4)."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH) + b"\x00"


def _stored(data: bytes) -> bytes:
    """Blocks without compression."""
    packer = zlib.compressobj(level=0, wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


HELLO = {
    "one block": bytes.fromhex("f248cdc9c90700"),
    "no compression": bytes.fromhex("000500faff48656c6c6f00"),
    "BFINAL": bytes.fromhex("f348cdc9c9070000"),
    "two blocks": bytes.fromhex("f24805000000ffffcac9c90700"),
}
"""Hello, as RFC 7692 §7.2.3 sends it."""


@pytest.mark.parametrize("name", HELLO)
def test_the_examples_of_the_rfc(ends: Ends, name: str) -> None:
    for _ in range(2):
        ends.near.send(Frame(TEXT, HELLO[name], rsv1=True))
        assert ends.arrives() == b"Hello"


def test_a_reference_into_the_message_before(ends: Ends) -> None:
    """RFC 7692 §7.2.3.2: with context takeover the second Hello is four bytes."""
    ends.near.send(Frame(TEXT, HELLO["one block"], rsv1=True), Frame(TEXT, bytes.fromhex("f200110000"), rsv1=True))
    assert [ends.arrives(), ends.arrives()] == [b"Hello", b"Hello"]


def test_raw_and_compressed_messages_mixed(ends: Ends) -> None:
    """Raw messages fill no window; references go back over them."""
    packer = zlib.compressobj(wbits=-15)
    for number in range(60):
        message = content(50 + number * 97) + b"%d" % number
        if number % 3 == 1:
            ends.near.send(Frame(BINARY, message))
        else:
            packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
            ends.near.send(Frame(BINARY, packed[:-4], rsv1=True))
        assert ends.arrives() == message


def test_empty_messages_in_every_form(ends: Ends) -> None:
    for frame in (Frame(TEXT, b""), Frame(TEXT, b"\x00", rsv1=True), Frame(TEXT, b"\x02\x00", rsv1=True)):
        ends.near.send(frame)
        assert ends.arrives() == b""
    ends.near.send(Frame(TEXT, deflate(b"then text"), rsv1=True))
    assert ends.arrives() == b"then text"


def test_final_blocks_and_what_follows_them(ends: Ends) -> None:
    ends.near.send(Frame(BINARY, _final(content(1_000)), rsv1=True))
    assert ends.arrives() == content(1_000)
    ends.near.send(Frame(BINARY, _final(b"one ")[:-1] + deflate(b"two"), rsv1=True))
    assert ends.arrives() == b"one two"
    ends.near.send(Frame(BINARY, deflate(content(5_000)), rsv1=True))
    assert ends.arrives() == content(5_000)


def test_stored_blocks_and_tails_that_look_like_the_marker(ends: Ends) -> None:
    for message in (b"\x00\x00\xff\xff", b"\x00\x00\xff\xff" * 5_000, content(70_000) + b"\x00\x00\xff\xff"):
        for packed in (_stored(message), deflate(message)):
            ends.near.send(Frame(BINARY, packed, rsv1=True))
            assert ends.arrives() == message


@pytest.mark.parametrize("over", [-258, -2, -1, 0])
def test_a_message_up_to_the_limit_arrives_whole(small: Ends, over: int) -> None:
    for message in (content(LIMIT + over), b"x" * (LIMIT + over)):
        small.near.send(Frame(BINARY, deflate(message), rsv1=True))
        assert small.arrives() == message


@pytest.mark.parametrize("over", [1, 2, 258, 10 * MIB])
def test_a_message_over_the_limit_is_1009_and_one_close(small: Ends, over: int) -> None:
    small.near.send(Frame(BINARY, deflate(b"x" * (LIMIT + over)), rsv1=True))
    _ends_with(small, 1009)


def test_a_message_over_the_limit_and_malformed_too_is_one_close(small: Ends) -> None:
    """Which fault is seen first depends on how much is inflated at once; what matters is that it ends there."""
    small.near.send(Frame(BINARY, deflate(b"x" * (LIMIT + 1), tail=True) + b"\xff\xff\xff\xff", rsv1=True))
    _ends_with(small, 1007, 1009)


def _ends_with(ends: Ends, *codes: int) -> None:
    code = ends.near.until_close()[0]
    assert code in codes
    assert ends.far.until_close()[0] == code
    ends.far.close(code)
    ends.near.close(code)
    assert ends.near.at_end()


@pytest.mark.parametrize("way", ["one frame", "fragments", "byte by byte"])
def test_thirty_megabytes_in_thirty_kilobytes(small: Ends, proxy: Proxy, way: str) -> None:
    bomb = deflate(b"\x00" * 30_000_000)
    step = {"one frame": len(bomb), "fragments": 1_000, "byte by byte": 1}[way]
    # Whoever is told to stop may find the connection reset before the last byte is out.
    with contextlib.suppress(ConnectionError):
        if way == "byte by byte":
            small.near.sock.settimeout(5)
            for byte in frame_bytes(Frame(BINARY, bomb[:2_000], fin=False, rsv1=True), masked=small.near.masks):
                small.near.sock.sendall(bytes([byte]))
        else:
            parts = [bomb[start : start + step] for start in range(0, len(bomb), step)]
            last = len(parts) - 1
            small.near.send(
                *[Frame(CONTINUATION if at else BINARY, part, at == last, not at) for at, part in enumerate(parts)]
            )
    _ends_with(small, 1009)
    if sys.platform == "linux":
        assert proxy.peak_rss() - proxy.rss_at_start < 64 * MIB


def test_a_flood_of_empty_members_is_1008(small: Ends) -> None:
    small.near.send(Frame(BINARY, b"\x03\x00" * 32_000, rsv1=True))
    _ends_with(small, 1008)


def test_a_flood_of_empty_fragments_is_1008(small: Ends) -> None:
    one = frame_bytes(Frame(CONTINUATION, b"", fin=False), masked=small.near.masks)
    with contextlib.suppress(ConnectionError):
        small.near.sock.sendall(frame_bytes(Frame(TEXT, b"", fin=False, rsv1=True), masked=small.near.masks))
        small.near.sock.sendall(one * 200_000)
    _ends_with(small, 1008)
