"""The plans, against the matrix and against what a receiver can really inflate."""

import itertools
import zlib

import pytest

from wsproxy.extensions.permessage_deflate import Window, may_pass
from wsproxy.protocol.plan import Mode, Plan, choose_plan

W = Window


@pytest.mark.parametrize(
    "incoming, outgoing, mode, plan",
    [
        (None, None, "auto", Plan.PLAIN),
        (None, W(12, True), "auto", Plan.DEFLATE),
        (W(12, True), None, "auto", Plan.INFLATE),
        (W(12, True), W(12, True), "auto", Plan.PASS),
        (W(12, True), W(12, True), "passthrough", Plan.PASS),
        (W(12, True), W(12, True), "recompress", Plan.RECODE),
        (W(12, True), W(11, True), "auto", Plan.RECODE),
        (W(12, False), W(11, False), "passthrough", Plan.RECODE),
        (W(12, True), W(15, False), "auto", Plan.RECODE),
        (W(12, False), W(15, True), "auto", Plan.PASS),
        (W(12, False), W(12, False), "auto", Plan.PASS),
    ],
)
def test_plan(incoming: Window | None, outgoing: Window | None, mode: Mode, plan: Plan) -> None:
    assert choose_plan(incoming, outgoing, mode) is plan


@pytest.mark.parametrize("bits_in, bits_out", list(itertools.product(range(9, 16), repeat=2)))
@pytest.mark.parametrize("kept_in, kept_out", list(itertools.product([True, False], repeat=2)))
def test_what_may_pass_inflates_at_the_receiver(bits_in: int, bits_out: int, kept_in: bool, kept_out: bool) -> None:
    """A receiver with exactly the agreed window and memory reads every message that the matrix lets through."""
    if not may_pass(Window(bits_in, kept_in), Window(bits_out, kept_out)):
        return
    compressor = zlib.compressobj(9, zlib.DEFLATED, -bits_in)
    decompressor = zlib.decompressobj(-bits_out)
    text = bytes(i * i % 251 for i in range((1 << bits_in) - 300))
    for _ in range(3):
        if not kept_in:
            compressor = zlib.compressobj(9, zlib.DEFLATED, -bits_in)
        if not kept_out:
            decompressor = zlib.decompressobj(-bits_out)
        sent = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert decompressor.decompress(sent) == text


def test_a_shorter_window_or_a_forgetful_receiver_would_fail() -> None:
    """The matrix's noes are not caution: this is what would happen."""
    text = zlib.compress(bytes(range(256)) * 40, 0)[:3000]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    second = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(zlib.error):
        zlib.decompressobj(-15).decompress(second)
    small = zlib.decompressobj(-9)
    with pytest.raises(zlib.error):
        small.decompress(first)
        small.decompress(second)
