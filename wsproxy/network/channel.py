"""A private line between two of our own processes: whole Python values, and descriptors with them.

Owns: the framing (a length, a count of descriptors, the descriptors, a pickle) and the socketpair. Must never carry
anything that came from elsewhere: a pickle is believed. Opens no nursery: whoever has a channel runs `write`.
Invariants
* `post` never waits, so that a process that does not read holds up nobody; what is posted leaves whole and in order.
* Every descriptor that arrives is given to the caller or closed.
"""

import array
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence

import trio

from wsproxy.errors import ConnectionLost

_HEAD = struct.Struct("!II")
_DESCRIPTORS_A_MESSAGE = 200
"""Linux takes 253 (SCM_MAX_FD)."""
_READ_BYTES = 262_144


class Channel:
    """One end.

    :ivar unsent: messages that were posted and not yet written.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._stream = trio.socket.from_stdlib_socket(sock)
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._posted = trio.Event()
        self._written = trio.Event()

    @property
    def unsent(self) -> int:
        return len(self._outbox)

    def post(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Send ``message``, and copies of the descriptors with it, as soon as the other end takes it."""
        self._outbox.append((pickle.dumps(message), [os.dup(each) for each in descriptors]))
        self._posted.set()
        self._written = trio.Event()

    async def flush(self) -> None:
        """Wait until all that is posted is written."""
        await self._written.wait()

    async def write(self) -> None:
        """Write what is posted, for ever. Raises ConnectionLost once the other end is gone."""
        try:
            while True:
                while self._outbox:
                    data, descriptors = self._outbox[0]
                    await self._write_one(data, descriptors)
                    self._outbox.popleft()
                    _close(descriptors)
                self._posted = trio.Event()
                self._written.set()
                await self._posted.wait()
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionLost("the other process is gone") from error

    async def _write_one(self, data: bytes, descriptors: list[int]) -> None:
        await self._write_all(_HEAD.pack(len(data), len(descriptors)))
        for start in range(0, len(descriptors), _DESCRIPTORS_A_MESSAGE):
            some = array.array("i", descriptors[start : start + _DESCRIPTORS_A_MESSAGE])
            # They travel with a byte of their own, so that no read can mix two batches.
            await self._stream.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])
        await self._write_all(data)

    async def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[await self._stream.send(rest) :]

    async def receive(self) -> tuple[object, list[int]]:
        """The next message and its descriptors, which are the caller's now. Raises ConnectionLost at the end."""
        descriptors: list[int] = []
        try:
            length, count = _HEAD.unpack(await self._read_exactly(_HEAD.size))
            while len(descriptors) < count:
                descriptors += await self._read_descriptors()
            return pickle.loads(await self._read_exactly(length)), descriptors
        except OSError as error:
            _close(descriptors)
            raise ConnectionLost("the other process is gone") from error
        except BaseException:
            _close(descriptors)
            raise

    async def _read_descriptors(self) -> list[int]:
        size = array.array("i").itemsize
        data, ancillary, flags, _ = await self._stream.recvmsg(1, socket.CMSG_SPACE(_DESCRIPTORS_A_MESSAGE * size))
        found = array.array("i")
        for _, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                found.frombytes(content[: len(content) - len(content) % size])
        if not data or not found or flags & socket.MSG_CTRUNC:
            _close(found)
            # This process may be out of descriptors: the kernel then drops those that it cannot give.
            raise ConnectionLost("descriptors did not arrive")
        return list(found)

    async def _read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            some = await self._stream.recv(min(size - len(data), _READ_BYTES))
            if not some:
                raise ConnectionLost("the other process is gone")
            data += some
        return bytes(data)

    def close(self) -> None:
        """Hang up. What was not written yet is lost. May be called again."""
        self._stream.close()
        while self._outbox:
            _close(self._outbox.popleft()[1])


def make_channel() -> tuple[Channel, int]:
    """One end for this process, and the descriptor of the other one, for a process to be started with."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs.detach()


def channel_from(descriptor: int) -> Channel:
    """The end that this process was started with."""
    return Channel(socket.socket(fileno=descriptor))


def _close(descriptors: Iterable[int]) -> None:
    for each in descriptors:
        os.close(each)
