"""What a worker can be asked and told while it serves: in its own process by a call, in another one through a channel.

Owns: these messages, plain values that can be pickled. Imports nothing that opens anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsproxy.settings.tree import Settings, Shutdown
from wsproxy.telemetry.snapshot import Snapshot

TunnelFacts = dict[str, object]
"""One live tunnel for people: plain JSON values. docs/control.md lists them."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Asks for a `Snapshot`."""


@dataclass(frozen=True, slots=True)
class CountTunnels:
    """Asks for the number of live tunnels."""


@dataclass(frozen=True, slots=True)
class ListTunnels:
    """Asks for a list of `TunnelFacts`."""


@dataclass(frozen=True, slots=True)
class CloseTunnels:
    """Close what all given criteria fit; asks for how many that is.

    :ivar tunnel: the id of one; empty: any.
    :ivar endpoint: the URL of an endpoint; empty: any.
    :ivar spread_seconds: the closes are spread over this time.
    """

    tunnel: str
    endpoint: str
    code: int
    spread_seconds: float


@dataclass(frozen=True, slots=True)
class DrainEndpoint:
    """Open no connection to an endpoint any more, or do so again; asks for whether an upstream has it."""

    endpoint: str
    draining: bool


Order = TakeSnapshot | CountTunnels | ListTunnels | CloseTunnels | DrainEndpoint
Answer = Snapshot | int | list[TunnelFacts] | bool


# --- between the supervisor and a worker's process


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make a generation of ``settings``, without serving by it; asks for what is wrong with it, or an empty text.

    :ivar fresh: the numbers of the listening sockets that come with this message, in their order.
    :ivar draining: the endpoints that are to get no new connections.
    """

    settings: Settings
    fresh: tuple[int, ...]
    draining: frozenset[str]


@dataclass(frozen=True, slots=True)
class Commit:
    """Serve newcomers by the prepared generation; ``serves``: the listener of each socket that is to accept."""

    serves: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Abandon:
    """Forget the prepared generation."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Close every tunnel in this way, then end."""

    shutdown: Shutdown


@dataclass(frozen=True, slots=True)
class Stop:
    """End at once."""


@dataclass(frozen=True, slots=True)
class Ask:
    """``number`` comes back with the reply."""

    number: int
    question: Order | Prepare


@dataclass(frozen=True, slots=True)
class Reply:
    number: int
    answer: Answer | str


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last word of a worker that ends in order: what it counted."""

    snapshot: Snapshot
