"""The implementations of DEFLATE: which are installed, what each can do, which to use.

Owns: every import of zlib, zlib-ng and isal. Must never import anything above ``errors``; knows no messages.
Invariants: only zlib is ever needed; an engine is offered only for windows that it was seen to honour when the process
started; no engine is asked for a level or a strategy that it would refuse or warn about.
"""

import importlib
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Protocol

from wsproxy.errors import CannotStart, ExtensionFault, WsproxyError

AUTO = "auto"
# The four bytes that end a sync flush: an empty stored block without its header bits (RFC 7692 §7.2.1).
TAIL = b"\x00\x00\xff\xff"
WINDOWS = range(9, 16)
STRATEGIES: Mapping[str, int] = MappingProxyType(
    {
        "default": zlib.Z_DEFAULT_STRATEGY,
        "filtered": zlib.Z_FILTERED,
        "huffman_only": zlib.Z_HUFFMAN_ONLY,
        "rle": zlib.Z_RLE,
        "fixed": zlib.Z_FIXED,
    }
)


class EngineUnavailable(WsproxyError):
    """The engine that was asked for is unknown, not installed, or does not honour the window."""


class EngineFault(ExtensionFault):
    """An engine failed at compressing, or broke its own contract: what it gave cannot be sent."""

    def __init__(self, detail: str) -> None:
        super().__init__("permessage-deflate", "encode", detail)


class Compressor(Protocol):
    """A raw DEFLATE stream being written, as in ``zlib.compressobj``."""

    def compress(self, data: bytes | memoryview, /) -> bytes: ...
    def flush(self, mode: int, /) -> bytes: ...


class Decompressor(Protocol):
    """A raw DEFLATE stream being read, as in ``zlib.decompressobj``.

    Fewer bytes than ``max_length`` mean that all input was taken and nothing is pending. Exactly ``max_length`` bytes
    mean nothing: more may be pending though ``unconsumed_tail`` is empty. At ``eof`` only ``unused_data`` counts.
    """

    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes | memoryview, max_length: int = 0, /) -> bytes: ...


class _OpenDecompressor(Protocol):
    def __call__(self, wbits: int, zdict: bytes = ..., /) -> Decompressor: ...


@dataclass(frozen=True, slots=True)
class _Make:
    """What is known of an engine without importing it."""

    module: str
    levels: range
    default_level: int
    strategies: frozenset[str]
    compressor_bytes: Callable[[int, int, int, "Used"], int]
    """Resident for a compressor, by window bits, mem_level, level and what went through it."""
    decompressor_bytes: Callable[[int, "Used"], int]
    """Resident for a decompressor, by window bits and what came out of it."""


@dataclass(frozen=True, slots=True)
class Used:
    """What went through a codec, uncompressed: all bytes, and those of the largest message."""

    total: int
    largest: int


FULLY = Used(1 << 20, 8 * 1024)
"""A codec that has seen enough traffic of ordinary messages to have touched all that it will."""


# What an engine allocates is not what it costs: pages that it never touches are not there. These are growths of
# resident memory; `tests/extensions/test_memory.py` measures them again.


def _zlib_bytes(bits: int, mem_level: int, _level: int, fed: Used) -> int:
    # The window and its links are touched as they fill, the table of heads at once, the symbols as far as messages go.
    filled = min(1 << bits, fed.total)
    pending = min(1 << (mem_level + 8), 3 * fed.largest)
    return 4 * filled + (1 << (mem_level + 8)) + pending + 5 * 1024


def _zlib_ng_bytes(bits: int, mem_level: int, _level: int, fed: Used) -> int:
    # Its hash table has 65,536 entries of two bytes whatever mem_level says.
    filled = min(1 << bits, fed.total)
    pending = min(5 << (mem_level + 6), 3 * fed.largest)
    return 4 * filled + (1 << 17) + pending + 8 * 1024


def _isal_bytes(_bits: int, _mem_level: int, level: int, fed: Used) -> int:
    # Hash tables first, then a buffer that fills with the first 32 KiB, and one that a message's symbols go to.
    # mem_level only changes how much of the latter is allocated.
    base = {0: 20, 1: 29, 2: 77, 3: 79}[level] * 1024
    return base + min(fed.total, 32 * 1024) + min(2 * fed.largest, 64 * 1024)


def _zlib_inflate_bytes(bits: int, given: Used) -> int:
    return (6 << 10) + min(1 << bits, given.total)


def _zlib_ng_inflate_bytes(bits: int, given: Used) -> int:
    # It allocates one piece for every window, and that lies where the first output lay.
    return (11 << 10) + min(1 << bits, given.total) + min(given.largest, 24 * 1024)


def _isal_inflate_bytes(_bits: int, given: Used) -> int:
    return (25 << 10) + min(given.total, 33 * 1024) + min(given.largest, 28 * 1024)


_MAKES: Mapping[str, _Make] = MappingProxyType(
    {
        "zlib": _Make("zlib", range(10), 6, frozenset(STRATEGIES), _zlib_bytes, _zlib_inflate_bytes),
        "zlib-ng": _Make(
            "zlib_ng.zlib_ng", range(10), 4, frozenset(STRATEGIES), _zlib_ng_bytes, _zlib_ng_inflate_bytes
        ),
        # isal warns about a strategy and then uses its own.
        "isal": _Make("isal.isal_zlib", range(4), 1, frozenset({"default"}), _isal_bytes, _isal_inflate_bytes),
    }
)
# What "auto" prefers, best first, and the default levels above, by the tables in docs/performance.md. Compressing JSON,
# isal takes a quarter to a half of the others' time hot, a third or less with many streams in turn, for a ratio that is
# a little smaller. A level more doubles its memory for next to nothing, a level less costs a fifth to two fifths of the
# ratio.
_TO_COMPRESS = ("isal", "zlib-ng", "zlib")
# Inflating up to 1 KiB zlib-ng is the fastest; isal wins from 8 KiB on, at five times the memory.
_TO_DECOMPRESS = ("zlib-ng", "zlib", "isal")


@dataclass(frozen=True, slots=True)
class Engine:
    """One installed implementation of DEFLATE.

    :ivar levels: its own scale; levels of two engines do not compare.
    :ivar windows: the window bits that it truly honours when it compresses.
    :ivar errors: what its objects raise on undecodable data.
    """

    name: str
    levels: range
    default_level: int
    windows: frozenset[int]
    errors: tuple[type[Exception], ...]
    _compressobj: Callable[[int, int, int, int, int], Compressor] = field(repr=False)
    _decompressobj: _OpenDecompressor = field(repr=False)

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What its objects raise where nobody is to blame for the data."""
        return (*self.errors, MemoryError)

    def compressor(self, level: int, bits: int, mem_level: int, strategy: int) -> Compressor:
        """A new raw stream to write: ``bits`` is one of ``windows``, ``mem_level`` 1 to 9."""
        return self._compressobj(level, zlib.DEFLATED, -bits, mem_level, strategy)

    def decompressor(self, bits: int, history: bytes = b"") -> Decompressor:
        """A new raw stream to read, with a window of 8 to 15 bits that already holds ``history``."""
        return self._decompressobj(-bits, history) if history else self._decompressobj(-bits)

    def compressor_bytes(self, level: int, bits: int, mem_level: int, used: Used = FULLY) -> int:
        """Bytes by which a compressor makes the process grow, an estimate."""
        return _MAKES[self.name].compressor_bytes(bits, mem_level, level, used)

    def decompressor_bytes(self, bits: int, used: Used = FULLY) -> int:
        """Bytes by which a decompressor makes the process grow, an estimate."""
        return _MAKES[self.name].decompressor_bytes(bits, used)


@cache
def available() -> Mapping[str, Engine]:
    """The installed engines by name, each tried once in the life of the process.

    :raises CannotStart: zlib does not work as it must.
    """
    engines: dict[str, Engine] = {}
    for name, make in _MAKES.items():
        try:
            module = importlib.import_module(make.module)
        except ImportError:
            continue
        engine = Engine(
            name,
            make.levels,
            make.default_level,
            frozenset(WINDOWS),
            (module.error,),
            module.compressobj,
            module.decompressobj,
        )
        if windows := frozenset(bits for bits in WINDOWS if honours(engine, bits)):
            engines[name] = replace(engine, windows=windows)
    if "zlib" not in engines or engines["zlib"].windows != frozenset(WINDOWS):
        raise CannotStart(
            "this Python's zlib does not compress and decompress raw DEFLATE with windows of 9 to 15 bits"
        )
    return MappingProxyType(engines)


def honours(engine: Engine, bits: int) -> bool:
    """Whether what the engine compresses with ``bits`` can be read with no more, and whether it can read itself.

    Bytes that cannot be compressed come twice, farther apart than the window reaches: a compressor that looks back
    too far refers to them, and zlib, with exactly this window, finds nothing there.
    """
    failures: tuple[type[Exception], ...] = (zlib.error, ValueError, *engine.errors)
    source = random.Random(bits)
    try:
        compressor = engine.compressor(engine.default_level, bits, 5, zlib.Z_DEFAULT_STRATEGY)
        readers = (zlib.decompressobj(-bits), engine.decompressor(bits))
        for excess in (4, 200):
            text = source.randbytes((1 << bits) + excess)
            # In two calls: within one call zlib would also look into the output that is not in its window any more.
            for _ in range(2):
                compressed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
                if not compressed.endswith(TAIL) or any(each.decompress(compressed) != text for each in readers):
                    return False
        # A stream that starts with a history finds in it what zlib, given the same one, refers to.
        history, near = text[-(1 << bits) :], text[-64:]
        reference = zlib.compressobj(9, zlib.DEFLATED, -bits, 9, zlib.Z_DEFAULT_STRATEGY, history)
        compressed = reference.compress(near) + reference.flush(zlib.Z_SYNC_FLUSH)
        return engine.decompressor(bits, history).decompress(compressed) == near
    except failures:
        return False


def choose(name: str, bits: int) -> Engine:
    """The engine for a name of the configuration, fit to compress with this window.

    :param name: an engine's name, or "auto" for the best one installed.
    :raises EngineUnavailable: with a text for whoever wrote the name.
    """
    for candidate in _TO_COMPRESS if name == AUTO else (_named(name).name,):
        engine = available().get(candidate)
        if engine is not None and bits in engine.windows:
            return engine
    raise EngineUnavailable(f"engine {name!r} cannot compress with a window of {bits} bits")


def choose_to_decompress(name: str) -> Engine:
    """The engine for a name of the configuration to decompress with, which every engine can with every window.

    :raises EngineUnavailable: as `choose`.
    """
    if name != AUTO:
        return _named(name)
    return next(available()[preferred] for preferred in _TO_DECOMPRESS if preferred in available())


def _named(name: str) -> Engine:
    if name not in _MAKES:
        raise EngineUnavailable(f"there is no engine {name!r}: it is auto, {', '.join(_MAKES)}")
    if name not in available():
        raise EngineUnavailable(f"engine {name!r} is not installed, or does not work here: use auto or zlib")
    return available()[name]


def resolve_level(engine: Engine, level: int | None) -> int:
    """The level to compress with; None is the engine's default.

    :raises EngineUnavailable: the level is not on the engine's scale.
    """
    if level is None:
        return engine.default_level
    if problem := level_problem(engine.name, level):
        raise EngineUnavailable(problem)
    return level


def level_problem(engine_name: str, level: int) -> str | None:
    """What is wrong with a level for an engine, installed or not; None if nothing is.

    "auto" takes only levels that are on every engine's scale, so that a configuration does not depend on what is
    installed.
    """
    if engine_name == AUTO:
        shared = min((make.levels for make in _MAKES.values()), key=len)
        if level in shared:
            return None
        return f"level {level} is not 0 to {shared[-1]}, which every engine has: name an engine to use its own scale"
    make = _MAKES.get(engine_name)
    if make is None or level in make.levels:
        return None
    return f"level {level} is not on the scale of {engine_name}, 0 to {make.levels[-1]}"


def strategy_problem(engine_name: str, strategy: str) -> str | None:
    """What is wrong with a strategy for an engine, installed or not; None if nothing is."""
    if strategy not in STRATEGIES:
        return f"there is no strategy {strategy!r}: it is {', '.join(STRATEGIES)}"
    makes = _MAKES if engine_name == AUTO else {engine_name: _MAKES[engine_name]} if engine_name in _MAKES else {}
    for name, make in makes.items():
        if strategy not in make.strategies:
            return f"{name} has no strategy {strategy!r}: name zlib or zlib-ng as the engine to use it"
    return None
