"""Which descriptors are ready, as one descriptor that trio can wait for.

Owns the choice between Linux's epoll and whatever `selectors` finds elsewhere. Knows nothing of tunnels.
"""

import select
import selectors
import sys
from typing import Protocol

READ = 1
WRITE = 2
BROKEN = 4
"""Reset or hung up: told even where neither reading nor writing was asked for."""
LEFT = 8
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

    def poll(self) -> list[tuple[int, int]]:
        """What is ready now, as descriptors with `READ`, `WRITE` and `BROKEN` bits; never waits."""
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
            self._selector.register(fd, wants & (READ | WRITE))

    def modify(self, fd: int, wants: int) -> None:
        self.unregister(fd)
        self.register(fd, wants)

    def unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self) -> list[tuple[int, int]]:
        return [(key.fd, ready) for key, ready in self._selector.select(0)]

    def close(self) -> None:
        self._selector.close()


if sys.platform == "linux":

    class EpollPoller:
        """Level-triggered epoll: one system call for many ready tunnels, none for a tunnel that stays as it is."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def fileno(self) -> int:
            return self._epoll.fileno()

        def register(self, fd: int, wants: int) -> None:
            self._epoll.register(fd, _EPOLL_MASK[wants])

        def modify(self, fd: int, wants: int) -> None:
            self._epoll.modify(fd, _EPOLL_MASK[wants])

        def unregister(self, fd: int) -> None:
            self._epoll.unregister(fd)

        def poll(self) -> list[tuple[int, int]]:
            return [
                (fd, _READY[mask & 31] | mask >> _LEFT_SHIFT & LEFT) for fd, mask in self._epoll.poll(0, MAX_EVENTS)
            ]

        def close(self) -> None:
            self._epoll.close()

    _LEFT_SHIFT = select.EPOLLRDHUP.bit_length() - LEFT.bit_length()
    _EPOLL_MASK = [
        (select.EPOLLIN if wants & READ else 0)
        | (select.EPOLLOUT if wants & WRITE else 0)
        | (select.EPOLLRDHUP if wants & LEFT else 0)
        for wants in range(16)
    ]
    _READY = [
        (READ if mask & select.EPOLLIN else 0)
        | (WRITE if mask & select.EPOLLOUT else 0)
        | (BROKEN if mask & (select.EPOLLERR | select.EPOLLHUP) else 0)
        for mask in range(32)
    ]


def make_poller() -> Poller:
    """The best poller that this system has."""
    return EpollPoller() if sys.platform == "linux" else SelectorsPoller()
