"""The tunnels that stand now, as the control socket and a drain find them.

Owns: their ids. Must never import trio; whoever asks gives the time.
Invariant: an id is never given twice while the service runs, so that a late `close` cannot hit another tunnel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wsproxy.errors import Side
from wsproxy.extensions.negotiation import LegAgreement
from wsproxy.gateway.endpoints import Instance
from wsproxy.network.ends import Tunnel
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import Direction
from wsproxy.service.orders import TunnelFacts
from wsproxy.settings.tree import Route
from wsproxy.telemetry.access_log import describe_legs
from wsproxy.telemetry.counters import Tallies


@dataclass(frozen=True, slots=True, eq=False)
class LiveTunnel:
    """A tunnel with what is known of it.

    :ivar client: the client's address.
    :ivar upstream: the address that the endpoint's connection really goes to.
    :ivar agreements: of each leg, indexed by `Side`.
    :ivar plans: of each flow, indexed by the `Side` that receives.
    :ivar started: when, on trio's clock.
    """

    tunnel: Tunnel
    route: Route
    instance: Instance
    client: str
    upstream: str
    tallies: Tallies
    agreements: tuple[LegAgreement, LegAgreement]
    plans: tuple[Plan, Plan]
    started: float

    @property
    def endpoint(self) -> str:
        """The endpoint's URL."""
        return self.instance.endpoint.url

    def facts(self, ident: str, now: float) -> TunnelFacts:
        """All of it in plain values, at time ``now``."""
        to_client = self.tallies[Side.CLIENT][Direction.SENT]
        from_client = self.tallies[Side.CLIENT][Direction.RECEIVED]
        return {
            "id": ident,
            "route": self.route.name,
            "upstream": self.route.upstream,
            "endpoint": self.endpoint,
            "client": self.client,
            "upstream_address": self.upstream,
            "age_seconds": round(now - self.started, 3),
            "payload_bytes_from_client": from_client.payload_bytes,
            "payload_bytes_to_client": to_client.payload_bytes,
            "wire_bytes_from_client": from_client.wire_bytes,
            "wire_bytes_to_client": to_client.wire_bytes,
            **describe_legs(self.tallies, self.agreements, self.plans),
        }


class LiveTunnels:
    """Those of one worker, oldest first."""

    def __init__(self, prefix: str) -> None:
        """``prefix``: begins every id; no two workers of a service ever have the same."""
        self._prefix = prefix
        self._last = 0
        self._tunnels: dict[LiveTunnel, str] = {}

    def __len__(self) -> int:
        return len(self._tunnels)

    def __iter__(self) -> Iterator[LiveTunnel]:
        return iter(list(self._tunnels))

    def add(self, live: LiveTunnel) -> None:
        self._last += 1
        self._tunnels[live] = f"{self._prefix}-{self._last}"

    def discard(self, live: LiveTunnel) -> None:
        self._tunnels.pop(live, None)

    def facts(self, now: float) -> Iterator[TunnelFacts]:
        """Of those that stand at the beginning; others may come and go meanwhile."""
        return (live.facts(ident, now) for live, ident in list(self._tunnels.items()))

    def at(self, instance: Instance) -> list[LiveTunnel]:
        """Those that go there."""
        return [live for live in self._tunnels if live.instance is instance]

    def chosen(self, ident: str, endpoint: str) -> list[LiveTunnel]:
        """Those that have this id and this endpoint; an empty one fits all."""
        return [live for live, own in self._tunnels.items() if ident in ("", own) and endpoint in ("", live.endpoint)]
