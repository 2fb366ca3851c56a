"""What is not worth compressing: what looks like noise, and what the messages before say."""

import json
import random
import struct
import zlib

import pytest

from tests.extensions.streams import noise, prose, whole_message
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import Engine
from wsproxy.extensions.incompressible import SMALLEST, Verdicts, looks_random
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Window

SOURCE = random.Random(7)
ZIPPED = zlib.compress(prose(200_000))


@pytest.mark.parametrize(
    ("kind", "payloads"),
    [
        ("noise", [noise(size, seed) for seed in range(100) for size in (512, 1000, 70_000)]),
        ("deflated", [ZIPPED[at : at + 1000] for at in range(100, len(ZIPPED) - 1000, 1000)]),
    ],
)
def test_looks_random(kind: str, payloads: list[bytes]) -> None:
    assert sum(map(looks_random, payloads)) > 0.95 * len(payloads)


def words(alphabet: str) -> list[bytes]:
    return ["".join(SOURCE.choices(alphabet, k=1000)).encode() for _ in range(50)]


@pytest.mark.parametrize(
    ("kind", "payloads"),
    [
        ("json", [json.dumps({str(n): SOURCE.random() for n in range(90)}).encode() for _ in range(50)]),
        ("base64", words("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")),
        ("cyrillic", words("абвгдежзийклмнопрстуфхцчшщъыьэюя ")),
        ("chinese", words("".join(map(chr, range(0x4E00, 0x9FA5))))),
        ("doubles", [struct.pack("<128d", *(SOURCE.uniform(90, 110) for _ in range(128))) for _ in range(50)]),
        ("counters", [struct.pack("<256I", *(SOURCE.randrange(10**6) for _ in range(256))) for _ in range(50)]),
        ("short", [noise(255, seed) for seed in range(50)]),
    ],
)
def test_does_not_look_random(kind: str, payloads: list[bytes]) -> None:
    assert sum(map(looks_random, payloads)) <= 0.04 * len(payloads)


def test_suspects_are_tried_ever_more_rarely_while_they_do_not_shrink() -> None:
    verdicts = Verdicts()
    tried = []
    for number in range(2000):
        if verdicts.worth(noise(600, number % 50), True):
            tried.append(number)
            verdicts.compressed(600, 605)
    gaps = [b - a - 1 for a, b in zip([-1, *tried], tried, strict=False)]
    assert gaps[:7] == [8, 16, 32, 64, 128, 256, 256]


def test_suspects_that_shrink_are_compressed(engine: Engine) -> None:
    """The same picture again and again looks like noise, and yet a kept window makes nothing of it."""
    encoder = Encoder(engine, Window(12, True), DeflateOptions())
    picture = noise(800)
    sizes = [len(encoder.encode(picture)) for _ in range(50)]
    # Eight are skipped; the trial finds an empty window and fails; 16 are skipped; the next trial finds the picture.
    assert sizes[:8] + sizes[9:25] == [800] * 24
    assert sizes[8] > 800
    assert max(sizes[25:]) < 100


def test_small_messages_are_not_looked_at() -> None:
    verdicts = Verdicts()
    assert all(verdicts.worth(noise(SMALLEST - 1, seed), True) for seed in range(20))


def test_a_beginning_that_says_nothing_is_taken_for_what_came_before() -> None:
    verdicts = Verdicts()
    assert verdicts.worth(b"x", False)
    assert not verdicts.worth(noise(600), False)
    assert not verdicts.worth(b"x", False)
    assert verdicts.worth(b"x", True)
    assert verdicts.worth(prose(600), False)
    assert verdicts.worth(b"x", False)


def test_what_its_sender_could_not_compress_is_not_tried_again() -> None:
    verdicts = Verdicts()
    for number in range(4):
        assert verdicts.worth_again()
        verdicts.inflated(noise(600, number), 605, 600)
    assert not verdicts.worth_again()
    verdicts.inflated(b"tiny", 6, 4)
    assert not verdicts.worth_again()
    verdicts.inflated(prose(600), 300, 600)
    assert verdicts.worth_again()


def test_what_its_sender_did_not_try_to_compress_is() -> None:
    verdicts = Verdicts()
    for _ in range(9):
        verdicts.inflated(prose(600), 605, 600)
    assert verdicts.worth_again()


def test_skipping_leaves_the_window_whole(engine: Engine, takeover: bool) -> None:
    window = Window(12, takeover)
    encoder, decoder = Encoder(engine, window, DeflateOptions()), Decoder(engine, window)
    skipped = 0
    for number in range(200):
        message = noise(700, number) if number % 3 else prose(700)
        out = encoder.encode(message)
        if out is message:
            skipped += 1
        else:
            assert whole_message(decoder, out, 1 << 20) == message
    assert 100 < skipped < 134
