"""Tunnels that have been quiet for a while rest: they give back what their next message can do without.

Owns: when to look, and when memory is worth trimming. What resting is belongs to the relay.
"""

from collections.abc import Callable
from typing import Protocol

from wsproxy.protocol.relay import Relay

QUIET_SECONDS = 15.0
"""A tunnel that has carried no message between two looks so far apart rests (see `Relay.rest`)."""
RESTS_WORTH_TRIMMING = 64
"""Memory of fewer tunnels waits until there is more."""


class Looked(Protocol):
    """A tunnel: its relay, and when to look next whether it is quiet."""

    relay: Relay
    look_at: float


class Quiet:
    """Looks after the tunnels of one switchboard.

    :param trim: gives freed memory back to the system.
    """

    def __init__(self, trim: Callable[[], None]) -> None:
        self._trim = trim
        self._untrimmed = 0

    def look(self, tunnel: Looked, now: float) -> None:
        """Let ``tunnel`` rest if it is quiet; call it about once a second."""
        if tunnel.look_at <= now:
            tunnel.look_at = now + QUIET_SECONDS
            self._untrimmed += tunnel.relay.rest()

    def trim(self) -> None:
        """Give back what the tunnels freed, if that is worth it; with 10,000 tunnels it takes some 10 to 25 ms."""
        if self._untrimmed >= RESTS_WORTH_TRIMMING:
            self._untrimmed = 0
            self._trim()
