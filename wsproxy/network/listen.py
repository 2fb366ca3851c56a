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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, assert_never

import trio

from wsproxy.errors import CannotStart, ConnectionLost
from wsproxy.network.notify import named_descriptors
from wsproxy.network.options import INHERITED, tune
from wsproxy.network.steering import AVAILABLE, steer
from wsproxy.network.transport import EXHAUSTED, PlainTransport, address_text, reason
from wsproxy.settings.addresses import Address, FdAddress, NamedFdAddress, TcpAddress, UnixAddress

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
    :ivar slot: which worker it is for; None: it is the only one on its address, for all of them.
    """

    def __init__(self, sock: socket.socket, owned_path: str | None = None, slot: int | None = None) -> None:
        """``owned_path``: the file to remove when it is closed."""
        sock.setblocking(False)
        if INHERITED:
            tune(sock)
        self._sock = sock
        self._owned = None if owned_path is None else (owned_path, _identity(owned_path))
        self.address = address_text(sock.getsockname())
        self.slot = slot

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._sock.fileno()

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
            accepted.append(PlainTransport(sock, address_text(address), tuned=INHERITED, far=address))
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


async def open_listeners(address: Address, unix_mode: int = UNIX_MODE, slots: int = 0) -> list[ListeningSocket]:
    """Listen on every address that ``address`` stands for. Raises CannotStart with one line that says why.

    :param slots: how many workers there are; each has a socket of its own on each TCP address, so that connections
        wait in the queue of a worker that is being started again. 0: this process is the only one that accepts.
    """
    try:
        match address:
            case TcpAddress():
                return await _open_tcp(address, slots if AVAILABLE else 0)
            case UnixAddress():
                return [_open_unix(address.path, unix_mode)]
            case FdAddress():
                return [_open_fd(address.fd)]
            case NamedFdAddress():
                return _open_named(address.name)
            case _:
                assert_never(address)
    except OSError as error:
        raise CannotStart(f"cannot listen on {address}: {reason(error)}") from error


def listener_from(descriptor: int) -> ListeningSocket:
    """A socket that another process of ours opened, and owns the file of, if it has one. Raises OSError."""
    # socket() takes the descriptor over and finds out its family; it raises OSError for anything but a socket.
    sock = socket.socket(fileno=descriptor)
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens:
        sock.detach()
        raise OSError(errno.EINVAL, "not a listening stream socket")
    return ListeningSocket(sock)


def share_out(sockets: Iterable[ListeningSocket], shares: Sequence[float]) -> None:
    """Let the workers' sockets on each address have these shares of new connections, by slot, if the kernel can."""
    for sock in sockets:
        if sock.slot == 0:
            steer(sock.fileno(), shares)


async def _open_tcp(address: TcpAddress, slots: int) -> list[ListeningSocket]:
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[ListeningSocket] = []
    unavailable: OSError | None = None
    try:
        for family, place in dict.fromkeys((family, place) for family, _, _, _, place in found):
            try:
                opened += _open_group(family, place, slots)
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


def _open_group(family: int, place: tuple[Any, ...], slots: int) -> list[ListeningSocket]:
    if not slots:
        return [_listen(_bind(family, place))]
    if place[1]:
        # With SO_REUSEPORT alone, another process of this user on the same port would go unnoticed.
        _bind(family, place).close()
    group: list[ListeningSocket] = []
    try:
        for slot in range(slots):
            sock = _bind(family, place, shared=True)
            group.append(_listen(sock, slot))
            place = sock.getsockname()
    except OSError:
        for listening in group:
            listening.close()
        raise
    return group


def _bind(family: int, place: tuple[Any, ...], shared: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart must not wait for connections of the last run to leave TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # [::]:80 beside 0.0.0.0:80 are two listeners, whatever the system's default is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        return sock
    except OSError:
        sock.close()
        raise


def _listen(sock: socket.socket, slot: int | None = None) -> ListeningSocket:
    try:
        sock.listen(_BACKLOG)
        return ListeningSocket(sock, slot=slot)
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


def set_unix_mode(address: UnixAddress, mode: int) -> None:
    """Change who may connect to a socket that is open already. Raises CannotStart."""
    try:
        Path(address.path).chmod(mode)
    except OSError as error:
        raise CannotStart(f"cannot listen on {address}: {reason(error)}") from error


def _is_stale(path: str) -> bool:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Connecting to a Unix socket never waits: a full backlog is EAGAIN at once (unix(7)).
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _open_fd(number: int) -> ListeningSocket:
    # A copy: the number is what the configuration says, so it must not come to mean something else after a reload.
    copy = os.dup(number)
    try:
        return listener_from(copy)
    except OSError:
        os.close(copy)
        raise


def _open_named(name: str) -> list[ListeningSocket]:
    numbers = named_descriptors(os.environ, os.getpid()).get(name)
    if not numbers:
        raise OSError(errno.ENOENT, "socket activation passed no socket of this name")
    return [_open_fd(number) for number in numbers]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
