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

from wsproxy.errors import CannotStart, WsproxyError

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


class EngineFault(WsproxyError):
    """An engine broke its own contract: what it gave cannot be sent."""


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
    compressor_bytes: Callable[[int, int, int], int]
    """Allocated by a compressor, by window bits, mem_level and level."""
    decompressor_bytes: Callable[[int], int]
    """Allocated by a decompressor, by window bits."""


def _zlib_bytes(bits: int, mem_level: int, _level: int) -> int:
    return (1 << (bits + 2)) + (1 << (mem_level + 9)) + 6 * 1024


def _zlib_ng_bytes(bits: int, mem_level: int, _level: int) -> int:
    # Its hash table has 65,536 entries of two bytes whatever mem_level says.
    return (1 << (bits + 2)) + (1 << 17) + 5 * (1 << (mem_level + 6)) + 6 * 1024


def _isal_bytes(_bits: int, mem_level: int, level: int) -> int:
    # As traced in isal 1.9: one struct, plus a buffer that grows with both scales but not with the window.
    if level == 0:
        return 82_448
    kibibytes = next(size for most, size in ((1, 24), (3, 84), (6, 148), (8, 276), (9, 532)) if mem_level <= most)
    return 82_448 + 1024 * (kibibytes + {1: 0, 2: 48, 3: 64}[level])


# Default levels: the knee of cost against size for 1 KiB of JSON at 12 bits and mem_level 5. In microseconds and ratio:
# isal 1 5.1, 4.2 (3: 6.4, 4.3) · zlib-ng 4 9.5, 4.8 (2: 8.1, 4.2; 6: 11.0, 4.9) · zlib 6 14.1, 5.0 (1: 9.9, 4.0).
_MAKES: Mapping[str, _Make] = MappingProxyType(
    {
        "zlib": _Make("zlib", range(10), 6, frozenset(STRATEGIES), _zlib_bytes, lambda bits: (7 << 10) + (1 << bits)),
        "zlib-ng": _Make(
            "zlib_ng.zlib_ng", range(10), 4, frozenset(STRATEGIES), _zlib_ng_bytes, lambda _bits: 42 << 10
        ),
        # isal warns about a strategy and then uses its own.
        "isal": _Make("isal.isal_zlib", range(4), 1, frozenset({"default"}), _isal_bytes, lambda _bits: 87_448),
    }
)
# What "auto" prefers, best first: as a feed at 12 bits the proxy spent 12 us a message with isal 1 (ratio 3.5),
# 24 with zlib-ng 2 (3.5) and 35 with zlib 6 (3.7). To be settled by the project's own benchmark.
_PREFERRED = ("isal", "zlib-ng", "zlib")


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

    def compressor(self, level: int, bits: int, mem_level: int, strategy: int) -> Compressor:
        """A new raw stream to write: ``bits`` is one of ``windows``, ``mem_level`` 1 to 9."""
        return self._compressobj(level, zlib.DEFLATED, -bits, mem_level, strategy)

    def decompressor(self, bits: int, history: bytes = b"") -> Decompressor:
        """A new raw stream to read, with a window of 8 to 15 bits that already holds ``history``."""
        return self._decompressobj(-bits, history) if history else self._decompressobj(-bits)

    def compressor_bytes(self, level: int, bits: int, mem_level: int) -> int:
        """Bytes that a compressor allocates: an estimate, of which less may become resident."""
        return _MAKES[self.name].compressor_bytes(bits, mem_level, level)

    def decompressor_bytes(self, bits: int) -> int:
        """Bytes that a decompressor allocates: an estimate."""
        return _MAKES[self.name].decompressor_bytes(bits)


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
    engines = available()
    if name == AUTO:
        for preferred in _PREFERRED:
            if preferred in engines and bits in engines[preferred].windows:
                return engines[preferred]
    elif name not in _MAKES:
        raise EngineUnavailable(f"there is no engine {name!r}: it is auto, {', '.join(_MAKES)}")
    elif name not in engines:
        raise EngineUnavailable(f"engine {name!r} is not installed, or does not work here: use auto or zlib")
    elif bits in engines[name].windows:
        return engines[name]
    raise EngineUnavailable(f"engine {name!r} cannot compress with a window of {bits} bits")


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
