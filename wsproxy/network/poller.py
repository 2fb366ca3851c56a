"""Which descriptors are ready, as one descriptor that trio can wait for.

Owns the choice between Linux's epoll and whatever `selectors` finds elsewhere. Knows nothing of tunnels.
"""

import select
import selectors
import sys
from typing import Protocol

# The values are epoll's own (EPOLLIN, EPOLLOUT, EPOLLERR | EPOLLHUP, EPOLLRDHUP): nothing is translated for each event.
READ = 0x0001
WRITE = 0x0004
BROKEN = 0x0018
"""Reset or hung up: told even where neither reading nor writing was asked for."""
LEFT = 0x2000
"""The far end has ended its output. Only where asked for, and where the system can tell without reading."""

MAX_EVENTS = 256


class Poller(Protocol):
    """A set of descriptors with what is wanted of each."""

    def fileno(self) -> int:
        """Readable whenever `poll` would return something."""
        ...

    def register(self, fd: int, wants: int) -> None: ...
    def modify(self, fd: int, wants: int) -> None: ...
    def unregister(self, fd: int) -> None: ...

    def forget(self, fd: int) -> None:
        """For a descriptor that is closed next, and that nobody else holds open: an epoll drops it by itself then."""
        ...

    def poll(self, seconds: float = 0) -> list[tuple[int, int]]:
        """What is ready, as descriptors with `READ`, `WRITE`, `BROKEN` and `LEFT` bits; waits that long at most."""
        ...

    def close(self) -> None: ...


class SelectorsPoller:
    """For systems without epoll (kqueue). A descriptor of which nothing is wanted is not watched at all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int:
        fileno = getattr(self._selector, "fileno", None)
        assert fileno is not None, "this system's selector cannot be waited for"
        number = fileno()
        assert isinstance(number, int)
        return number

    def register(self, fd: int, wants: int) -> None:
        if wants & (READ | WRITE):
            read = selectors.EVENT_READ if wants & READ else 0
            self._selector.register(fd, read | (selectors.EVENT_WRITE if wants & WRITE else 0))

    def modify(self, fd: int, wants: int) -> None:
        self.unregister(fd)
        self.register(fd, wants)

    def unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    forget = unregister

    def poll(self, seconds: float = 0) -> list[tuple[int, int]]:
        return [(key.fd, _FROM_SELECTORS[ready]) for key, ready in self._selector.select(seconds)]

    def close(self) -> None:
        self._selector.close()


_FROM_SELECTORS = {
    selectors.EVENT_READ: READ,
    selectors.EVENT_WRITE: WRITE,
    selectors.EVENT_READ | selectors.EVENT_WRITE: READ | WRITE,
}

if sys.platform == "linux":

    class EpollPoller:
        """Level-triggered epoll: one system call for many ready tunnels, none for a tunnel that stays as it is."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def fileno(self) -> int:
            return self._epoll.fileno()

        def register(self, fd: int, wants: int) -> None:
            self._epoll.register(fd, wants)

        def modify(self, fd: int, wants: int) -> None:
            self._epoll.modify(fd, wants)

        def unregister(self, fd: int) -> None:
            self._epoll.unregister(fd)

        def forget(self, fd: int) -> None:
            pass

        def poll(self, seconds: float = 0) -> list[tuple[int, int]]:
            return self._epoll.poll(seconds, MAX_EVENTS)

        def close(self) -> None:
            self._epoll.close()


def make_poller() -> Poller:
    """The best poller that this system has."""
    return EpollPoller() if sys.platform == "linux" else SelectorsPoller()
