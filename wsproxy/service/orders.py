"""What a worker can be asked and told while it serves: in its own process by a call, in another one through a channel.

Owns: these messages, plain values that can be pickled. Imports nothing that opens anything.
"""

from dataclasses import dataclass

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
    """Open no connection to an endpoint any more, or do so again; the answer says no more than that it is done."""

    endpoint: str
    draining: bool


Order = TakeSnapshot | CountTunnels | ListTunnels | CloseTunnels | DrainEndpoint
Answer = Snapshot | int | list[TunnelFacts] | bool
