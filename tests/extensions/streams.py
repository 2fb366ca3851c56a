"""Ways to make and read DEFLATE that share nothing with the codec under test."""

import random
import zlib
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st

from wsproxy.extensions.inflate import Decoder

TAIL = b"\x00\x00\xff\xff"


def oracle_inflate(messages: Iterable[bytes], bits: int, takeover: bool) -> list[bytes]:
    """Inflate messages with zlib, in steps too small for it to look farther back than the window."""
    inflated = []
    stream = zlib.decompressobj(-bits)
    for message in messages:
        if not takeover:
            stream = zlib.decompressobj(-bits)
        parts, rest = [], message + TAIL
        while True:
            parts.append(stream.decompress(rest, 64))
            rest = stream.unconsumed_tail
            if len(parts[-1]) < 64 and not rest:
                break
        assert not stream.eof
        inflated.append(b"".join(parts))
    return inflated


def compressed(text: bytes, *, final: bool = False, history: bytes = b"", level: int = 9, bits: int = 15) -> bytes:
    """One message, or one member of a message that ends with BFINAL; it may refer to ``history``."""
    settings = (level, zlib.DEFLATED, -bits, 9, zlib.Z_DEFAULT_STRATEGY)
    stream = zlib.compressobj(*settings, history) if history else zlib.compressobj(*settings)
    out = stream.compress(text) + stream.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
    return out if final else out.removesuffix(TAIL)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int = 1) -> bytes:
    """Text that compresses about as JSON does."""
    source = random.Random(seed)
    words = []
    length = 0
    while length < size:
        words.append(b'{"symbol": "%b", "price": %d}' % (source.choice([b"BTC", b"ETH"]), source.randrange(10**6)))
        length += len(words[-1])
    return b"".join(words)[:size]


texts = (
    st.binary(max_size=64)
    | st.builds(prose, st.integers(0, 3000), st.integers(0, 3))
    | st.builds(noise, st.integers(0, 1500), st.integers(0, 3))
    | st.builds(bytes, st.integers(0, 20_000))
)
"""Payloads of several kinds; few seeds, so that they come again and windows are of use."""


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The pieces of ``data`` between cuts, which may repeat or lie beyond its end: pieces may be empty."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def whole_message(decoder: Decoder, wire: bytes, limit: int) -> bytes | None:
    """Inflate a whole message; None once it is over ``limit``, of which no more than one byte is asked for."""
    parts = [decoder.start(wire, limit + 1)]
    room = limit + 1 - len(parts[0])
    while decoder.pending and room > 0:
        parts.append(decoder.read(room))
        room -= len(parts[-1])
    return b"".join(parts) if room > 0 else None
