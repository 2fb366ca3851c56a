"""The permessage-deflate codec, sending: payload in, compressed payload out (RFC 7692 §7.2.1).

Owns: one direction's compressor, and the window between its messages. Sees payload and where messages end; never
frames, masks or sockets, and must import nothing above ``errors`` but its own layer.
Invariants: what was compressed must be sent, so whether to compress is decided by the caller before; the four bytes of
the tail are taken off only where they are; a compressor can be given back between messages at any time, because its
receiver only sees that nothing is referred to.
"""

import zlib
from dataclasses import dataclass

from wsproxy.extensions import cache
from wsproxy.extensions.cache import Cache, Recipe
from wsproxy.extensions.engines import (
    AUTO,
    STRATEGIES,
    TAIL,
    Compressor,
    Engine,
    EngineFault,
    EngineUnavailable,
    Used,
    resolve_level,
    strategy_problem,
)
from wsproxy.extensions.guard import describe
from wsproxy.extensions.incompressible import Verdicts
from wsproxy.extensions.permessage_deflate import Window

# Of 64 bytes of JSON a fresh window saves nothing, of 96 about an eighth, of 128 a quarter (zlib 6, zlib-ng 2, isal 1).
_WORTH_A_FRESH_WINDOW = 96
# An empty message, and an empty rest of one: the header of the stored block whose other half is the tail (§7.2.3.6).
_EMPTY = b"\x00"


@dataclass(frozen=True, slots=True)
class DeflateOptions:
    """How to compress; nothing of it is visible to the receiver.

    :ivar engine: "auto" or an engine's name, for ``engines.choose``.
    :ivar level: on the engine's own scale; None is its default.
    :ivar mem_level: 1 to 9: memory against speed and size.
    :ivar strategy: a key of ``engines.STRATEGIES`` that the engine has.
    :ivar threshold: bytes; smaller messages are better sent uncompressed. None: 0 where the window is kept, since with
        it small messages compress best.
    """

    engine: str = AUTO
    level: int | None = None
    mem_level: int = 5
    strategy: str = "default"
    threshold: int | None = None


class Encoder:
    """Compresses the messages of one direction (RFC 7692 §7.2.1).

    :ivar threshold: bytes; the caller sends smaller messages as they are, and must decide so before it calls.
    :ivar verdicts: which other messages are better sent as they are; the caller asks before it calls.
    :ivar hits: messages that the cache had; ``hit_bytes``: their payload.
    """

    __slots__ = (
        "_compressor",
        "_dirty",
        "_engine",
        "_given",
        "_largest",
        "_level",
        "_midway",
        "_options",
        "_shelf",
        "_taken",
        "_total",
        "_window",
        "hit_bytes",
        "hits",
        "threshold",
        "verdicts",
    )

    def __init__(
        self, engine: Engine, window: Window, options: DeflateOptions, shared_cache: Cache | None = None
    ) -> None:
        """Allocates nothing yet.

        :param shared_cache: what other encoders of the same route compressed; used where no window is kept.
        :raises EngineUnavailable: the engine does not have the level or the strategy.
        """
        if problem := strategy_problem(engine.name, options.strategy):
            raise EngineUnavailable(problem)
        self._engine = engine
        self._window = window
        self._options = options
        self._level = resolve_level(engine, options.level)
        self._compressor: Compressor | None = None
        self._dirty = False
        self._midway = False
        automatic = 0 if window.takeover else _WORTH_A_FRESH_WINDOW
        self.threshold = automatic if options.threshold is None else options.threshold
        self.verdicts = Verdicts()
        self.hits = self.hit_bytes = 0
        self._shelf = None
        if shared_cache is not None and not window.takeover:
            recipe = Recipe(engine.name, self._level, window.bits, options.mem_level, options.strategy)
            self._shelf = shared_cache.shelf(recipe)
        # What went through the present compressor, for the estimate of its memory; through the message under way.
        self._total = self._largest = 0
        self._taken = self._given = 0

    def encode(self, payload: bytes, text: bool = False) -> bytes:
        """One whole message if it is worth it, which must then be sent; else the very object that was given.

        :param text: it is UTF-8, which never looks like noise.
        :raises EngineFault: the engine failed, or did not end its output as a flush ends.
        """
        if len(payload) < self.threshold or not (text or self.verdicts.worth(payload, True)):
            return payload
        return self._compress(payload) if self._shelf is None else self.message(payload)

    def message(self, payload: bytes) -> bytes:
        """One whole message, which must then be sent.

        :raises EngineFault: the engine failed, or did not end its output as a flush ends.
        """
        shelf = self._shelf
        if shelf is None or shelf.cache.resting or len(payload) < cache.SMALLEST:
            return self._compress(payload)
        compressed = shelf.find(payload)
        if compressed is None:
            compressed = self._compress(payload)
            shelf.keep(payload, compressed)
        else:
            self.hits += 1
            self.hit_bytes += len(payload)
        return compressed

    def _compress(self, payload: bytes) -> bytes:
        if not payload:
            return _EMPTY
        try:
            compressor = self._compressor or self._open()
            compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        except self._engine.failures as error:
            raise EngineFault(f"{self._engine.name}: {describe(error)}") from error
        if self._window.takeover:
            size = len(payload)
            self._total += size
            if size > self._largest:
                self._largest = size
        else:
            self._compressor = None
        if self.verdicts.on_trial:
            self.verdicts.compressed(len(payload), len(compressed))
        return _without_tail(compressed)

    def piece(self, payload: bytes, frame_end: bool, fin: bool) -> bytes:
        """A piece of a frame of a message that is sent as it arrives.

        What comes out belongs to the same frame; the end of a frame brings out all that went in.

        :param fin: whether the frame is its message's last one.
        :raises EngineFault: the engine failed, or did not end its output as a flush ends.
        """
        if frame_end and fin and not self._midway:
            return self.message(payload)
        try:
            compressed = self._piece(payload, frame_end, fin)
        except self._engine.failures as error:
            raise EngineFault(f"{self._engine.name}: {describe(error)}") from error
        self._taken += len(payload)
        self._given += len(compressed)
        if frame_end and fin:
            if self.verdicts.on_trial:
                self.verdicts.compressed(self._taken, self._given)
            self._total += self._taken
            self._largest = max(self._largest, self._taken)
            self._taken = self._given = 0
        return compressed

    def _piece(self, payload: bytes, frame_end: bool, fin: bool) -> bytes:
        self._midway = True
        compressed = b""
        if payload:
            compressor = self._compressor or self._open()
            compressed = compressor.compress(payload)
            self._dirty = True
        if not frame_end:
            return compressed
        if self._dirty:
            compressor = self._compressor or self._open()
            compressed += compressor.flush(zlib.Z_SYNC_FLUSH)
            self._dirty = False
            if fin:
                compressed = _without_tail(compressed)
        elif fin:
            # Nothing since the last flush. What a second flush gives depends on the engine: from none to six bytes.
            compressed = _EMPTY
        if fin:
            self._midway = False
            if not self._window.takeover:
                self._compressor = None
        return compressed

    def release(self) -> None:
        """Drop the compressor, if no message is under way; the next message starts with an empty window.

        A receiver cannot tell, whatever was agreed: it only sees that nothing is referred to.
        """
        if not self._midway:
            self._compressor = None

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        if self._compressor is None:
            return 0
        used = Used(self._total + self._taken, max(self._largest, self._taken))
        return self._engine.compressor_bytes(self._level, self._window.bits, self._options.mem_level, used)

    @property
    def capacity(self) -> int:
        """Bytes that it may come to hold between messages, an estimate."""
        if not self._window.takeover:
            return 0
        return self._engine.compressor_bytes(self._level, self._window.bits, self._options.mem_level)

    def _open(self) -> Compressor:
        # Without takeover a new object for each message, not one that is flushed fully: nothing stays between messages.
        self._total = self._largest = 0
        self._compressor = self._engine.compressor(
            self._level, self._window.bits, self._options.mem_level, STRATEGIES[self._options.strategy]
        )
        return self._compressor


def _without_tail(compressed: bytes) -> bytes:
    if not compressed.endswith(TAIL):
        raise EngineFault("a flush did not end with an empty stored block")
    return compressed[: -len(TAIL)]
