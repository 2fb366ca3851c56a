"""What the supervisor and a worker's process say to each other.

Owns: these messages, plain values that can be pickled. A sidecar, which is one process, never loads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsproxy.service.orders import Answer, Order
from wsproxy.settings.tree import Settings, Shutdown
from wsproxy.telemetry.snapshot import Snapshot


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
