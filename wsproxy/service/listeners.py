"""The listening sockets of the configuration in force.

Owns: which sockets stay, come and go when the configuration changes.
Invariants
* A listener whose address stays keeps its sockets, and with them the connections that wait in their queues.
* Until a change is committed, nothing of it is seen from outside but new sockets that listen, and the permissions of
  Unix sockets that stay.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from wsproxy.errors import CannotStart
from wsproxy.network.listen import ListeningSocket, open_listeners, set_unix_mode
from wsproxy.settings.addresses import Address, TcpAddress, UnixAddress, parse_address
from wsproxy.settings.tree import Listener

_Key = tuple[str, int]
"""A bind address, and which of several listeners with the same one (port 0) it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """The sockets of a new configuration.

    :ivar groups: the numbers of each listener's sockets, old and new.
    :ivar serves: the listener's name for each number.
    :ivar opened: those that the configuration in force does not have.
    """

    groups: Mapping[_Key, tuple[int, ...]]
    serves: Mapping[int, str]
    opened: Mapping[int, ListeningSocket]


class Listeners:
    """Every listening socket for clients, by number."""

    def __init__(self, slots: int = 0) -> None:
        """``slots``: as for `open_listeners`."""
        self._slots = slots
        self._numbers = count(1)
        self._groups: Mapping[_Key, tuple[int, ...]] = {}
        self.sockets: dict[int, ListeningSocket] = {}
        self.serves: Mapping[int, str] = {}

    def addresses(self) -> list[str]:
        """Where clients can connect, each address once."""
        return list(dict.fromkeys(sock.address for sock in self.sockets.values()))

    async def change(self, listeners: Sequence[Listener]) -> Change:
        """Open what these listeners need and is not open. Raises CannotStart, with nothing opened."""
        groups: dict[_Key, tuple[int, ...]] = {}
        serves: dict[int, str] = {}
        opened: dict[int, ListeningSocket] = {}
        try:
            for listener in listeners:
                key = next((listener.bind, n) for n in count() if (listener.bind, n) not in groups)
                address = parse_address(listener.bind)
                if key in self._groups:
                    groups[key] = self._groups[key]
                    if isinstance(address, UnixAddress):
                        set_unix_mode(address, listener.unix_mode)
                else:
                    sockets = await self._open(address, listener.unix_mode)
                    fresh = {number: sock for sock, number in zip(sockets, self._numbers, strict=False)}
                    opened |= fresh
                    groups[key] = tuple(fresh)
                serves |= dict.fromkeys(groups[key], listener.name)
        except BaseException:
            for sock in opened.values():
                sock.close()
            raise
        return Change(groups, serves, opened)

    async def _open(self, address: Address, unix_mode: int) -> list[ListeningSocket]:
        """As `open_listeners`; says if it may be this proxy itself that is in the way."""
        try:
            return await open_listeners(address, unix_mode, self._slots)
        except CannotStart as error:
            in_use = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not in_use or not isinstance(address, TcpAddress):
                raise
            own = [each for each in self.addresses() if each.endswith(f":{address.port}")]
            if not own:
                raise
            hint = "what overlaps cannot take its place in one reload: reload without it first"
            raise CannotStart(f"{error}: this proxy listens on {', '.join(own)}, and {hint}") from error

    def commit(self, change: Change) -> None:
        """Make it the one in force; sockets that it does not have are closed."""
        self.sockets |= change.opened
        for number in [each for each in self.sockets if each not in change.serves]:
            self.sockets.pop(number).close()
        self._groups, self.serves = change.groups, change.serves

    def abandon(self, change: Change) -> None:
        """Close what was opened for it."""
        for sock in change.opened.values():
            sock.close()

    def close(self) -> None:
        while self.sockets:
            self.sockets.popitem()[1].close()
