"""Fragmented messages keep their shape, and an upstream is sent no fragments that the client did not send."""

import zlib
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.endtoend.conversations import content
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route
from tests.endtoend.wire import (
    BINARY,
    CONTINUATION,
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

PMD = "permessage-deflate"
PLANS = {
    "plain": (None, None, ()),
    "deflate": (PMD, None, ()),
    "inflate": (None, PMD, WIDE_UPSTREAM),
    "pass": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"')),
    "blind": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"', "compression.verify = false")),
    "recode": (PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "recompress"')),
}
"""By route: what the client offers, what the upstream agrees to, the route's settings."""
COALESCE = 256 * 1024
"""Up to this many bytes a frame stays one frame."""


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(module_bare: RawUpstream) -> Iterator[Proxy]:
    parts = [route(name, module_bare.url, *lines) for name, (_, _, lines) in PLANS.items()]
    with configured(*parts) as running:
        yield running


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ends(proxy: Proxy, module_bare: RawUpstream, plan: str) -> Iterator[Tunnel]:
    offer, agree, _ = PLANS[plan]
    with tunnel(proxy.address, module_bare, f"/{plan}", offer=offer, agree=agree) as opened:
        yield opened


def _read(wire: Wire, unpack: "zlib._Decompress") -> tuple[list[Frame], bytes]:
    """The frames of the next message, and its content."""
    frames = [wire.frame()]
    while not frames[-1].fin:
        frames.append(wire.frame())
    raw = b"".join(frame.payload for frame in frames)
    return frames, unpack.decompress(raw + b"\x00\x00\xff\xff") if frames[0].rsv1 else raw


SHAPES = {
    "one": [b"whole"],
    "two": [b"half ", b"and half"],
    "empty ones": [b"", b"a", b"", b"b", b""],
    "only empty ones": [b"", b""],
    "cut characters": ["é漢🙂".encode()[:1], "é漢🙂".encode()[1:4], "é漢🙂".encode()[4:]],
    "uneven": [content(10), content(70_000), content(3)],
    "many": [content(7)] * 100,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["client", "upstream"])
def test_plain_fragments_keep_their_shape(ends: Tunnel, plan: str, side: str, shape: str) -> None:
    near, far = ends.ends_from(side)
    parts = SHAPES[shape]
    last = len(parts) - 1
    near.send(*[Frame(CONTINUATION if at else TEXT, part, fin=at == last) for at, part in enumerate(parts)])
    frames, whole = _read(far, zlib.decompressobj(-15))
    assert [(frame.opcode, frame.fin) for frame in frames] == [
        (CONTINUATION if at else TEXT, at == last) for at in range(len(parts))
    ]
    assert whole == b"".join(parts)
    assert not any(frame.rsv1 for frame in frames[1:])
    if plan in {"plain", "pass", "blind"}:
        assert [frame.payload for frame in frames] == parts


PACKED = [
    (plan, side)
    for plan, (offer, agree, _) in PLANS.items()
    for side, extension in (("client", offer), ("upstream", agree))
    if extension is not None
]
"""The plans with the sides that may send compressed messages."""


@pytest.mark.parametrize(("plan", "side"), PACKED)
@pytest.mark.parametrize("cuts", [(5,), (1, 2, 3), (0, 40, 40), (100, 10_000)])
def test_compressed_fragments_keep_their_number(ends: Tunnel, plan: str, side: str, cuts: tuple[int, ...]) -> None:
    near, far = ends.ends_from(side)
    unpack = zlib.decompressobj(-15)
    for length in (20, 30_000):
        message = content(length)
        packed = deflate(message)
        parts = [
            packed[start:end] for start, end in pairwise([0, *[min(cut, len(packed)) for cut in cuts], len(packed)])
        ]
        last = len(parts) - 1
        near.send(
            *[Frame(CONTINUATION if at else BINARY, part, at == last, rsv1=not at) for at, part in enumerate(parts)]
        )
        frames, whole = _read(far, unpack)
        assert len(frames) == len(parts)
        assert whole == message
        if plan in {"pass", "blind"}:
            assert [frame.payload for frame in frames] == parts


@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.parametrize("length", [0, 126, 65_536, 65_537, COALESCE - 1])
def test_a_frame_that_arrives_in_bits_leaves_as_one(ends: Tunnel, side: str, length: int) -> None:
    near, far = ends.ends_from(side)
    message = content(length)
    whole = frame_bytes(Frame(BINARY, message), masked=near.masks)
    for start in range(0, len(whole), 50_000):
        near.sock.sendall(whole[start : start + 50_000])
    frames, read = _read(far, zlib.decompressobj(-15))
    assert len(frames) == 1
    assert read == message


@pytest.mark.parametrize("length", [126, 65_537, COALESCE - 1])
def test_an_upstream_gets_an_inflated_message_in_one_frame(proxy: Proxy, module_bare: RawUpstream, length: int) -> None:
    message = content(length)
    with tunnel(proxy.address, module_bare, "/deflate", offer=PMD) as ends:
        ends.client.send(Frame(BINARY, deflate(message), rsv1=True))
        frame = ends.upstream.frame()
        assert (frame.fin, frame.rsv1, frame.opcode) == (True, False, BINARY)
        assert frame.payload == message


def test_what_is_larger_arrives_whole(ends: Tunnel) -> None:
    message = content(1_500_000)
    for near, far in (ends.ends_from("client"), ends.ends_from("upstream")):
        near.send(Frame(BINARY, message))
        _, read = _read(far, zlib.decompressobj(-15))
        assert read == message or not "it differs"
