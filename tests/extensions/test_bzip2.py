"""permessage-bzip2: what is agreed, and a codec against Python's own bz2. tests/endtoend/test_autobahn.py: autobahn."""

import bz2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extensions.streams import split, texts
from wsproxy.errors import Violation
from wsproxy.extensions.base import NegotiationError, Undecodable
from wsproxy.extensions.bzip2 import NAME, Bzip2, Bzip2Agreed, Bzip2Settings
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions


def items(text: str) -> tuple[ExtensionItem, ...]:
    return parse_extensions([text.encode()])


@pytest.mark.parametrize(
    "offer, settings, label, answer",
    [
        (NAME, Bzip2Settings(), "server:9;client:9", NAME),
        (f"{NAME}; client_max_compress_level", Bzip2Settings(), "server:9;client:9", NAME),
        (
            f"{NAME}; client_max_compress_level",
            Bzip2Settings(max_level=4),
            "server:9;client:4",
            f"{NAME}; client_max_compress_level=4",
        ),
        (NAME, Bzip2Settings(max_level=4), "server:9;client:9", NAME),
        (
            f"{NAME}; server_max_compress_level=7",
            Bzip2Settings(level=3),
            "server:7;client:9",
            f"{NAME}; server_max_compress_level=7",
        ),
        (
            f"{NAME}; server_max_compress_level=2",
            Bzip2Settings(level=3),
            "server:2;client:9",
            f"{NAME}; server_max_compress_level=2",
        ),
        (f"{NAME}; server_max_compress_level=0", Bzip2Settings(), None, None),
        (f"{NAME}; server_max_compress_level=10", Bzip2Settings(), None, None),
        (f"{NAME}; server_max_compress_level", Bzip2Settings(), None, None),
        (f"{NAME}; client_max_compress_level=3", Bzip2Settings(), None, None),
        (f"{NAME}; level=3", Bzip2Settings(), None, None),
        (f"{NAME}; client_max_compress_level; client_max_compress_level", Bzip2Settings(), None, None),
        (f"{NAME}; level=3, {NAME}", Bzip2Settings(), "server:9;client:9", NAME),
    ],
)
def test_what_a_client_is_answered(offer: str, settings: Bzip2Settings, label: str | None, answer: str | None) -> None:
    accepted = Bzip2(settings).accept(items(offer))
    if accepted is None:
        assert label is None
        return
    assert accepted[0].label == f"{NAME};{label}"
    assert format_extension(accepted[1]).decode() == answer


@pytest.mark.parametrize(
    "settings, offer, answer, label",
    [
        (Bzip2Settings(), f"{NAME}; client_max_compress_level", NAME, "server:9;client:9"),
        (
            Bzip2Settings(level=5, max_level=4),
            f"{NAME}; client_max_compress_level; server_max_compress_level=4",
            f"{NAME}; server_max_compress_level=4; client_max_compress_level=2",
            "server:4;client:2",
        ),
        (
            Bzip2Settings(level=5),
            f"{NAME}; client_max_compress_level",
            f"{NAME}; client_max_compress_level=8",
            "server:9;client:8",
        ),
        (Bzip2Settings(max_level=4), f"{NAME}; client_max_compress_level; server_max_compress_level=4", NAME, None),
        (Bzip2Settings(), f"{NAME}; client_max_compress_level", f"{NAME}; client_max_compress_level", None),
        (Bzip2Settings(), f"{NAME}; client_max_compress_level", f"{NAME}; client_max_compress_level=0", None),
        (Bzip2Settings(), f"{NAME}; client_max_compress_level", f"{NAME}; x=1", None),
    ],
)
def test_what_an_upstream_is_asked_and_may_answer(
    settings: Bzip2Settings, offer: str, answer: str, label: str | None
) -> None:
    extension = Bzip2(settings)
    offered = extension.offer()
    assert [format_extension(item).decode() for item in offered] == [offer]
    if label is None:
        with pytest.raises(NegotiationError):
            extension.confirm(offered, items(answer)[0])
    else:
        assert extension.confirm(offered, items(answer)[0]).label == f"{NAME};{label}"


AGREED = Bzip2Agreed(server_level=3, client_level=9, level=9, threshold=0)


@given(st.lists(texts, max_size=4), st.lists(st.integers(0, 3000), max_size=4), st.integers(1, 70_000))
def test_each_message_is_a_stream_of_its_own(messages: list[bytes], cuts: list[int], step: int) -> None:
    encoder, decoder = AGREED.encoder("server"), AGREED.decoder("server")
    for message in messages:
        pieces = split(message, cuts)
        wire = b"".join(encoder.encode(piece, number == len(pieces)) for number, piece in enumerate(pieces, 1))
        assert bz2.decompress(wire) == message
        plain = b""
        pieces = split(wire, cuts)
        for number, piece in enumerate(pieces, 1):
            decoder.feed(piece, number == len(pieces))
            while decoder.pending:
                plain += (out := decoder.read(step))
                assert len(out) <= step
        assert plain == message
    assert encoder.memory == decoder.memory == 0


@pytest.mark.parametrize(
    "wire",
    [b"", b"B", b"nothing of the kind", bz2.compress(b"cut")[:-1], bz2.compress(b"") + b"x", 2 * bz2.compress(b"two")],
)
def test_what_is_no_stream_is_refused_with_1007(wire: bytes) -> None:
    decoder = AGREED.decoder("client")
    decoder.feed(wire, True)
    with pytest.raises(Undecodable) as refused:
        while decoder.pending:
            decoder.read(1 << 20)
    assert isinstance(refused.value, Violation)
    assert refused.value.code == 1007


def test_what_comes_after_the_end_in_a_later_piece_is_refused() -> None:
    decoder = AGREED.decoder("client")
    decoder.feed(bz2.compress(b"text"), False)
    while decoder.pending:
        decoder.read(100)
    decoder.feed(b"x", True)
    with pytest.raises(Undecodable):
        decoder.read(100)


def test_a_bomb_is_given_step_by_step() -> None:
    decoder = AGREED.decoder("client")
    decoder.feed(bz2.compress(bytes(50_000_000)), True)
    for _ in range(20):
        assert len(decoder.read(65_536)) <= 65_536
        assert decoder.pending


@pytest.mark.parametrize(
    "incoming, onward, from_client, from_server",
    [
        (Bzip2Agreed(9, 9, 1, 0), Bzip2Agreed(9, 9, 9, 500), True, True),
        (Bzip2Agreed(9, 3, 1, 0), Bzip2Agreed(3, 9, 1, 0), True, False),
    ],
)
def test_a_smaller_block_passes(
    incoming: Bzip2Agreed, onward: Bzip2Agreed, from_client: bool, from_server: bool
) -> None:
    assert incoming.may_pass(onward, "client") is from_client
    assert incoming.may_pass(onward, "server") is from_server


@pytest.mark.parametrize("level, server, client", [(9, b"BZh3", b"BZh5"), (2, b"BZh2", b"BZh2")])
def test_the_level_is_what_is_set_or_less(level: int, server: bytes, client: bytes) -> None:
    """A bzip2 stream says its block size in its fourth byte."""
    agreed = Bzip2Agreed(server_level=3, client_level=5, level=level, threshold=0)
    assert agreed.encoder("server").encode(b"text", True)[:4] == server
    assert agreed.encoder("client").encode(b"text", True)[:4] == client
