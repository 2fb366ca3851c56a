"""What one worker counts: plain integers, prefilled for everything that the configuration names.

Owns: the numbers behind every metric except prometheus-client's own. Must never import prometheus_client, trio or
logging; `exposition` turns these into samples.
Invariants
* No total ever falls: a tunnel's tallies move from the live ones to the sum of the ended ones in one synchronous call.
* Every key is bounded by the configuration or by a closed list in this file, whatever clients and upstreams send.
* The bytes' path is not slowed: flows add to their own tallies, and a scrape does the summing.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from wsproxy.errors import Side
from wsproxy.extensions.engines import choose
from wsproxy.extensions.permessage_deflate import NAME, Agreement
from wsproxy.gateway.pools import Pool
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import FIELDS, Direction, Tally
from wsproxy.settings.tree import Route, Settings

Initiator = Literal["client", "upstream", "proxy"]
Tallies = tuple[tuple[Tally, Tally], tuple[Tally, Tally]]
"""``tallies[side][direction]``."""

DESTINATIONS = ("to_client", "to_upstream")
"""The labels of the two flows, indexed by the `Side` that receives."""
RESULTS = (
    "accepted",
    "rejected_by_upstream",
    "no_route",
    "forbidden",
    "bad_request",
    "upstream_unreachable",
    "upstream_timeout",
    "draining",
    "limited",
)
"""The ``result`` labels of the opening handshakes."""
NO_ROUTE = ""
"""The ``route`` label of a handshake that failed before a route was found."""
SIZE_BUCKETS = 32
"""Length of a list of message sizes: index ``size.bit_length()``, so index i holds 2**(i-1) to 2**i - 1 bytes. The last
one holds everything larger."""
DURATION_BOUNDS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
"""Upper bounds in seconds of the buckets of a tunnel's duration; one more bucket holds everything longer."""

_values = attrgetter(*FIELDS)
_CODES_OF_RFC_6455 = frozenset({*range(1000, 1004), *range(1005, 1016)})


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """The labels of one leg's agreement. ``window_bits`` is the server end's, 0 without an agreement."""

    side: Side
    extension: str
    takeover: Literal["both", "server", "client", "none"]
    window_bits: int


class Tunnel:
    """One live tunnel as telemetry sees it. Made by `RouteCounters.open`, ended by `RouteCounters.end`."""

    __slots__ = ("codec_memory", "tallies")

    def __init__(self, tallies: Tallies, codec_memory: Callable[[], int]) -> None:
        self.tallies = tallies
        self.codec_memory = codec_memory


class RouteCounters:
    """Everything counted under one ``route`` label. Raises EngineUnavailable if a leg's engine is not installed.

    :ivar engines: the engine's name on each leg, indexed by `Side`.
    :ivar sizes: message sizes of each flow, indexed by the `Side` that receives; flows add to these lists themselves.
    """

    __slots__ = (
        "_ended",
        "_live",
        "agreements",
        "closes",
        "duration_seconds",
        "durations",
        "engines",
        "name",
        "plans",
        "sizes",
        "tunnels_total",
        "upstream",
    )

    def __init__(self, route: Route) -> None:
        self.name = route.name
        self.upstream = route.upstream
        client, upstream = route.compression.client, route.compression.upstream
        # At each leg the proxy compresses as that leg's server or client, and the engine must fit that end's window.
        self.engines = (
            choose(client.engine, client.server_max_window_bits).name,
            choose(upstream.engine, upstream.client_max_window_bits).name,
        )
        self.sizes: tuple[list[int], list[int]] = ([0] * SIZE_BUCKETS, [0] * SIZE_BUCKETS)
        self.durations = [0] * (len(DURATION_BOUNDS) + 1)
        self.duration_seconds = 0.0
        self.tunnels_total = 0
        self.agreements: Counter[AgreementKey] = Counter()
        self.plans: dict[tuple[Side, Plan], int] = {(side, plan): 0 for side in Side for plan in Plan}
        self.closes: Counter[tuple[Initiator, str]] = Counter()
        self._live: dict[Tunnel, None] = {}
        self._ended: dict[tuple[Side, Direction], tuple[int, ...]] = {
            (side, direction): (0,) * len(FIELDS) for side in Side for direction in Direction
        }

    @property
    def tunnels_active(self) -> int:
        return len(self._live)

    def open(
        self,
        tallies: Tallies,
        agreements: tuple[Agreement | None, Agreement | None],
        plans: tuple[Plan, Plan],
        codec_memory: Callable[[], int],
    ) -> Tunnel:
        """Count a tunnel from its 101 on.

        :param agreements: of each leg, indexed by `Side`.
        :param plans: of each flow, indexed by the `Side` that receives.
        :param codec_memory: gives the bytes that the tunnel's codecs hold now; called at each scrape.
        """
        for side in Side:
            self.agreements[_agreement_key(side, agreements[side])] += 1
            self.plans[side, plans[side]] += 1
        self.tunnels_total += 1
        tunnel = Tunnel(tallies, codec_memory)
        self._live[tunnel] = None
        return tunnel

    def end(self, tunnel: Tunnel, duration_seconds: float, initiator: Initiator, code: int | None) -> None:
        """Fold a tunnel into the totals. Call once, after its flows have stopped.

        :param code: the close code, None when the close frame had none, 1006 for a connection lost without one.
        :raises KeyError: the tunnel is not a live one of this route.
        """
        del self._live[tunnel]
        for side in Side:
            for direction in Direction:
                new = _values(tunnel.tallies[side][direction])
                self._ended[side, direction] = tuple(map(int.__add__, self._ended[side, direction], new))
        self.durations[bisect_left(DURATION_BOUNDS, duration_seconds)] += 1
        self.duration_seconds += duration_seconds
        self.closes[initiator, close_label(code)] += 1

    def totals(self, side: Side, direction: Direction) -> Tally:
        """The sum of one leg and direction over ended and live tunnels.

        Column by column in C: ten thousand live tunnels are forty thousand tallies, and the loop that serves every
        tunnel's bytes stands still meanwhile.
        """
        rows = [_values(tunnel.tallies[side][direction]) for tunnel in self._live]
        rows.append(self._ended[side, direction])
        total = Tally()
        for name, column in zip(FIELDS, zip(*rows, strict=True), strict=True):
            setattr(total, name, sum(column))
        return total

    def codec_memory(self) -> int:
        """Bytes that the codecs of the live tunnels hold now, estimated."""
        return sum(tunnel.codec_memory() for tunnel in self._live)


class Counters:
    """Everything one worker counts. Prefilled, so that a series is there before its first event.

    :ivar sessions_active: live client connections by listener.
    :ivar routes: by route name.
    :ivar handshakes: opening handshakes by (route or `NO_ROUTE`, result).
    :ivar pools: whose live counts are shown as they are; the pools own them.
    """

    def __init__(self, settings: Settings, pools: Iterable[Pool] = ()) -> None:
        self.sessions_active: dict[str, int] = {listener.name: 0 for listener in settings.listeners}
        self.routes: dict[str, RouteCounters] = {route.name: RouteCounters(route) for route in settings.routes}
        self.handshakes: dict[tuple[str, str], int] = {
            (route, result): 0 for route in (*self.routes, NO_ROUTE) for result in RESULTS
        }
        self.pools = tuple(pools)


def close_label(code: int | None) -> str:
    """The bounded label of a close code (RFC 6455 §7.4): peers may choose among thousands.

    A close frame without a code counts as 1005, as in the RFC.
    """
    if code is None:
        return "1005"
    if code in _CODES_OF_RFC_6455:
        return str(code)
    if 3000 <= code <= 4999:
        return f"{code // 1000}xxx"
    return "other"


def _agreement_key(side: Side, agreement: Agreement | None) -> AgreementKey:
    if agreement is None:
        return AgreementKey(side, extension="none", takeover="none", window_bits=0)
    takeover: Literal["both", "server", "client", "none"]
    if agreement.server.takeover:
        takeover = "both" if agreement.client.takeover else "server"
    else:
        takeover = "client" if agreement.client.takeover else "none"
    return AgreementKey(side, extension=NAME, takeover=takeover, window_bits=agreement.server.bits)
