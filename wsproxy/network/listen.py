"""Listening sockets: opening them, saying clearly why one cannot be opened, and accepting from them.

Owns: every listening socket and the file of a Unix one. Must never import HTTP or WebSocket.
Invariants
* A Unix socket's file is replaced only when nothing answers on it, and removed only while it is still ours.
* Running out of descriptors pauses accepting; it never ends it.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import trio

from wsproxy.errors import CannotStart, ConnectionLost
from wsproxy.network.transport import EXHAUSTED, PlainTransport, address_text, reason
from wsproxy.settings.addresses import Address, FdAddress, TcpAddress, UnixAddress

_BACKLOG = 4096
"""Connections that the kernel holds for us; it lowers this to its own bound (net.core.somaxconn)."""
_ACCEPTS_A_TURN = 64
_PAUSE_SECONDS = 0.1
"""How long accepting pauses when descriptors or memory have run out: others must end first."""
_NOT_ON_THIS_MACHINE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

UNIX_MODE = 0o660
"""Permissions of a Unix socket's file unless configured."""


class ListeningSocket:
    """One bound, listening socket.

    :ivar address: where it really listens, the port included: ``127.0.0.1:41234``, ``unix:/path``.
    """

    def __init__(self, sock: socket.socket, owned_path: str | None = None) -> None:
        """``owned_path``: the file to remove when it is closed."""
        sock.setblocking(False)
        self._sock = sock
        self._owned = None if owned_path is None else (owned_path, _identity(owned_path))
        self.address = address_text(sock.getsockname())

    async def accept_some(self, on_exhausted: Callable[[OSError], None]) -> list[PlainTransport]:
        """Wait for connections; gives at least one, and at most a bounded batch.

        ``on_exhausted`` is told, before each pause, that the system had no descriptor or memory left. Raises
        ConnectionLost once this socket is closed.
        """
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
            except trio.ClosedResourceError:
                raise ConnectionLost("closed") from None
            accepted, exhausted = self._accept_ready()
            if accepted:
                return accepted
            if exhausted is not None:
                on_exhausted(exhausted)
                await trio.sleep(_PAUSE_SECONDS)

    def _accept_ready(self) -> tuple[list[PlainTransport], OSError | None]:
        accepted: list[PlainTransport] = []
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in EXHAUSTED:
                    return accepted, error
                if error.errno in (errno.EBADF, errno.EINVAL):
                    raise ConnectionLost("no longer listening") from error
                # That one connection was gone before it was taken (accept(2) names a dozen codes for it).
                continue
            accepted.append(PlainTransport(sock, address_text(address)))
        return accepted, None

    def close(self) -> None:
        """Stop listening and remove a Unix socket's file. May be called again; never raises."""
        if self._sock.fileno() == -1:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._sock)
        if self._owned is not None:
            path, identity = self._owned
            if identity is not None and _identity(path) == identity:
                with contextlib.suppress(OSError):
                    Path(path).unlink()
        self._sock.close()


async def open_listeners(address: Address, unix_mode: int = UNIX_MODE) -> list[ListeningSocket]:
    """Listen on every address that ``address`` stands for. Raises CannotStart with one line that says why."""
    try:
        match address:
            case TcpAddress():
                return await _open_tcp(address)
            case UnixAddress():
                return [_open_unix(address.path, unix_mode)]
            case FdAddress():
                return [_open_fd(address.fd)]
            case _:
                assert_never(address)
    except OSError as error:
        raise CannotStart(f"cannot listen on {address}: {reason(error)}") from error


async def _open_tcp(address: TcpAddress) -> list[ListeningSocket]:
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[ListeningSocket] = []
    unavailable: OSError | None = None
    try:
        for family, place in dict.fromkeys((family, place) for family, _, _, _, place in found):
            try:
                opened.append(_open_tcp_one(family, place))
            except OSError as error:
                # A name such as localhost has an IPv6 address also where the machine has no IPv6.
                if error.errno not in _NOT_ON_THIS_MACHINE:
                    raise
                unavailable = error
        if unavailable is not None and not opened:
            raise unavailable
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened


def _open_tcp_one(family: int, place: tuple[object, ...]) -> ListeningSocket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart must not wait for connections of the last run to leave TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::]:80 beside 0.0.0.0:80 are two listeners, whatever the system's default is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(_BACKLOG)
        return ListeningSocket(sock)
    except OSError:
        sock.close()
        raise


def _open_unix(path: str, mode: int) -> ListeningSocket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            Path(path).unlink()
            sock.bind(path)
        # Nobody can connect before listen(), so nobody slips in with the permissions of the umask.
        Path(path).chmod(mode)
        sock.listen(_BACKLOG)
        return ListeningSocket(sock, owned_path=path)
    except OSError:
        sock.close()
        raise


def _is_stale(path: str) -> bool:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Connecting to a Unix socket never waits: a full backlog is EAGAIN at once (unix(7)).
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _open_fd(number: int) -> ListeningSocket:
    # socket() takes the descriptor over and finds out its family; it raises OSError for anything but a socket.
    sock = socket.socket(fileno=number)
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens:
        sock.detach()
        raise OSError(errno.EINVAL, "not a listening stream socket")
    return ListeningSocket(sock)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
