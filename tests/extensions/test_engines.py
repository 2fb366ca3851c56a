"""Engines: what is installed, what is claimed, and what is asked of them."""

import dataclasses
import subprocess
import sys
import zlib

import pytest

from wsproxy.extensions.engines import (
    STRATEGIES,
    TAIL,
    WINDOWS,
    Compressor,
    Engine,
    EngineUnavailable,
    available,
    choose,
    choose_to_decompress,
    honours,
    level_problem,
    resolve_level,
    strategy_problem,
)

NAMES = ("zlib", "zlib-ng", "isal")


def test_zlib_honours_every_window() -> None:
    assert available()["zlib"].windows == frozenset(WINDOWS)


def test_an_engine_honours_what_it_claims(engine: Engine) -> None:
    assert engine.windows
    assert all(honours(engine, bits) for bits in engine.windows)
    assert engine.default_level in engine.levels


def test_a_window_that_is_too_large_is_found_out(engine: Engine) -> None:
    """The self-test sees a compressor whose window is twice as large as asked."""

    def open_compressor(level: int, method: int, wbits: int, mem_level: int, strategy: int) -> Compressor:
        return engine.compressor(level, -wbits + 1, mem_level, strategy)

    liar = dataclasses.replace(engine, _compressobj=open_compressor)
    assert not any(honours(liar, bits) for bits in range(9, 15))


def test_an_engine_that_only_fails_honours_nothing(engine: Engine) -> None:
    def open_compressor(level: int, method: int, wbits: int, mem_level: int, strategy: int) -> Compressor:
        raise ValueError("Invalid initialization option")

    assert not honours(dataclasses.replace(engine, _compressobj=open_compressor), 12)


@pytest.mark.parametrize("bits", WINDOWS)
def test_every_level_stays_in_its_window(engine: Engine, bits: int) -> None:
    assert all(honours(dataclasses.replace(engine, default_level=level), bits) for level in engine.levels if level)


@pytest.mark.parametrize("mem_level", range(1, 10))
def test_every_mem_level_and_strategy_works(engine: Engine, mem_level: int) -> None:
    text = b'{"price": 101, "size": 7}' * 9
    for strategy, number in STRATEGIES.items():
        if strategy_problem(engine.name, strategy) is None:
            compressor = engine.compressor(engine.default_level, 12, mem_level, number)
            compressed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
            assert compressed.endswith(TAIL)
            assert zlib.decompressobj(-12).decompress(compressed) == text


def test_auto_takes_the_best_that_is_installed() -> None:
    best = next(name for name in ("isal", "zlib-ng", "zlib") if name in available())
    assert choose("auto", 12).name == best
    assert choose("auto", 12) is available()[best]


def test_auto_decompresses_with_the_best_that_is_installed() -> None:
    best = next(name for name in ("zlib-ng", "zlib", "isal") if name in available())
    assert choose_to_decompress("auto") is available()[best]
    assert choose_to_decompress("zlib") is available()["zlib"]
    with pytest.raises(EngineUnavailable, match="there is no engine 'brotli'"):
        choose_to_decompress("brotli")


def test_auto_passes_over_an_engine_without_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: dataclasses.replace(each, windows=frozenset({12})) for name, each in available().items()}
    few["zlib"] = available()["zlib"]
    monkeypatch.setattr("wsproxy.extensions.engines.available", lambda: few)
    assert choose("auto", 15).name == "zlib"


@pytest.mark.parametrize(
    ("name", "bits", "text"),
    [
        ("brotli", 12, "there is no engine 'brotli': it is auto, zlib, zlib-ng, isal"),
        ("zlib", 8, "engine 'zlib' cannot compress with a window of 8 bits"),
        ("auto", 16, "engine 'auto' cannot compress with a window of 16 bits"),
    ],
)
def test_what_cannot_be_chosen(name: str, bits: int, text: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"^{text}$"):
        choose(name, bits)


WITHOUT_THE_FAST_ONES = """
import sys
sys.modules["isal"] = sys.modules["isal.isal_zlib"] = sys.modules["zlib_ng"] = sys.modules["zlib_ng.zlib_ng"] = None
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.engines import EngineUnavailable, available, choose, choose_to_decompress, level_problem
from wsproxy.extensions.permessage_deflate import Window
engine = choose("auto", 12)
window = Window(12, True)
wire = Encoder(engine, window, DeflateOptions()).message(b"plain" * 9)
text = Decoder(choose_to_decompress("auto"), window).start(wire, 99)
print(*available(), engine.name, text.decode(), level_problem("isal", 4))
try:
    choose("isal", 12)
except EngineUnavailable as problem:
    print(problem)
"""


def test_everything_works_with_zlib_alone() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_THE_FAST_ONES], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [
        f"zlib zlib {'plain' * 9} level 4 is not on the scale of isal, 0 to 3",
        "engine 'isal' is not installed, or does not work here: use auto or zlib",
    ]
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("zlib", (0, 1, 9), (-1, 10)),
        ("zlib-ng", (0, 1, 9), (-1, 10)),
        ("isal", (0, 1, 3), (-1, 4)),
        ("auto", (0, 1, 3), (-1, 4, 9)),
    ],
)
def test_levels(name: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    assert [level_problem(name, level) for level in good] == [None] * len(good)
    for level in bad:
        problem = level_problem(name, level)
        assert problem is not None
        assert str(level) in problem


def test_a_level_for_an_engine_nobody_knows_is_not_this_problem() -> None:
    assert level_problem("brotli", 11) is None
    assert strategy_problem("brotli", "rle") is None


def test_resolves_levels(engine: Engine) -> None:
    assert resolve_level(engine, None) == engine.default_level
    assert resolve_level(engine, 0) == 0
    with pytest.raises(EngineUnavailable, match="scale of"):
        resolve_level(engine, engine.levels[-1] + 1)


@pytest.mark.parametrize("name", ["auto", *NAMES])
def test_strategies(name: str) -> None:
    assert strategy_problem(name, "default") is None
    for strategy in STRATEGIES.keys() - {"default"}:
        assert (strategy_problem(name, strategy) is None) == (name in ("zlib", "zlib-ng"))
    assert strategy_problem(name, "fastest") is not None
