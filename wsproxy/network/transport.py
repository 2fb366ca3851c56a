"""One connected byte stream, plain or TLS, with the same calls inside trio tasks and inside the switchboard's loop.

Owns: the raw non-blocking socket of a connection, and what the kernel has not taken yet; `tls_transport` owns TLS. Must
never import HTTP or WebSocket. trio's streams are not used because the switchboard serves hundreds of connections in
one loop without a task each, and `trio.SSLStream` keeps its SSLObject private.
Invariants
* No call but the async ones ever waits.
* What `write_now` takes leaves whole and in order, or the connection is lost.
* A cancelled `receive_some` loses no byte, and what a cancelled `send_all` left goes out with the next one.
* Nobody is waited for who takes nothing: then the connection is lost after `write_stall_seconds`.
"""

import contextlib
import errno
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from math import inf

import trio

from wsproxy.errors import ConnectionLost
from wsproxy.network.options import tune
from wsproxy.protocol.proxy_protocol import Place

READ_BYTES = 65536
WRITE_STALL_SECONDS = 30.0
"""Until a route says otherwise: how long the far end may take nothing of what waits for it."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when this process or the machine has no descriptor or memory left."""
NOTHING = memoryview(b"")


class Transport(ABC):
    """A connected stream socket, non-blocking.

    :ivar peer: the address of the far end as text, for logs: ``127.0.0.1:5000``, ``[::1]:5000``, ``unix:/path``.
    :ivar buffered: received bytes wait inside, so `read_now` has some although the socket may not become readable.
    :ivar write_stall_seconds: how long the far end may take nothing of what waits for it; 0: no limit.
    """

    __slots__ = (
        "_closed",
        "_far",
        "_half_closing",
        "_rest",
        "_sock",
        "_stuck_since",
        "_waits",
        "buffered",
        "peer",
        "write_stall_seconds",
    )

    def __init__(self, sock: socket.socket, peer: str = "", *, tuned: bool = False, far: object = None) -> None:
        """
        :param tuned: ``sock`` has the options of `options.tune` already.
        :param far: the far end's address, where the system has told it already.
        """
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        if not tuned:
            tune(sock)
        self._sock = sock
        self._far = far
        self._rest = NOTHING
        self._half_closing = False
        self._closed = False
        self._stuck_since: float | None = None
        self._waits = 0  # tasks, for trio's poller
        self.buffered = False
        self.write_stall_seconds = WRITE_STALL_SECONDS
        self.peer = peer or _peer_text(sock)

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._sock.fileno()

    def places(self) -> tuple[Place, Place]:
        """The socket's own addresses: the far end's, and the one here. Raises ConnectionLost."""
        try:
            return _place(self._far or self._sock.getpeername()), _place(self._sock.getsockname())
        except OSError as error:
            raise ConnectionLost(reason(error)) from error

    @property
    @abstractmethod
    def pending(self) -> int:
        """Bytes that were written and that the kernel has not taken; 0 once closed."""

    @abstractmethod
    def read_now(self, limit: int = READ_BYTES) -> bytes | None:
        """At most ``limit`` bytes; None when there is nothing to read now; ``b""`` at the orderly end of input.

        None does not say that the kernel's buffer is empty: poll level-triggered. Raises ConnectionLost.
        """

    @abstractmethod
    def write_now(self, data: bytes) -> bool:
        """Take all of ``data``; True when the kernel has everything, False when some of it is kept (`pending`).

        Writing while something is pending is allowed but copies it: stop producing instead. Raises ConnectionLost.
        """

    @abstractmethod
    def _refill(self) -> bool:
        """Put what goes next into ``_rest``, which is empty; False when there is nothing."""

    def flush_now(self) -> bool:
        """Send what is pending as far as the kernel takes it; True when nothing is left. Raises ConnectionLost."""
        while self._rest or self._refill():
            sent = self._send(self._rest)
            if not sent:
                return False
            self._rest = self._rest[sent:]
            self._stuck_since = None
        self._rest = NOTHING
        if self._half_closing:
            self._half_closing = False
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise ConnectionLost(reason(error)) from error
        return True

    def takes_some(self, now: float) -> bool:
        """False once the far end has taken nothing of what is pending for ``write_stall_seconds``.

        The time counts from the first call at which it took nothing; ``now`` is that of this one. After a False,
        closing resets the connection. Raises ConnectionLost.
        """
        # The kernel tells of room only when there is much of it, which a slow reader may be long in making.
        if not self.pending or self.flush_now():
            return True
        if self._stuck_since is None:
            self._stuck_since = now
        if not self.write_stall_seconds or now < self._stuck_since + self.write_stall_seconds:
            return True
        # Closed in order, what the kernel holds would wait on for minutes.
        self._reset_on_close()
        return False

    def shutdown_write(self) -> None:
        """End our output once the pending bytes are out (`flush_now` goes on with it). Raises ConnectionLost."""
        self._half_closing = True
        self.flush_now()

    def close(self) -> None:
        """Close the socket; pending bytes are dropped. May be called again; never raises, never waits."""
        if self._closed:
            return
        self._closed = True
        self._rest = NOTHING
        if self._waits:
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    def abort(self) -> None:
        """Close with a reset, so that the far end cannot take what it got for the whole (RFC 9112 §8)."""
        if not self._closed:
            self._reset_on_close()
        self.close()

    def _reset_on_close(self) -> None:
        # A socket that the far end has reset already refuses the option; then there is nobody left to tell.
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def receive_some(self, limit: int = READ_BYTES) -> bytes:
        """At least one byte, or ``b""`` at the orderly end of input. Raises ConnectionLost."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if (data := self.read_now(limit)) is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while data is None:
            await self._wait(trio.lowlevel.wait_readable)
            data = self.read_now(limit)
        return data

    async def readable(self) -> None:
        """Wait until `read_now` may have something. Raises ConnectionLost."""
        if not self.buffered:
            await self._wait(trio.lowlevel.wait_readable)

    async def send_all(self, data: bytes) -> None:
        """Send all of ``data``. Raises ConnectionLost, also where the far end takes nothing (`write_stall_seconds`)."""
        await trio.lowlevel.checkpoint()
        if self.write_now(data):
            return
        while self.takes_some(trio.current_time()):
            if not self.pending:
                return
            with trio.move_on_after(self.write_stall_seconds or inf):
                await self._wait(trio.lowlevel.wait_writable)
        raise ConnectionLost("the far end takes nothing")

    async def drain_and_close(self, seconds: float) -> None:
        """End our output, throw input away until its end or for ``seconds``, then close.

        Closing with unread input would reset the connection, and the far end could lose an answer that it has not
        read yet (RFC 9112 §9.6). Raises nothing but cancellation.
        """
        try:
            with trio.move_on_after(seconds), contextlib.suppress(ConnectionLost):
                self._half_closing = True
                await self.send_all(b"")
                while await self.receive_some():
                    pass
        finally:
            self.close()

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._closed:
            raise ConnectionLost("closed")
        self._waits += 1
        try:
            await ready(self._sock)
        except trio.ClosedResourceError:
            raise ConnectionLost("closed") from None
        finally:
            self._waits -= 1

    def _receive(self, limit: int) -> bytes | None:
        try:
            return self._sock.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise ConnectionLost(reason(error)) from error

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ConnectionLost(reason(error)) from error


class PlainTransport(Transport):
    """TCP or a Unix socket, without TLS."""

    __slots__ = ()

    def detach(self) -> socket.socket:
        """Give the socket away, to go on with it in another way; this counts as closed then."""
        if self._closed or self._rest:
            raise ValueError("closed, or in the midst of a write")
        self._closed = True
        return self._sock

    @property
    def pending(self) -> int:
        return len(self._rest)

    def read_now(self, limit: int = READ_BYTES) -> bytes | None:
        # What `_receive` does, without the call.
        try:
            return self._sock.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise ConnectionLost(reason(error)) from error

    def write_now(self, data: bytes) -> bool:
        if self._rest:
            self._rest = memoryview(b"".join((self._rest, data)))
            return self.flush_now()
        if not data:
            return self.flush_now()
        sent = self._send(data)
        if sent == len(data):
            return True
        self._rest = memoryview(data)[sent:]
        return False

    def _refill(self) -> bool:
        return False


def _place(address: object) -> Place:
    if isinstance(address, tuple):
        return address[0], address[1]
    return address_text(address).removeprefix("unix:")


def address_text(address: object) -> str:
    """A socket address as text: ``127.0.0.1:80``, ``[::1]:80``, ``unix:/path``, ``unix:`` for an unnamed one."""
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, bytes):
        # Linux's abstract namespace (unix(7)).
        return "unix:@" + address[1:].decode("utf-8", "backslashreplace")
    return f"unix:{address}"


def _peer_text(sock: socket.socket) -> str:
    try:
        return address_text(sock.getpeername())
    except OSError as error:
        # Connected and reset before anyone looked: the first read tells.
        return f"unknown ({reason(error)})"


def reason(error: OSError) -> str:
    """What went wrong, as a clause in lower case."""
    return (error.strerror or str(error)).lower()
