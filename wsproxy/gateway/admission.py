"""Who may enter, and how many: connections, handshakes and tunnels, by address and by route.

Owns: the live counts and rates of one worker, which outlive a reload. Pure and synchronous: the time is a parameter.
Must never import trio or sockets, nor write a status to anyone: it raises Refused.
Invariants
* What was taken is given back exactly once, by the value that `take…` returned.
* Memory is bounded: an address without connections and without a debt is forgotten, and of the others the oldest one
  is, when there are too many.
* IPv6 clients are told apart by their /64: whoever has one address has all of them (RFC 6177).
"""

import ipaddress
from collections.abc import Callable, Hashable
from typing import TypeVar

from wsproxy.errors import Refused
from wsproxy.protocol.rates import Bucket, make_bucket
from wsproxy.settings.tree import Route, WorkerLimits

MOST_ADDRESSES = 65_536
"""Addresses whose rates are remembered; counts are kept only of those that have something open."""
_HANDSHAKE_BURST_SECONDS = 1.0
_FIRST_SWEEP = 1024
_RETRY_AFTER = {429: b"1", 503: b"5"}

GiveBack = Callable[[], None]
_Key = TypeVar("_Key", bound=Hashable)


class Admission:
    """What one worker has let in."""

    __slots__ = (
        "_by_address",
        "_connections",
        "_rates",
        "_route_rates",
        "_sweep_at",
        "_tunnels",
        "_tunnels_by_address",
    )

    def __init__(self) -> None:
        self._connections: dict[None, int] = {}
        self._by_address: dict[str, int] = {}
        self._tunnels: dict[str, int] = {}
        self._tunnels_by_address: dict[tuple[str, str], int] = {}
        self._rates: dict[tuple[float, str], Bucket] = {}
        self._route_rates: dict[tuple[float, str], Bucket] = {}
        self._sweep_at = _FIRST_SWEEP

    def take_connection(self, limits: WorkerLimits) -> GiveBack:
        """One more client connection. Raises Refused 503."""
        return _take(self._connections, None, limits.max_connections, 503, "this worker is full")

    def take_address(self, limits: WorkerLimits, address: str) -> GiveBack:
        """One more connection from ``address``. Raises Refused 429."""
        cap = limits.max_connections_per_address
        return _take(self._by_address, client_key(address), cap, 429, "too many connections from this address")

    def check_handshake(self, limits: WorkerLimits, address: str, now: float) -> None:
        """One more WebSocket handshake from ``address``. Raises Refused 429."""
        rate = limits.handshakes_per_second_per_address
        if len(self._rates) >= self._sweep_at:
            self._forget(now)
        _spend(self._rates, (rate, client_key(address)), now, "too many handshakes from this address")

    def take_tunnel(self, route: Route, address: str, now: float) -> GiveBack:
        """One more handshake on ``route``, with the tunnel that it may become. Raises Refused 429 or 503."""
        limits = route.limits
        _spend(self._route_rates, (limits.handshakes_per_second, route.name), now, "too many handshakes on this route")
        leave = _take(self._tunnels, route.name, limits.max_tunnels, 503, "this route is full")
        try:
            key, cap = (route.name, client_key(address)), limits.max_tunnels_per_address
            leave_address = _take(self._tunnels_by_address, key, cap, 429, "too many tunnels from this address")
        except Refused:
            leave()
            raise

        def leave_both() -> None:
            leave()
            leave_address()

        return leave_both

    @property
    def remembered(self) -> int:
        """Addresses that something is kept of."""
        return len(self._by_address) + len(self._tunnels_by_address) + len(self._rates)

    def _forget(self, now: float) -> None:
        """Drop the rates that owe nothing, and the oldest ones of too many. Costs a pass for each doubling."""
        owing = {key: bucket for key, bucket in self._rates.items() if not bucket.full(now)}
        for key in list(owing)[: max(0, len(owing) - MOST_ADDRESSES // 2)]:
            del owing[key]
        self._rates = owing
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(owing))


def client_key(address: str) -> str:
    """What clients are told apart by: an IPv4 address, the /64 of an IPv6 address, or the word for Unix sockets."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False))


def _take(counts: dict[_Key, int], key: _Key, cap: int, status: int, detail: str) -> GiveBack:
    count = counts.get(key, 0)
    if 0 < cap <= count:
        raise _refused(status, detail)
    counts[key] = count + 1

    def give_back() -> None:
        left = counts[key] - 1
        if left:
            counts[key] = left
        else:
            del counts[key]

    return give_back


def _spend(rates: dict[tuple[float, str], Bucket], key: tuple[float, str], now: float, detail: str) -> None:
    """The rate is part of the key: one that a reload changed begins anew."""
    bucket = rates.get(key) or make_bucket(key[0], _HANDSHAKE_BURST_SECONDS, now)
    if bucket is None:
        return
    rates[key] = bucket
    if not bucket.take(1.0, now):
        raise _refused(429, detail)


def _refused(status: int, detail: str) -> Refused:
    return Refused(status, "limited", detail, ((b"Retry-After", _RETRY_AFTER[status]),))
