"""The permessage-deflate codec: payload bytes in, payload bytes out (RFC 7692 §7.2).

Owns: one direction's compressor or decompressor, and the window between its messages. Sees payload and where messages
end; never frames, masks or sockets, and must import nothing above ``errors`` but its own layer.
Invariants: what was compressed must be sent, so whether to compress is decided by the caller before; the four bytes of
the tail are taken off only where they are; no call inflates more than it was asked for; a message is never cut short
without an error.
"""

import zlib
from collections import deque
from dataclasses import dataclass

from wsproxy.errors import Violation
from wsproxy.extensions.engines import (
    AUTO,
    STRATEGIES,
    TAIL,
    Compressor,
    Decompressor,
    Engine,
    EngineFault,
    EngineUnavailable,
    resolve_level,
    strategy_problem,
)
from wsproxy.extensions.permessage_deflate import Window

# Of 64 bytes of JSON a fresh window saves nothing, of 96 about an eighth, of 128 a quarter (zlib 6, zlib-ng 2, isal 1).
_WORTH_A_FRESH_WINDOW = 96
# Input goes to the engine in pieces of this many bytes, because what it leaves is copied out each time.
_SLICE = 16 * 1024
# An empty message, and an empty rest of one: the header of the stored block whose other half is the tail (§7.2.3.6).
_EMPTY = b"\x00"


class DecodeError(Violation):
    """Compressed data that no decoder could read: 1007 (RFC 6455 §7.4.1)."""

    def __init__(self) -> None:
        super().__init__(1007, "undecodable compressed data")


class MemberFlood(Violation):
    """A message made of more DEFLATE streams than anyone would need: 1008."""

    def __init__(self) -> None:
        super().__init__(1008, "too many final blocks in one message")


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
    """

    __slots__ = ("_compressor", "_dirty", "_engine", "_level", "_midway", "_options", "_window", "threshold")

    def __init__(self, engine: Engine, window: Window, options: DeflateOptions) -> None:
        """Allocates nothing yet.

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

    def message(self, payload: bytes) -> bytes:
        """One whole message, which must then be sent.

        :raises EngineFault: the engine did not end its output as a flush ends.
        """
        if not payload:
            return _EMPTY
        compressor = self._compressor or self._open()
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if not self._window.takeover:
            self._compressor = None
        return _without_tail(compressed)

    def piece(self, payload: bytes, frame_end: bool, fin: bool) -> bytes:
        """A piece of a frame of a message that is sent as it arrives.

        What comes out belongs to the same frame; the end of a frame brings out all that went in.

        :param fin: whether the frame is its message's last one.
        :raises EngineFault: the engine did not end its output as a flush ends.
        """
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
        return self._engine.compressor_bytes(self._level, self._window.bits, self._options.mem_level)

    def _open(self) -> Compressor:
        # Without takeover a new object for each message, not one that is flushed fully: nothing stays between messages.
        self._compressor = self._engine.compressor(
            self._level, self._window.bits, self._options.mem_level, STRATEGIES[self._options.strategy]
        )
        return self._compressor


def _without_tail(compressed: bytes) -> bytes:
    if not compressed.endswith(TAIL):
        raise EngineFault("a flush did not end with an empty stored block")
    return compressed[: -len(TAIL)]


class Decoder:
    """Inflates the messages of one direction (RFC 7692 §7.2.2).

    A block with BFINAL ends its DEFLATE stream, and what follows goes on in a new one with the window kept (§7.2.3.4).
    Python's objects do not give their window back at the end of a stream, so the last output is kept here as well
    where it may be referred to: 0.1 to 0.3 microseconds a message, and at most one and a quarter windows of memory.

    After an error, or a message that was over its limit, the decoder must not be used again.
    """

    __slots__ = (
        "_bare",
        "_ending",
        "_engine",
        "_errors",
        "_history",
        "_input",
        "_left",
        "_max_members",
        "_members",
        "_more",
        "_size",
        "_stream",
        "_window",
    )

    def __init__(self, engine: Engine, window: Window, max_members: int = 256) -> None:
        """Allocates nothing yet.

        :param max_members: DEFLATE streams that one message may end with BFINAL. 256: one for each 64 KiB of 16 MiB.
        """
        self._engine = engine
        self._errors = engine.errors
        self._window = window
        self._size = 1 << window.bits
        self._max_members = max_members
        self._stream: Decompressor | None = None
        self._history = bytearray()
        self._input: deque[memoryview] = deque()
        self._left = 0
        self._ending = False
        self._bare = True
        self._more = False
        self._members = 0

    def start(self, payload: bytes, max_output: int) -> bytes:
        """``feed(payload, True)`` and one ``read(max_output)`` in one: a whole message, most often to its end.

        :raises DecodeError: the data is not DEFLATE.
        :raises MemberFlood: there are too many final blocks.
        """
        if not payload:
            self.feed(payload, True)
            return self.read(max_output)
        stream = self._stream or self._open()
        try:
            inflated = stream.decompress(payload + TAIL, max_output)
        except self._errors as error:
            raise DecodeError from error
        if len(inflated) < max_output and not stream.eof:
            # One byte of room is left over, so everything was consumed and nothing is pending.
            if self._window.takeover:
                self._remember(inflated)
            else:
                self._stream = None
            return inflated
        self._remember(inflated)
        self._ending = True
        self._bare = False
        if stream.eof:
            self._put_back(stream.unused_data)
            self._end_member()
        else:
            self._put_back(stream.unconsumed_tail)
            self._more = True
        return inflated

    def feed(self, data: bytes, fin: bool) -> None:
        """The next bytes of a message; ``fin`` with its last ones. Read while ``pending`` before feeding again."""
        if data:
            self._input.append(memoryview(data))
            self._left += len(data)
        if fin:
            self._input.append(memoryview(TAIL))
            self._left += len(TAIL)
            self._ending = True

    @property
    def pending(self) -> bool:
        """Whether ``read`` has something to do. When not, after ``fin``, the decoder is ready for the next message."""
        return self._more or self._left > 0

    def read(self, max_output: int) -> bytes:
        """The next inflated bytes: at most ``max_output``; maybe none.

        :raises ValueError: ``max_output`` is not positive: to an engine, 0 means without a bound.
        :raises DecodeError: the data is not DEFLATE.
        :raises MemberFlood: there are too many final blocks.
        """
        if max_output < 1:
            raise ValueError(f"max_output is {max_output}")
        inflated = b""
        while self.pending and not inflated:
            if self._bare and self._ending and self._left <= len(TAIL):
                self._drop_tail()
                break
            stream = self._stream or self._open()
            try:
                inflated = stream.decompress(self._take(), max_output)
            except self._errors as error:
                raise DecodeError from error
            self._remember(inflated)
            if stream.eof:
                self._put_back(stream.unused_data)
                self._end_member()
            else:
                self._put_back(stream.unconsumed_tail)
                # An empty tail does not mean that nothing is pending: a full measure of output does not say.
                self._more = len(inflated) == max_output
        if self._ending and not self.pending:
            self._end_message()
        return inflated

    def _end_member(self) -> None:
        self._stream = None
        self._more = False
        self._bare = True
        self._members += 1
        if self._members > self._max_members:
            raise MemberFlood

    def _drop_tail(self) -> None:
        """The message is empty, or ended with its final block: the tail would only begin a block that never ends.

        :raises DecodeError: the final block ended in the midst of the tail, so its own end was missing.
        """
        if self._left < len(TAIL):
            raise DecodeError
        self._input.clear()
        self._left = 0

    def _end_message(self) -> None:
        self._ending = False
        self._bare = True
        self._members = 0
        if not self._window.takeover:
            self._stream = None
            self._history.clear()

    def _take(self) -> memoryview | bytes:
        if not self._input:
            return b""
        data = self._input.popleft()
        if len(data) > _SLICE:
            self._input.appendleft(data[_SLICE:])
            data = data[:_SLICE]
        self._left -= len(data)
        self._bare = False
        return data

    def _put_back(self, data: bytes) -> None:
        if data:
            self._input.appendleft(memoryview(data))
            self._left += len(data)

    def _remember(self, inflated: bytes) -> None:
        history, size = self._history, self._size
        if len(inflated) >= size:
            history[:] = inflated[-size:]
        else:
            history += inflated
            if len(history) > size + size // 4:
                del history[:-size]

    def _open(self) -> Decompressor:
        self._stream = self._engine.decompressor(self._window.bits, bytes(self._history[-self._size :]))
        return self._stream

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        held = len(self._history) + self._left
        return held if self._stream is None else held + self._engine.decompressor_bytes(self._window.bits)
