"""What a hostile or unusual sender does to a decoder: limits, bombs, final blocks, rubbish."""

import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.extensions.streams import compressed, noise, oracle_inflate, prose, split, texts, whole_message
from tests.extensions.test_deflate import PLENTY, cuts, engines, stream
from wsproxy.extensions.engines import Engine, Used
from wsproxy.extensions.inflate import DecodeError, Decoder, MemberFlood
from wsproxy.extensions.permessage_deflate import Window

Attempt = Callable[[Decoder], bytes | None]

HELLO = bytes.fromhex("f348cdc9c90700")
"""A fixed block with BFINAL: RFC 7692 §7.2.3.4."""


@pytest.mark.parametrize("size", [0, 1, 257, 258, 259, 16_383, 16_384, 16_385, 32_768, 65_536, 300_000])
@pytest.mark.parametrize("text", [bytes, prose, noise], ids=["zeros", "prose", "noise"])
@pytest.mark.parametrize("level", [0, 9])
def test_limits_are_exact(engine: Engine, size: int, text: type[bytes], level: int) -> None:
    limit = size
    for excess in (-1, 0, 1, 2, 258):
        if (total := size + excess) >= 0:
            payload = text(total)
            for final in (False, True):
                decoder = Decoder(engine, Window(15, True))
                inflated = whole_message(decoder, compressed(payload, final=final, level=level), limit)
                assert inflated == (payload if total <= limit else None)


@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 258])
def test_limits_are_exact_over_several_members(engine: Engine, excess: int) -> None:
    halves = prose(3000), prose(3000 + excess, 2)
    wire = compressed(halves[0], final=True) + compressed(halves[1], history=halves[0])
    inflated = whole_message(Decoder(engine, Window(15, True)), wire, 6000)
    assert inflated == (b"".join(halves) if excess <= 0 else None)


@given(engines, st.lists(st.tuples(texts, st.booleans()), min_size=1, max_size=5), st.integers(0, 30_000))
@settings(deadline=None)
def test_no_limit_cuts_a_message_short(engine: Engine, members: list[tuple[bytes, bool]], limit: int) -> None:
    wire, text = b"", b""
    for payload, final in members:
        wire += (
            compressed(payload, final=True, history=text)
            if final
            else compressed(payload, history=text) + b"\0\0\xff\xff"
        )
        text += payload
    wire += b"\x00"
    assert whole_message(Decoder(engine, Window(15, True)), wire, limit) == (text if len(text) <= limit else None)


def test_a_bomb_is_not_inflated(engine: Engine) -> None:
    bomb = compressed(bytes(30_000_000))
    assert len(bomb) < 40_000
    tracemalloc.start()
    try:
        assert whole_message(Decoder(engine, Window(15, True)), bomb, 100_000) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [1, 1000, 40_000])
def test_a_streamed_bomb_takes_no_memory(engine: Engine, step: int) -> None:
    """30 MB of zeros in 30 KB are read in full, in bounded steps and bounded memory."""
    bomb = compressed(bytes(30_000_000))
    decoder = Decoder(engine, Window(15, True))
    total = 0
    tracemalloc.start()
    try:
        for at in range(0, len(bomb), step):
            decoder.feed(bomb[at : at + step], at + step >= len(bomb))
            while decoder.pending:
                part = decoder.read(65_536)
                assert len(part) <= 65_536
                total += len(part)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert total == 30_000_000
    assert whole_message(decoder, b"\x00", 0) == b""


def test_over_the_limit_and_then_malformed(engine: Engine) -> None:
    wire = compressed(bytes(100_000)) + b"\0\0\xff\xff" + b"\x07" * 20
    assert whole_message(Decoder(engine, Window(15, True)), wire, 1000) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"\x07",
        b"\x07" * 50,
        b"\x00\x01\x00\x00\x00a",  # a stored block whose length is not its complement
        b"\x03\x01\x00",  # a copy from before the beginning
        compressed(b"text", final=True) + b"\x07",
        HELLO[:-1],  # the end of its final block comes out of the tail
    ],
)
def test_rubbish(engine: Engine, takeover: bool, wire: bytes) -> None:
    attempts: tuple[Attempt, ...] = (
        lambda each: whole_message(each, wire, PLENTY),
        lambda each: stream(each, split(wire, [1, 3])),
    )
    for attempt in attempts:
        decoder = Decoder(engine, Window(15, takeover))
        assert whole_message(decoder, b"\x00", PLENTY) == b""
        with pytest.raises(DecodeError) as caught:
            attempt(decoder)
        assert caught.value.code == 1007


@given(engines, st.binary(max_size=300), cuts, st.integers(1, 300))
@settings(deadline=None)
def test_any_bytes_are_inflated_or_refused(engine: Engine, wire: bytes, wire_cuts: list[int], most: int) -> None:
    """Whole or in pieces, with one outcome."""
    outcomes: list[bytes | int | None] = []
    attempts: tuple[Attempt, ...] = (
        lambda each: whole_message(each, wire, PLENTY),
        lambda each: stream(each, split(wire, wire_cuts), most),
    )
    for attempt in attempts:
        try:
            outcomes.append(attempt(Decoder(engine, Window(15, True))))
        except (DecodeError, MemberFlood) as violation:
            outcomes.append(violation.code)
    assert outcomes[0] == outcomes[1]


def test_a_copy_from_the_message_before_needs_takeover(engine: Engine) -> None:
    text = noise(300)
    wire = compressed(text), compressed(text, history=text)
    decoder = Decoder(engine, Window(15, True))
    assert [whole_message(decoder, each, PLENTY) for each in wire] == [text, text]
    decoder = Decoder(engine, Window(15, False))
    assert whole_message(decoder, wire[0], PLENTY) == text
    with pytest.raises(DecodeError):
        whole_message(decoder, wire[1], PLENTY)


@pytest.mark.parametrize("rest", [b"", b"\x00"], ids=["ends with its block", "as in the RFC"])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_final_blocks(engine: Engine, takeover: bool, rest: bytes, members: int) -> None:
    """Messages with BFINAL, then normal ones: all intact, whole and in pieces."""
    decoder = Decoder(engine, Window(15, takeover))
    normal = compressed(b"normal")
    for _ in range(3):
        assert whole_message(decoder, HELLO * members + rest, PLENTY) == b"Hello" * members
        assert whole_message(decoder, normal, PLENTY) == b"normal"
        wire = HELLO * members + rest
        for pieces in (
            [wire],
            [wire, b""],
            [b"", wire, b""],
            split(wire, range(len(wire))),
            [HELLO] * members + [rest],
        ):
            assert stream(decoder, pieces, 3) == b"Hello" * members
            assert whole_message(decoder, normal, PLENTY) == b"normal"


def test_a_final_block_that_the_tail_completes(engine: Engine, takeover: bool) -> None:
    """An empty stored block with BFINAL, without its last four bytes, is a legal end of a message."""
    decoder = Decoder(engine, Window(15, takeover))
    for _ in range(2):
        assert whole_message(decoder, b"\x01", PLENTY) == b""
        assert stream(decoder, [b"\x01"]) == b""
        assert stream(decoder, [b"\x01", b""]) == b""
        assert whole_message(decoder, compressed(b"text"), PLENTY) == b"text"


def test_a_message_of_no_bytes_is_empty(engine: Engine, takeover: bool) -> None:
    """Not legal (it would be one byte), but harmless, and the stream stays in step."""
    decoder = Decoder(engine, Window(15, takeover))
    for _ in range(2):
        assert whole_message(decoder, b"", PLENTY) == b""
        assert stream(decoder, [b"", b""]) == b""
        assert whole_message(decoder, compressed(b"text"), PLENTY) == b"text"


@given(
    engine=engines,
    bits=st.integers(9, 15),
    messages=st.lists(st.tuples(st.lists(texts, max_size=4), st.booleans(), cuts, st.booleans()), max_size=6),
)
@settings(deadline=None)
def test_the_window_is_kept_across_final_blocks(
    engine: Engine, bits: int, messages: list[tuple[list[bytes], bool, list[int], bool]]
) -> None:
    """Members refer to whatever came before them, in this message or in earlier ones, as far as the window goes."""
    decoder = Decoder(engine, Window(bits, True))
    history = b""
    for members, ends, wire_cuts, whole in messages:
        wire = text = b""
        for member in members:
            wire += compressed(member, final=True, history=history[-(1 << bits) :], bits=bits)
            text += member
            history += member
        if not (ends and members):
            wire += compressed(b"rest", history=history[-(1 << bits) :], bits=bits)
            text += b"rest"
            history += b"rest"
        found = whole_message(decoder, wire, PLENTY) if whole else stream(decoder, split(wire, wire_cuts), 1000)
        assert found == text


@pytest.mark.parametrize("step", [100, 1 << 20], ids=["small messages", "one message"])
def test_final_blocks_and_kept_windows_of_every_size(engine: Engine, step: int) -> None:
    """A member refers to the farthest byte of the window, whatever filled it."""
    for bits in range(9, 16):
        decoder = Decoder(engine, Window(bits, True))
        text = noise((1 << bits) * 3, bits)
        for at in range(0, len(text), step):
            assert whole_message(decoder, compressed(text[at : at + step]), PLENTY) == text[at : at + step]
        assert decoder.memory < engine.decompressor_bytes(bits, Used(len(text), len(text))) + (1 << bits) * 3 // 2 + 100
        assert whole_message(decoder, compressed(b"", final=True), PLENTY) == b""
        # zlib does not refer to the first byte of a history, nor to the last 262 that 15 bits would reach.
        far = text[-(1 << bits) + (262 if bits == 15 else 0) :][:40]
        wire = compressed(far, history=text[-(1 << bits) - 1 :], bits=15)
        assert len(wire) < 20
        assert whole_message(decoder, wire, PLENTY) == far


def test_member_flood(engine: Engine, takeover: bool) -> None:
    wire = b"\x03\x00" * 32_768
    attempts: tuple[Attempt, ...] = (
        lambda each: whole_message(each, wire, PLENTY),
        lambda each: stream(each, split(wire, range(0, 65_536, 100))),
    )
    for attempt in attempts:
        with pytest.raises(MemberFlood) as caught:
            attempt(Decoder(engine, Window(15, takeover)))
        assert caught.value.code == 1008


@pytest.mark.parametrize("members", [4, 5])
def test_members_are_counted_in_each_message(engine: Engine, members: int) -> None:
    decoder = Decoder(engine, Window(15, True), max_members=4)
    for _ in range(3):
        if members <= 4:
            assert whole_message(decoder, HELLO * members, PLENTY) == b"Hello" * members
            assert stream(decoder, [HELLO] * members) == b"Hello" * members
        else:
            with pytest.raises(MemberFlood):
                whole_message(Decoder(engine, Window(15, True), max_members=4), HELLO * members, PLENTY)


def test_many_members_before_much_else(engine: Engine) -> None:
    """What follows a final block is not copied whole for each one."""
    text = noise(4_000_000)
    wire = b"\x03\x00" * 200 + compressed(text, level=0)
    decoder = Decoder(engine, Window(15, True))
    assert whole_message(decoder, wire, PLENTY) == text
    total = 0
    tracemalloc.start()
    try:
        decoder.feed(wire, True)
        while decoder.pending:
            total += len(decoder.read(65_536))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert total == len(text)


@pytest.mark.parametrize("most", [0, -1])
def test_a_read_without_a_bound_is_refused(engine: Engine, most: int) -> None:
    decoder = Decoder(engine, Window(15, True))
    decoder.feed(compressed(b"text"), True)
    with pytest.raises(ValueError, match="max_output"):
        decoder.read(most)


def test_the_oracle_sees_a_window_that_is_too_large() -> None:
    """The tests above would notice."""
    text = noise(2000)
    with pytest.raises(zlib.error):
        oracle_inflate([compressed(text * 2, bits=12)], 9, True)
