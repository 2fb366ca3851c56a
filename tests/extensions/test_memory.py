"""Estimated codec memory against what a process really grows by, each engine in a process of its own."""

import json
import subprocess
import sys

import pytest

from wsproxy.extensions.engines import Engine

ROUNDS = {1024: 100, 16384: 12}
GROWTH = """
import json, os, random, sys
from pathlib import Path
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import available
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Window

name, bits, mem_level, size, rounds, what = *sys.argv[1:2], *map(int, sys.argv[2:6]), sys.argv[6]
COUNT = 300
engine, window = available()[name], Window(bits, True)
source = random.Random(1)
texts = [" ".join("%d" % source.randrange(99999) for _ in range(size // 5)).encode()[:size] for _ in range(7)]
options = DeflateOptions(mem_level=mem_level)
writer = Encoder(available()["zlib"], window, DeflateOptions())
wires = [writer.message(texts[turn % 7]) for turn in range(rounds)]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def make():
    return Encoder(engine, window, options) if what == "compress" else Decoder(engine, window)

def use(codec, turn):
    codec.message(texts[turn % 7]) if what == "compress" else codec.start(wires[turn], 1 << 20)

# One codec first, so that what any use costs once is not counted; its memory is kept, so that no other is put there.
first = make()
for turn in range(rounds):
    use(first, turn)
# So many objects that the first pages of the interpreter's own pools do not count either.
codecs = [make() for _ in range(COUNT)]
before = resident()
for turn in range(rounds):
    for codec in codecs:
        use(codec, turn)
print(json.dumps((sum(codec.memory for codec in codecs), resident() - before)))
"""


def growth(*arguments: object) -> tuple[int, int]:
    """Estimate and truth."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", GROWTH, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    estimate, truth = json.loads(ran.stdout)
    return estimate, truth


@pytest.mark.parametrize("what", ["compress", "decompress"])
@pytest.mark.parametrize(("bits", "mem_level"), [(12, 5), (15, 8)])
@pytest.mark.parametrize("size", ROUNDS)
def test_the_estimate_is_true(engine: Engine, what: str, bits: int, mem_level: int, size: int) -> None:
    estimate, truth = growth(engine.name, bits, mem_level, size, ROUNDS[size], what)
    assert estimate == pytest.approx(truth, rel=0.25)
