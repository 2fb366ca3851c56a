"""Real sockets whose n-th operation goes wrong, as the operating system could make it go wrong.

Owns: what each trouble does to `recv`, `send` and `shutdown`. The proxy's own code runs unchanged on top of them: its
accepted connections are given as such sockets, and `dial` finds them in place of the standard library's.
"""

import errno
import socket
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING

import trio

from wsproxy.errors import Side

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Trouble(Enum):
    """What happens at the n-th operation of one connection, and which operations after it share its fate."""

    RESET = "every operation fails from then on"
    END = "there is no more input from then on"
    STALL = "nothing moves from then on, until the far end hangs up"
    CANCEL = "the session is cancelled in the midst of it"
    PARTIAL = "that one moves a single byte"
    LATE = "that one says that it would block"
    SIGNAL = "that one is interrupted"


HARMLESS = (Trouble.PARTIAL, Trouble.LATE, Trouble.SIGNAL)
"""What a socket may do at any time: the conversation has to come to its end all the same."""


class Plan:
    """Which trouble comes, on the connection with which side, at which operation.

    :ivar operations: how many there were so far.
    :ivar fired: set when it has happened.
    :ivar cancel: cancels the session.
    """

    def __init__(self, trouble: Trouble, side: Side, at: int) -> None:
        self.trouble = trouble
        self.side = side
        self.operations = 0
        self.fired = trio.Event()
        self.cancel: Callable[[], None] = lambda: None
        self._at = at
        self._released = False

    def __str__(self) -> str:
        return f"{self.trouble.name} at operation {self._at} with the {self.side.label}"

    def release(self) -> None:
        """The far end has hung up: a stall is over."""
        self._released = True

    def next(self) -> Trouble | None:
        """Count an operation; what is to go wrong with it."""
        self.operations += 1
        if self.operations < self._at:
            return None
        first = not self.fired.is_set()
        self.fired.set()
        if self.trouble is Trouble.STALL:
            return None if self._released else self.trouble
        lasts = self.trouble in (Trouble.RESET, Trouble.END)
        return self.trouble if first or lasts else None


PLAN: ContextVar[Plan] = ContextVar("PLAN")
"""Of the session that the running task belongs to."""


class FaultySocket(socket.socket):
    """Takes the place, and the descriptor, of a connected socket."""

    __slots__ = ("_plan",)

    def __init__(self, plan: Plan, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._plan = plan

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        trouble = self._next()
        if trouble is Trouble.END:
            return b""
        return super().recv(1 if trouble is Trouble.PARTIAL else size, flags)

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        trouble = self._next()
        return super().send(memoryview(data)[:1] if trouble is Trouble.PARTIAL else data, flags)

    def shutdown(self, how: int, /) -> None:
        if self._plan.trouble is not Trouble.STALL and self._next() is Trouble.RESET:
            raise OSError(errno.ENOTCONN, "not connected")
        super().shutdown(how)

    def _next(self) -> Trouble | None:
        trouble = self._plan.next()
        match trouble:
            case Trouble.RESET:
                # The kernel would also wake up whoever waits for this socket.
                self._cut(socket.SHUT_RDWR)
                raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
            case Trouble.END:
                self._cut(socket.SHUT_RD)
            case Trouble.STALL | Trouble.LATE:
                raise BlockingIOError(errno.EAGAIN, "would block")
            case Trouble.SIGNAL:
                raise InterruptedError(errno.EINTR, "interrupted")
            case Trouble.CANCEL:
                self._plan.cancel()
            case _:
                pass
        return trouble

    def _cut(self, how: int) -> None:
        try:
            super().shutdown(how)
        except OSError:
            return  # the far end has hung up already


def _open_dialled(family: int = -1, kind: int = -1, *, fileno: int | None = None) -> socket.socket:
    plan = PLAN.get()
    if fileno is None:
        fileno = socket.socket(family, kind).detach()
    return FaultySocket(plan, fileno) if plan.side is Side.UPSTREAM else socket.socket(fileno=fileno)


DIALLED = SimpleNamespace(**{**vars(socket), "socket": _open_dialled})
"""The standard library's module as `dial` is to see it."""
