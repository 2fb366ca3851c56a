"""What the codecs of one worker's tunnels share: a cache for each route, and one budget of memory.

Owns: both, and what they mean for a route. Must never import trio; whoever asks gives the time.
Invariants: a cache belongs to one route alone; what was reserved is given back exactly once; a budget that is used up
refuses nobody, but new agreements keep no windows and so hold nothing between messages.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from wsproxy.errors import Side
from wsproxy.extensions.cache import Cache
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import AUTO, choose, choose_to_decompress
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Window
from wsproxy.protocol.meter import Meter
from wsproxy.settings.compression import LegCompression
from wsproxy.settings.routes import Route
from wsproxy.settings.tree import Settings


def make_meter() -> Meter:
    """What times the codecs of a worker's tunnels. Takes two milliseconds, to find out what timing itself costs."""
    encoder = Encoder(choose(AUTO, 12), Window(12, takeover=True), DeflateOptions())
    message = json.dumps([{"number": number, "square": number**2} for number in range(30)]).encode()
    return Meter(time.thread_time_ns, lambda: encoder.message(message))


class Codecs:
    """One worker's.

    :ivar caches: by route name.
    :ivar reserved: bytes that the codecs of its tunnels, and of those that are being agreed on, may come to hold, each
        once it is in full use.
    """

    def __init__(self, settings: Settings) -> None:
        self.reserved = 0
        self.caches: dict[str, Cache] = {}
        self._budget = 0
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Serve newcomers by these settings; a route that keeps its name and its bound keeps its cache."""
        self._budget = settings.limits.codec_memory_bytes
        former, self.caches = self.caches, {}
        for route in settings.routes:
            most = route.compression.cache_bytes
            if most:
                kept = former.get(route.name)
                self.caches[route.name] = kept if kept is not None and kept.max_bytes == most else Cache(most)

    def cache(self, route: Route) -> Cache | None:
        """What the route's tunnels share; None if it has none, or is not in force any more."""
        return self.caches.get(route.name)

    def age(self, now: float) -> None:
        """Call it about once a second; ``now`` in seconds."""
        for cache in self.caches.values():
            cache.age(now)

    @contextmanager
    def afford(self, route: Route) -> Iterator["Share"]:
        """While a newcomer enters and its tunnel lives: what it may hold counts from here on.

        Its opening handshake takes a while, in which many others may ask; so it is reserved before it is agreed on.
        """
        share = self._share(route)
        self.reserved += share.size
        try:
            yield share
        finally:
            share.settle(0)

    def _share(self, route: Route) -> "Share":
        compression = route.compression
        if not self._budget:
            return Share(self, route, 0)
        most = _most(compression.client, compression.upstream)
        if self.reserved + most <= self._budget:
            return Share(self, route, most)
        forgetful = replace(
            compression, client=_forgetful(compression.client), upstream=_forgetful(compression.upstream)
        )
        return Share(self, replace(route, compression=forgetful), 0)


class Share:
    """One tunnel's part of the budget.

    :ivar route: the tunnel's, as there is memory for it: without takeover if its agreements might not fit.
    :ivar size: bytes reserved.
    """

    __slots__ = ("_codecs", "route", "size")

    def __init__(self, codecs: Codecs, route: Route, size: int) -> None:
        self._codecs = codecs
        self.route = route
        self.size = size

    def settle(self, size: int) -> None:
        """Now it is known how many bytes the tunnel's codecs may come to hold."""
        self._codecs.reserved += size - self.size
        self.size = size


def _most(client: LegCompression, upstream: LegCompression) -> int:
    """Bytes that one tunnel's codecs may come to hold."""
    return sum(_leg_bytes(leg, side) for side, leg in ((Side.CLIENT, client), (Side.UPSTREAM, upstream)) if leg.enabled)


def _leg_bytes(leg: LegCompression, side: Side) -> int:
    ends = (leg.server_max_window_bits, leg.client_max_window_bits)
    own, far = ends if side is Side.CLIENT else reversed(ends)
    encoder = Encoder(choose(leg.engine, own), Window(own, True), leg.deflate_options)
    return encoder.capacity + Decoder(choose_to_decompress(leg.engine), Window(far, True)).capacity


def _forgetful(leg: LegCompression) -> LegCompression:
    # An upstream that does not echo the demand keeps its window, and is put up with: nobody is turned away over memory.
    return replace(leg, server_no_context_takeover=True, client_no_context_takeover=True, lenient=True)
