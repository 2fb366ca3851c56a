"""A tunnel as the switchboard sees it: two ends, each a transport and what the poller is asked of it.

Owns: that state, and what can be told from it alone. Changing it is the switchboard's.
Invariant: nothing here reads, writes or waits.
"""

import trio

from wsproxy.errors import Side
from wsproxy.network.transport import Transport
from wsproxy.protocol.relay import Relay


class End:
    """One side of a tunnel on the board."""

    __slots__ = (
        "broken", "fd", "half_closed", "left", "open", "other", "queued", "side",
        "transport", "tunnel", "wants", "watched",
    )  # fmt: skip

    other: "End"

    def __init__(self, tunnel: "Tunnel", side: Side, transport: Transport) -> None:
        self.tunnel = tunnel
        self.side = side
        self.transport = transport
        self.fd = transport.fileno()
        self.wants = 0
        self.watched = False  # by the poller
        self.open = True
        self.half_closed = False
        self.queued = False
        self.left = False
        """It has ended its output, and that end lies behind bytes that are not read yet."""
        self.broken = False
        """Hung up while it was not read: what it had sent, here and in the kernel, is delivered before that counts."""


class Tunnel:
    """Two transports and the relay between them."""

    __slots__ = ("ends", "failure", "look_at", "moved", "over", "relay")

    def __init__(self, relay: Relay, client: Transport, upstream: Transport) -> None:
        self.relay = relay
        self.ends = (End(self, Side.CLIENT, client), End(self, Side.UPSTREAM, upstream))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        self.over = trio.Event()
        self.failure: Exception | None = None
        self.moved = 0.0
        """When the loop last served it."""
        self.look_at = 0.0
        """When to look next whether it is quiet."""


def is_over(tunnel: Tunnel, now: float) -> bool:
    """Its deadline has passed, or one side is gone and the other has not taken anything for as long as a close may."""
    if tunnel.relay.deadline <= now:
        return True
    client, upstream = tunnel.ends
    gone = client.broken or client.left or upstream.broken or upstream.left
    return gone and tunnel.moved + tunnel.relay.close_seconds <= now


def is_judged(end: End, other: End) -> bool:
    """Its silence means something: it is read, and it has all that was sent to it."""
    drained = not other.transport.pending
    return not end.transport.pending and end.tunnel.relay.wants_input(end.side, drained) and not end.broken
