"""Tunnels that have been quiet for a while rest: they give back what their next message can do without.

Owns: when to look, and how much of it one turn of the sweep does. What resting is belongs to the relay.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from wsproxy.protocol.relay import Relay

QUIET_SECONDS = 15.0
"""A tunnel that has carried no message between two looks so far apart rests (see `Relay.rest`)."""
RESTS_A_TURN = 500
"""A millisecond or two of work, and with 10,000 tunnels some 10 to 25 of trimming."""
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

    def look(self, tunnels: Iterable[Looked], now: float) -> None:
        """Let those rest that are quiet, as many as may in one turn; call it about once a second."""
        rested = 0
        for tunnel in tunnels:
            if tunnel.look_at <= now:
                tunnel.look_at = now + QUIET_SECONDS
                rested += tunnel.relay.rest()
                if rested == RESTS_A_TURN:
                    break
        self._untrimmed += rested
        if self._untrimmed >= RESTS_WORTH_TRIMMING:
            self._untrimmed = 0
            self._trim()
