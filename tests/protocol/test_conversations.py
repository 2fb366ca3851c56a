"""Whole conversations between independent ends: any messages, fragments, chunks, plans and controls in between."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from tests.protocol.joined import AGREEMENTS, Chunks, Joined
from wsproxy.errors import Side
from wsproxy.extensions.engines import available
from wsproxy.extensions.permessage_deflate import Agreement
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.plan import Mode


@dataclass(frozen=True)
class Said:
    side: Side
    text: bool
    fragments: tuple[bytes, ...]
    ping: bool

    @property
    def message(self) -> tuple[Opcode, bytes]:
        return (Opcode.TEXT if self.text else Opcode.BINARY, b"".join(self.fragments))


def fragments_of(data: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    return tuple(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True))


words = st.sampled_from(["price", "żółw", "€", "\U0001f600", '{"id": 12345, "px": 1.5}', "a" * 300, "0", ""])
texts = st.lists(words, max_size=40).map(lambda parts: " ".join(parts).encode())
binaries = st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=8).map(lambda b: b * 9000))


@st.composite
def said(draw: st.DrawFn) -> Said:
    text = draw(st.booleans())
    data = draw(texts if text else binaries)
    cuts = draw(st.lists(st.integers(0, 400), max_size=4))
    return Said(draw(st.sampled_from(Side)), text, fragments_of(data, cuts), draw(st.booleans()))


@st.composite
def chunkings(draw: st.DrawFn) -> list[int]:
    return draw(st.lists(st.integers(1, 5000), min_size=1, max_size=8))


def cut_by(sizes: list[int]) -> Chunks:
    """Reads of these sizes in turn."""

    def chunks(data: bytes) -> list[bytes]:
        found, position, turn = [], 0, 0
        while position < len(data):
            size = sizes[turn % len(sizes)]
            found.append(data[position : position + size])
            position, turn = position + size, turn + 1
        return found

    return chunks


def converse(joined: Joined, script: list[Said], *, counted: bool = True) -> None:
    for each in script:
        end = joined.ends[each.side]
        first, *rest = each.fragments
        (end.send_text if each.text else end.send_binary)(first, fin=not rest)
        for number, part in enumerate(rest, 1):
            if each.ping:
                end.send_ping(b"between")
            end.send_continuation(part, fin=number == len(rest))
        joined.run()
    joined.ends[Side.CLIENT].send_close(1000, "done")
    joined.run()
    for side in Side:
        assert joined.messages(side) == [each.message for each in script if each.side is side.other]
    assert joined.closed_with(Side.UPSTREAM) == (1000, "done")
    assert joined.closed_with(Side.CLIENT) == (1000, "done")
    for side in Side:
        received, sent = joined.tallies[side.other][0], joined.tallies[side][1]
        payload = sum(len(each.message[1]) for each in script if each.side is side.other)
        if counted:  # what passes blindly is not
            assert received.payload_bytes == sent.payload_bytes == payload
        assert sent.wire_bytes == len(joined.wire[side])


@given(
    script=st.lists(said(), max_size=8),
    client=st.sampled_from(list(AGREEMENTS.values())),
    upstream=st.sampled_from(list(AGREEMENTS.values())),
    mode=st.sampled_from(["auto", "recompress"]),
    engine=st.sampled_from(sorted(available())),
    coalesce=st.sampled_from([1, 100, 262_144]),
    sizes=chunkings(),
    fast_lane=st.booleans(),
)
@settings(max_examples=max(200, settings().max_examples), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_conversation_arrives_as_it_was_said(
    script: list[Said],
    client: Agreement | None,
    upstream: Agreement | None,
    mode: Mode,
    engine: str,
    coalesce: int,
    sizes: list[int],
    fast_lane: bool,
) -> None:
    limits = Limits(coalesce_bytes=coalesce, max_expansion=5000)
    chunks = cut_by(sizes)
    joined = Joined(client, upstream, mode=mode, engine=engine, limits=limits, chunks=chunks, fast_lane=fast_lane)
    converse(joined, script)


@pytest.mark.parametrize("engine", sorted(available()))
@pytest.mark.parametrize("client", AGREEMENTS)
@pytest.mark.parametrize("upstream", AGREEMENTS)
def test_fragments_keep_their_shape(engine: str, client: str, upstream: str) -> None:
    joined = Joined(AGREEMENTS[client], AGREEMENTS[upstream], engine=engine)
    shape = [b"first ", b"", b"third " * 100, b""]
    end = joined.ends[Side.CLIENT]
    end.send_text(shape[0], fin=False)
    for number, part in enumerate(shape[1:], 1):
        end.send_continuation(part, fin=number == len(shape) - 1)
    joined.run()
    frames = joined.received[Side.UPSTREAM]
    assert [(bytes(f.data), f.fin) for f in frames] == [(part, n == 3) for n, part in enumerate(shape)]


def test_a_large_frame_to_a_legacy_upstream_stays_one_frame_up_to_the_bound() -> None:
    limits = Limits(coalesce_bytes=200_000)

    def chunks(data: bytes) -> list[bytes]:
        return [data[i : i + 65536] for i in range(0, len(data), 65536)]

    joined = Joined(AGREEMENTS["kept"], None, limits=limits, chunks=chunks)
    joined.ends[Side.CLIENT].send_binary(bytes(range(256)) * 700)
    joined.ends[Side.CLIENT].send_binary(bytes(range(256)) * 2000)
    joined.run()
    sizes = [len(f.data) for f in joined.received[Side.UPSTREAM]]
    assert sizes[0] == 179_200
    assert len(sizes) > 2 and sum(sizes[1:]) == 512_000
    assert all(size < 200_000 + 65536 for size in sizes)
