"""A script finds what it is there to find: windows that are too small, or that were not kept."""

import zlib
from pathlib import Path

import pytest

from tests.world.matrix import MESSAGES
from tests.world.scripts import encoded, write


def _payloads(path: Path) -> list[bytes]:
    return [encoded(message)[5:] for message in write(path, MESSAGES, seed=7692).messages]


def _through(payloads: list[bytes], *, deflate_bits: int, inflate_bits: int, kept: bool) -> list[bytes]:
    """What an inflater with its own idea of the window makes of compressed messages."""
    packer, unpacker = zlib.compressobj(wbits=-deflate_bits), zlib.decompressobj(wbits=-inflate_bits)
    found = []
    for payload in payloads:
        if not kept:
            unpacker = zlib.decompressobj(wbits=-inflate_bits)
        found.append(unpacker.decompress(packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)))
    return found


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_a_window_of_the_agreed_size_does(tmp_path: Path, bits: int) -> None:
    payloads = _payloads(tmp_path / "script")
    assert _through(payloads, deflate_bits=bits, inflate_bits=bits, kept=True) == payloads


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_a_smaller_window_does_not(tmp_path: Path, bits: int) -> None:
    with pytest.raises(zlib.error, match="distance too far back"):
        _through(_payloads(tmp_path / "script"), deflate_bits=bits + 1, inflate_bits=bits, kept=True)


def test_a_window_that_is_not_kept_does_not(tmp_path: Path) -> None:
    with pytest.raises(zlib.error, match="distance too far back"):
        _through(_payloads(tmp_path / "script"), deflate_bits=15, inflate_bits=15, kept=False)


def test_the_same_seed_makes_the_same_script(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, 50, seed=3) for name in ("first", "second"))
    assert (first.digest, first.messages) == (second.digest, second.messages)
    assert write(tmp_path / "third", 50, seed=4).digest != first.digest
