"""The codec as a whole: what goes in comes out, on every engine, in every shape, and by others' reading."""

import zlib
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from tests.extensions.streams import noise, oracle_inflate, prose, split, texts, whole_message
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import STRATEGIES, Compressor, Engine, EngineFault, EngineUnavailable, available
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Window

PLENTY = 1 << 24
MESSAGES = [b"", b"a", prose(500), b"", b"", prose(500), noise(5000), prose(40_000), prose(500), b"", noise(5000)]

windows = st.builds(Window, st.integers(9, 15), st.booleans())
engines = st.sampled_from(sorted(available())).map(available().__getitem__)
cuts = st.lists(st.integers(0, 4000), max_size=6)


@st.composite
def options(draw: st.DrawFn, engine: Engine) -> DeflateOptions:
    strategy = draw(st.sampled_from(sorted(STRATEGIES))) if engine.name != "isal" else "default"
    level = draw(st.none() | st.sampled_from(engine.levels))
    return DeflateOptions(engine.name, level, draw(st.integers(1, 9)), strategy)


def stream(decoder: Decoder, pieces: list[bytes], most: int = 4096) -> bytes:
    """Inflate a message piece by piece, as the decoder is to be used."""
    parts = []
    for number, piece in enumerate(pieces, 1):
        decoder.feed(piece, number == len(pieces))
        while decoder.pending:
            parts.append(decoder.read(most))
            assert len(parts[-1]) <= most
    return b"".join(parts)


def fragments(encoder: Encoder, frames: list[list[bytes]]) -> bytes:
    """Compress a message that comes as frames, each in pieces."""
    out = []
    for number, pieces in enumerate(frames, 1):
        fin = number == len(frames)
        out += [encoder.piece(piece, False, fin) for piece in pieces[:-1]]
        out.append(encoder.piece(pieces[-1], True, fin))
    return b"".join(out)


@given(st.data(), engines, engines, windows, st.lists(texts, max_size=8))
@settings(deadline=None)
def test_round_trip(data: st.DataObject, writer: Engine, reader: Engine, window: Window, messages: list[bytes]) -> None:
    encoder = Encoder(writer, window, data.draw(options(writer)))
    decoder = Decoder(reader, window)
    wire = [encoder.message(message) for message in messages]
    assert oracle_inflate(wire, window.bits, window.takeover) == messages
    assert [whole_message(decoder, message, PLENTY) for message in wire] == messages


@given(st.data(), engines, engines, windows, st.lists(st.tuples(texts, cuts, cuts, cuts, st.booleans()), max_size=5))
@settings(deadline=None)
def test_round_trip_in_pieces(
    data: st.DataObject,
    writer: Engine,
    reader: Engine,
    window: Window,
    messages: list[tuple[bytes, list[int], list[int], list[int], bool]],
) -> None:
    """Any fragments in any pieces, mixed with whole messages, give the same on both ends."""
    encoder = Encoder(writer, window, data.draw(options(writer)))
    decoder = Decoder(reader, window)
    wire = []
    for text, frame_cuts, piece_cuts, wire_cuts, whole in messages:
        frames = [split(frame, piece_cuts) for frame in split(text, frame_cuts)]
        wire.append(encoder.message(text) if whole else fragments(encoder, frames))
        most = data.draw(st.sampled_from([1, 2, 100, 65536]))
        assert stream(decoder, split(wire[-1], wire_cuts), max(most, len(text) // 500)) == text
    assert oracle_inflate(wire, window.bits, window.takeover) == [text for text, *_ in messages]


def test_byte_by_byte(engine: Engine, takeover: bool) -> None:
    window = Window(10, takeover)
    encoder, decoder = Encoder(engine, window, DeflateOptions()), Decoder(engine, window)
    for message in MESSAGES:
        wire = fragments(encoder, [[message[at : at + 1] for at in range(len(message))] or [b""]])
        assert stream(decoder, [wire[at : at + 1] for at in range(len(wire))], 3) == message


def test_messages_of_megabytes(engine: Engine, takeover: bool) -> None:
    window = Window(15, takeover)
    encoder, decoder = Encoder(engine, window, DeflateOptions()), Decoder(engine, window)
    text = prose(300_000) * 12 + noise(400_000) + bytes(2_000_000)
    for _ in range(2):
        wire = encoder.message(text)
        assert whole_message(decoder, wire, len(text)) == text
        assert stream(decoder, [encoder.message(text)], 65536) == text


def test_an_empty_message_is_one_byte(engine: Engine, takeover: bool) -> None:
    encoder = Encoder(engine, Window(12, takeover), DeflateOptions())
    assert encoder.message(b"") == b"\x00"
    assert encoder.memory == 0
    encoder.message(b"text")
    assert encoder.message(b"") == b"\x00"
    assert encoder.piece(b"", True, True) == b"\x00"


def test_an_empty_last_fragment_is_one_byte(engine: Engine, takeover: bool) -> None:
    encoder = Encoder(engine, Window(12, takeover), DeflateOptions())
    wire = []
    for _ in range(2):
        frames = [encoder.piece(b"text", True, False), encoder.piece(b"", True, False), encoder.piece(b"", True, True)]
        assert frames[0].endswith(b"\x00\x00\xff\xff")
        assert frames[1:] == [b"", b"\x00"]
        wire.append(b"".join(frames))
    assert oracle_inflate(wire, 12, takeover) == [b"text", b"text"]


def test_each_fragment_carries_its_bytes(engine: Engine) -> None:
    """A receiver has all of a fragment before the next one comes."""
    encoder = Encoder(engine, Window(12, True), DeflateOptions())
    reader = zlib.decompressobj(-12)
    for text in (b"first", b"second, " * 100, b"third"):
        assert reader.decompress(encoder.piece(text[:3], False, False) + encoder.piece(text[3:], True, False)) == text


def test_a_kept_window_is_used_and_a_dropped_one_is_not(engine: Engine) -> None:
    """Without takeover one message says nothing about another (RFC 7692 §8)."""
    text = noise(200)
    kept, dropped = (Encoder(engine, Window(12, takeover), DeflateOptions()) for takeover in (True, False))
    sizes = [[len(encoder.message(text)) for _ in range(3)] for encoder in (kept, dropped)]
    assert sizes[0][2] < 100
    assert sizes[1][0] == sizes[1][1] == sizes[1][2] > 200
    in_pieces = [fragments(dropped, [[text[:100]], [text[100:]], [b""]]) for _ in range(2)]
    assert in_pieces[0] == in_pieces[1]


def test_a_released_compressor_is_not_missed(engine: Engine) -> None:
    window = Window(12, True)
    encoder, decoder = Encoder(engine, window, DeflateOptions()), Decoder(engine, window)
    for message in MESSAGES:
        assert whole_message(decoder, encoder.message(message), PLENTY) == message
        encoder.release()
        assert encoder.memory == 0


@given(engines, engines, windows, st.lists(st.tuples(texts, cuts, st.booleans()), max_size=8))
@settings(deadline=None)
def test_codecs_give_back_at_any_time(
    writer: Engine, reader: Engine, window: Window, messages: list[tuple[bytes, list[int], bool]]
) -> None:
    """In the midst of a message too, where nothing may be given back."""
    encoder, decoder = Encoder(writer, window, DeflateOptions()), Decoder(reader, window)
    for text, places, releases in messages:
        inflated = b""
        pieces = split(text, places)
        for number, piece in enumerate(pieces, 1):
            last = number == len(pieces)
            for part in split(encoder.piece(piece, True, last), places):
                decoder.feed(part, False)
                while decoder.pending:
                    inflated += decoder.read(100)
                if releases:
                    encoder.release()
                    decoder.release()
        decoder.feed(b"", True)
        while decoder.pending:
            inflated += decoder.read(100)
        assert inflated == text
        if releases:
            encoder.release()
            decoder.release()
            assert encoder.memory == 0
            assert decoder.memory <= (1 << window.bits) + 64


def test_a_compressor_is_not_released_within_a_message(engine: Engine) -> None:
    encoder = Encoder(engine, Window(12, True), DeflateOptions())
    wire = encoder.piece(b"one, ", False, True)
    encoder.release()
    assert encoder.memory > 0
    wire += encoder.piece(b"two", True, True)
    encoder.release()
    assert encoder.memory == 0
    assert oracle_inflate([wire], 12, True) == [b"one, two"]


def test_engine_and_level_may_change_between_messages(engine: Engine) -> None:
    window = Window(12, True)
    decoder = Decoder(engine, window)
    for number, message in enumerate(MESSAGES * 2):
        writer = list(available().values())[number % len(available())]
        assert (
            whole_message(decoder, Encoder(writer, window, DeflateOptions(level=number % 4)).message(message), PLENTY)
            == message
        )


def test_nothing_is_held_before_a_message_and_nothing_without_takeover_after(engine: Engine, takeover: bool) -> None:
    window = Window(12, takeover)
    encoder, decoder = Encoder(engine, window, DeflateOptions()), Decoder(engine, window)
    assert encoder.memory == decoder.memory == 0
    for message in MESSAGES:
        assert whole_message(decoder, encoder.message(message), PLENTY) == message
        assert stream(decoder, [fragments(encoder, [[message], [message]])]) == message * 2
    assert (encoder.memory > 0) is (decoder.memory > 0) is takeover


@pytest.mark.parametrize(
    ("kept", "chosen", "expected"), [(True, None, 0), (False, None, 96), (True, 64, 64), (False, 0, 0)]
)
def test_threshold(engine: Engine, kept: bool, chosen: int | None, expected: int) -> None:
    assert Encoder(engine, Window(12, kept), DeflateOptions(threshold=chosen)).threshold == expected


def test_what_the_engine_lacks_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineUnavailable, match="scale"):
        Encoder(engine, Window(12, True), DeflateOptions(level=10))
    with pytest.raises(EngineUnavailable, match="strategy"):
        Encoder(engine, Window(12, True), DeflateOptions(strategy="brute_force"))


class Unflushed:
    """A compressor that keeps what it was given."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        return b""

    def flush(self, mode: int, /) -> bytes:
        return b""


def test_an_engine_that_does_not_flush_is_found_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def compressor(self: Engine, level: int, bits: int, mem_level: int, strategy: int) -> Compressor:
        return Unflushed()

    monkeypatch.setattr(Engine, "compressor", compressor)
    with pytest.raises(EngineFault):
        Encoder(engine, Window(12, True), DeflateOptions()).message(b"text")
    with pytest.raises(EngineFault):
        Encoder(engine, Window(12, True), DeflateOptions()).piece(b"text", True, True)


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_websockets_understands(engine: Engine, takeover: bool, bits: int) -> None:
    window = Window(bits, takeover)
    encoder = Encoder(engine, window, DeflateOptions())
    theirs = PerMessageDeflate(not takeover, not takeover, bits, bits)
    for message in MESSAGES:
        whole = Frame(Opcode.BINARY, encoder.message(message), True, rsv1=True)
        assert theirs.decode(whole, max_size=PLENTY).data == message
        raw = Frame(Opcode.BINARY, message, True)
        assert theirs.decode(raw).data == message
        first = Frame(Opcode.BINARY, encoder.piece(message, True, False), False, rsv1=True)
        last = Frame(Opcode.CONT, encoder.piece(message, True, True), True)
        assert b"".join(bytes(theirs.decode(frame).data) for frame in (first, last)) == message * 2


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_websockets_is_understood(engine: Engine, takeover: bool, bits: int) -> None:
    decoder = Decoder(engine, Window(bits, takeover))
    theirs = PerMessageDeflate(not takeover, not takeover, bits, bits)
    kinds: list[tuple[Literal[Opcode.BINARY, Opcode.CONT], bool]] = [(Opcode.BINARY, False), (Opcode.CONT, True)]
    for message in MESSAGES:
        whole = theirs.encode(Frame(Opcode.BINARY, message, True))
        assert whole_message(decoder, bytes(whole.data), PLENTY) == message
        parts = [bytes(theirs.encode(Frame(opcode, message, fin)).data) for opcode, fin in kinds]
        assert stream(decoder, parts) == message * 2
