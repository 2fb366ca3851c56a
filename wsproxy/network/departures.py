"""Who of those that wait for an answer has left: told without a read, a task or a timer for each of them.

Owns one poller, in which a waiting connection stands while nobody reads it. Must never read: what a client sends early
belongs to whoever answers it. Invariant: each watch is told at most once, and not at all after its end. Where the
system cannot tell without reading (no epoll), nobody is told, and deadlines remain.
"""

from collections.abc import Callable
from types import TracebackType

import trio

from wsproxy.network.poller import BROKEN, LEFT, make_poller
from wsproxy.network.transport import Transport


class Departures:
    """The connections of one worker that are waiting."""

    def __init__(self) -> None:
        self._poller = make_poller()
        self._watches: dict[int, Watch] = {}

    def watch(self, transport: Transport, call: Callable[[], None]) -> "Watch":
        """Call ``call`` when the far end of ``transport`` ends its output, or its connection, while the watch stands.

        The transport must outlive the watch.
        """
        return Watch(self, transport.fileno(), call)

    async def serve(self) -> None:
        """Tell for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._poller.fileno())
            for fd, ready in self._poller.poll():
                watch = self._watches.get(fd)
                if watch is not None and ready & (LEFT | BROKEN):
                    self.remove(fd)
                    watch.tell()

    def close(self) -> None:
        self._poller.close()

    def add(self, fd: int, watch: "Watch") -> None:
        self._watches[fd] = watch
        self._poller.register(fd, LEFT)

    def remove(self, fd: int) -> None:
        if self._watches.pop(fd, None) is not None:
            self._poller.unregister(fd)


class Watch:
    """Stands while it is entered.

    :ivar left: it has been told.
    """

    __slots__ = ("_call", "_departures", "_fd", "left")

    def __init__(self, departures: Departures, fd: int, call: Callable[[], None]) -> None:
        self._departures = departures
        self._fd = fd
        self._call = call
        self.left = False

    def __enter__(self) -> "Watch":
        self._departures.add(self._fd, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._departures.remove(self._fd)

    def tell(self) -> None:
        self.left = True
        self._call()
