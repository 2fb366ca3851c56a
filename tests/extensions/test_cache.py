"""Compressed once for many: what is found is exact, what is kept is bounded, and what does not pay rests."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extensions.streams import noise, oracle_inflate, prose
from wsproxy.extensions.cache import Cache, Recipe
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import Engine
from wsproxy.extensions.permessage_deflate import Window

RECIPE = Recipe("zlib", 6, 12, 5, "default")
FORGETFUL = Window(12, False)


def lookup(cache: Cache, payload: bytes, recipe: Recipe = RECIPE) -> bytes | None:
    return cache.shelf(recipe).find(payload)


def store(cache: Cache, payload: bytes, compressed: bytes, recipe: Recipe = RECIPE) -> None:
    cache.shelf(recipe).keep(payload, compressed)


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=256, max_size=300), st.integers(0, 3)), max_size=60))
def test_what_is_found_is_what_was_kept(steps: list[tuple[bool, bytes, int]]) -> None:
    cache, now = Cache(100_000), 0.0
    for keeps, payload, passes in steps:
        if keeps:
            store(cache, payload, zlib.compress(payload))
        found = lookup(cache, payload)
        assert found is None or zlib.decompress(found) == payload
        assert not keeps or found is not None
        now += passes / 2
        cache.age(now)
        assert 0 <= cache.held <= 100_000


def test_a_difference_in_one_byte_is_a_difference() -> None:
    """Also where the key does not see it."""
    cache = Cache(1 << 20)
    text = prose(2000)
    store(cache, text, b"compressed")
    assert lookup(cache, bytes(bytearray(text))) == b"compressed"
    for at in range(len(text)):
        other = bytearray(text)
        other[at] ^= 1
        assert lookup(cache, bytes(other)) is None


@pytest.mark.parametrize(
    "other",
    [
        Recipe("isal", 6, 12, 5, "default"),
        Recipe("zlib", 5, 12, 5, "default"),
        Recipe("zlib", 6, 11, 5, "default"),
        Recipe("zlib", 6, 12, 4, "default"),
        Recipe("zlib", 6, 12, 5, "rle"),
    ],
)
def test_no_recipe_finds_what_another_made(other: Recipe) -> None:
    cache = Cache(1 << 20)
    store(cache, prose(500), b"compressed")
    assert lookup(cache, prose(500), other) is None


def test_entries_live_two_seconds_at_most() -> None:
    cache = Cache(1 << 20)
    for now in (10.0, 11.0):
        cache.age(now)
    store(cache, prose(500), b"compressed")
    assert lookup(cache, prose(500)) is not None
    cache.age(12.0)
    assert lookup(cache, prose(500)) is not None
    cache.age(13.0)
    assert lookup(cache, prose(500)) is None
    assert cache.held == 0


def test_it_never_holds_more_than_it_may() -> None:
    cache = Cache(200_000)
    for number in range(200):
        store(cache, noise(9000, number), b"c" * 3000)
        assert cache.held <= 200_000
        assert lookup(cache, noise(9000, number)) is not None
    store(cache, noise(60_000), b"large")
    assert lookup(cache, noise(60_000)) is None


def test_where_it_finds_nothing_it_rests_and_tries_again() -> None:
    cache = Cache(1 << 20)
    cache.age(100.0)
    for number in range(512):
        assert not cache.resting
        text = b"%d" % number * 300
        assert lookup(cache, text) is None
        store(cache, text, b"c")
    assert cache.resting
    assert cache.held == 0
    store(cache, prose(500), b"compressed")
    assert cache.held == 0
    cache.age(107.9)
    assert cache.resting
    cache.age(108.0)
    assert not cache.resting


def test_messages_in_turn_are_found(engine: Engine) -> None:
    """Two broadcasts that mingle: neither is always the last one."""
    cache = Cache(1 << 20)
    encoder = Encoder(engine, FORGETFUL, DeflateOptions(), cache)
    texts = [prose(3000), prose(3000)[::-1]]
    for number in range(20):
        wire = encoder.encode(bytes(bytearray(texts[number % 2])))
        assert oracle_inflate([wire], 12, False) == [texts[number % 2]]
        if number == 9:
            cache.age(1.0)
    assert encoder.hits == 18


def test_where_it_finds_enough_it_goes_on() -> None:
    cache = Cache(1 << 20)
    found = 0
    for number in range(4000):
        text = b"%d" % (number // 4) * 300
        if lookup(cache, text) is None:
            store(cache, text, b"c")
        else:
            found += 1
    assert not cache.resting
    assert found == 3000


def test_encoders_of_one_route_compress_once(engine: Engine) -> None:
    cache = Cache(1 << 20)
    encoders = [Encoder(engine, FORGETFUL, DeflateOptions(), cache) for _ in range(20)]
    text = prose(3000)
    wires = [encoder.encode(bytes(bytearray(text))) for encoder in encoders]
    assert [oracle_inflate([wire], 12, False) for wire in wires] == [[text]] * 20
    assert [encoder.hits for encoder in encoders] == [0] + [1] * 19
    assert [encoder.hit_bytes for encoder in encoders] == [0] + [3000] * 19


def test_a_kept_window_is_never_shared(engine: Engine) -> None:
    cache = Cache(1 << 20)
    encoders = [Encoder(engine, Window(12, True), DeflateOptions(), cache) for _ in range(2)]
    for encoder in encoders:
        encoder.encode(prose(3000))
        assert encoder.hits == 0
    assert cache.held == 0


def test_a_message_in_pieces_is_not_looked_up(engine: Engine) -> None:
    cache = Cache(1 << 20)
    encoder = Encoder(engine, FORGETFUL, DeflateOptions(), cache)
    whole = encoder.piece(prose(3000), True, True)
    pieces = encoder.piece(prose(3000)[:1000], False, False) + encoder.piece(prose(3000)[1000:], True, True)
    assert oracle_inflate([whole, pieces], 12, False) == [prose(3000)] * 2
    assert encoder.hits == 0
    assert cache.held > 3000
