"""The conversations of `test_conversations` over other extensions than permessage-deflate, alone and combined."""

import bz2
import itertools
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocol.chains import CHAINS, KEPT, bzip2, chain, deflate, rot
from tests.protocol.joined import Joined, byte_by_byte
from tests.protocol.test_conversations import Said, chunkings, converse, cut_by, said
from tests.protocol.test_lane import frame
from wsproxy.errors import Side
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.plan import Mode, Plan

PAIRS = list(itertools.product(CHAINS, CHAINS))


@given(
    script=st.lists(said(), max_size=6),
    pair=st.sampled_from(PAIRS),
    mode=st.sampled_from(["auto", "recompress"]),
    verify=st.booleans(),
    coalesce=st.sampled_from([1, 100, 262_144]),
    sizes=chunkings(),
)
@settings(max_examples=max(300, settings().max_examples), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_conversation_arrives_as_it_was_said(
    script: list[Said], pair: tuple[str, str], mode: Mode, verify: bool, coalesce: int, sizes: list[int]
) -> None:
    limits = Limits(coalesce_bytes=coalesce, max_expansion=1_000_000)
    chunks = cut_by(sizes)
    client, upstream = (CHAINS[name] for name in pair)
    joined = Joined(client, upstream, mode=mode, verify=verify, limits=limits, chunks=chunks)
    converse(joined, script, counted=verify or Plan.PASS not in joined.plans)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("client, upstream", PAIRS)
def test_every_pair_of_agreements(client: str, upstream: str, verify: bool) -> None:
    joined = Joined(CHAINS[client], CHAINS[upstream], verify=verify, chunks=byte_by_byte)
    script = [
        Said(side, text, parts, True)
        for side in Side
        for text in (True, False)
        for parts in ((b"",), (b"whole " * 60,), (b"in ", b"", b"parts " * 50))
    ]
    converse(joined, script, counted=verify or Plan.PASS not in joined.plans)


@pytest.mark.parametrize(
    "client, upstream, to_upstream, to_client",
    [
        ("none", "bzip2", "deflate", "inflate"),
        ("rot", "none", "inflate", "deflate"),
        ("rot", "rot", "pass", "pass"),
        ("rot", "rot by 200", "recode", "recode"),
        ("bzip2", "deflate", "recode", "recode"),
        ("deflate", "deflate, rot", "recode", "recode"),
        ("deflate, rot", "deflate, rot", "pass", "pass"),
        ("rot, deflate", "deflate, rot", "recode", "recode"),
        # A small block is read wherever a large one may come, and not the other way round.
        ("bzip2 of small blocks", "bzip2", "pass", "recode"),
        ("bzip2", "bzip2 of small blocks", "recode", "pass"),
        ("bzip2, rot", "bzip2, rot", "pass", "pass"),
    ],
)
def test_plans(client: str, upstream: str, to_upstream: str, to_client: str) -> None:
    assert Joined(CHAINS[client], CHAINS[upstream]).plans == (to_upstream, to_client)
    recompressed = Joined(CHAINS[client], CHAINS[upstream], mode="recompress").plans
    assert Plan.PASS not in recompressed


def test_the_order_is_that_of_the_answer_and_its_reverse() -> None:
    """What leaves is rotated bzip2, and not bzip2 of what was rotated."""
    joined = Joined(chain(bzip2(), rot(5)), None)
    joined.ends[Side.UPSTREAM].send_binary(b"text " * 100)
    for data in joined.ends[Side.UPSTREAM].data_to_send():
        joined.relay.receive(Side.UPSTREAM, data, 0.0)
    sent = joined.relay.take(Side.CLIENT)
    assert sent[0] == 0x82 | 0x40 | 0x20
    assert bz2.decompress(bytes((byte - 5) % 256 for byte in sent[2:])) == b"text " * 100


@pytest.mark.parametrize("agreement", ["none", "bzip2", "rot", "bzip2, rot", "deflate, rot"])
@pytest.mark.parametrize("bits", range(0x10, 0x80, 0x10))
def test_bits_that_were_not_agreed_on_are_1002(agreement: str, bits: int) -> None:
    legal = {"none": 0, "bzip2": 0x40, "rot": 0x20, "bzip2, rot": 0x60, "deflate, rot": 0x60}[agreement]
    if bits & ~legal == 0:
        return
    joined = Joined(CHAINS[agreement], None)
    joined.send_raw(Side.CLIENT, frame(0x82 | bits, b"x", True))
    joined.run()
    code, _ = joined.closed_with(Side.CLIENT) or (None, None)
    assert code == 1002


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x60])
@pytest.mark.parametrize("first", [0x80, 0x00, 0x89, 0x88], ids=["last", "middle", "ping", "close"])
def test_agreed_bits_are_1002_on_any_frame_but_a_messages_first(first: int, bits: int) -> None:
    joined = Joined(CHAINS["bzip2, rot"], None)
    joined.send_raw(Side.CLIENT, frame(0x22, b"x", True) + frame(first | bits, b"", True))
    joined.run()
    code, _ = joined.closed_with(Side.CLIENT) or (None, None)
    assert code == 1002


def test_the_limit_counts_what_comes_out() -> None:
    for size, code in ((1000, None), (1001, 1009)):
        joined = Joined(CHAINS["bzip2, rot"], None, limits=Limits(max_message_bytes=1000))
        joined.ends[Side.CLIENT].send_binary(bytes(size))
        joined.run()
        closed = joined.closed_with(Side.CLIENT)
        assert (closed and closed[0]) == code


def test_a_bomb_between_two_extensions_is_stopped_there() -> None:
    """Its outer coding grows by a million, and the inner one would give nothing for long."""
    inner = bz2.compress(b"")[:4] + bytes(50_000_000)
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    wire = (stream.compress(inner) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    limits = Limits(max_message_bytes=100_000, max_frame_bytes=100_000)
    joined = Joined(chain(rot(), deflate(KEPT)), None, limits=limits)
    joined.send_raw(Side.CLIENT, frame(0xC2, wire, True))
    joined.run()
    assert joined.closed_with(Side.CLIENT) == (1009, "message over 100000 bytes")


def test_what_no_decoder_can_read_is_1007() -> None:
    joined = Joined(CHAINS["bzip2"], None)
    joined.send_raw(Side.CLIENT, frame(0xC2, b"no bzip2", True))
    joined.run()
    assert joined.closed_with(Side.CLIENT) == (1007, "undecodable bzip2 data")
    assert joined.closed_with(Side.UPSTREAM) == (1007, "undecodable bzip2 data")


def test_text_that_is_no_utf_8_once_decoded_is_1007() -> None:
    joined = Joined(chain(rot(1)), None)
    joined.send_raw(Side.CLIENT, frame(0xA1, b"\x00", True))
    joined.run()
    assert joined.closed_with(Side.CLIENT) == (1007, "text that is not UTF-8")


@pytest.mark.parametrize("pair", [("rot", "rot"), ("bzip2", "none"), ("none", "deflate, rot"), ("rot", "bzip2")])
def test_counts(pair: tuple[str, str]) -> None:
    joined = Joined(*(CHAINS[name] for name in pair))
    for _ in range(3):
        joined.ends[Side.CLIENT].send_text(b"counted " * 40)
    joined.run()
    received, sent = joined.tallies[Side.CLIENT][0], joined.tallies[Side.UPSTREAM][1]
    assert received.text == sent.text == 3
    assert received.payload_bytes == sent.payload_bytes == 3 * 320
    passed, decodes, encodes = joined.plans[0] is Plan.PASS, pair[0] != "none", pair[1] != "none"
    assert (received.passed, received.inflated, received.plain) == (
        3 * passed,
        3 * (decodes and not passed),
        3 * (not decodes),
    )
    assert (sent.passed, sent.compressed, sent.plain) == (3 * passed, 3 * (encodes and not passed), 3 * (not encodes))
