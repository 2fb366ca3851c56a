"""The permessage-deflate codec, receiving: compressed payload in, payload out (RFC 7692 §7.2.2).

Owns: one direction's decompressor, and the window between its messages. Sees payload and where messages end; never
frames, masks or sockets, and must import nothing above ``errors`` but its own layer.
Invariants: no call inflates more than it was asked for; a message is never cut short without an error; a decompressor
can be given back between messages at any time, but for its window, from which the next one starts.
"""

from collections import deque

from wsproxy.errors import Violation
from wsproxy.extensions.engines import TAIL, Decompressor, Engine, Used
from wsproxy.extensions.permessage_deflate import Window

# Input goes to the engine in pieces of this many bytes, because what it leaves is copied out each time.
_SLICE = 16 * 1024


class DecodeError(Violation):
    """Compressed data that no decoder could read: 1007 (RFC 6455 §7.4.1)."""

    def __init__(self) -> None:
        super().__init__(1007, "undecodable compressed data")


class MemberFlood(Violation):
    """A message made of more DEFLATE streams than anyone would need: 1008."""

    def __init__(self) -> None:
        super().__init__(1008, "too many final blocks in one message")


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
        "_given",
        "_history",
        "_input",
        "_largest",
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
        self._given = self._largest = 0
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
        length = len(inflated)
        self._given += length
        if length > self._largest:
            self._largest = length
        if length >= size:
            history[:] = inflated[-size:]
        else:
            history += inflated
            if len(history) > size + size // 4:
                del history[:-size]

    def _open(self) -> Decompressor:
        self._stream = self._engine.decompressor(self._window.bits, bytes(self._history[-self._size :]))
        self._given = len(self._history)
        self._largest = 0
        return self._stream

    def release(self) -> None:
        """Drop the decompressor, if no message is under way, and keep its window alone; the next message finds it."""
        if self._bare and not (self.pending or self._ending):
            self._stream = None
            self._history = self._history[-self._size :]

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        held = (self._history.__alloc__() if self._history else 0) + self._left
        return (
            held
            if self._stream is None
            else held + self._engine.decompressor_bytes(self._window.bits, Used(self._given, self._largest))
        )

    @property
    def capacity(self) -> int:
        """Bytes that it may come to hold between messages, an estimate."""
        return self._size + self._engine.decompressor_bytes(self._window.bits) if self._window.takeover else 0
