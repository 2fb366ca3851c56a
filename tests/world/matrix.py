"""Which conversations are held: what each client can offer, crossed with the ways to set a route.

Must never import wsproxy.

Owns: the small matrix, in which every offer and every route takes part, and the full one, which is their product.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tests.endtoend.proxy import route
from tests.world.clients import BROWSER, FORGETFUL, Offer

FULL = os.environ.get("WORLD_MATRIX") == "full"

_CLIENT = "compression.client"
_UPSTREAM = "compression.upstream"
_RESETS = ("server_no_context_takeover", "client_no_context_takeover")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a route is set, and which variants of upstreams it is put before.

    :ivar recompress: compressed frames never pass.
    """

    name: str
    lines: tuple[str, ...]
    variants: tuple[str, ...]
    recompress: bool = False

    def part(self, variant: str, url: str, *more: str) -> str:
        """The configuration's part with this route before the upstream at ``url``."""
        return route(f"{self.name}-{variant}", url, *self.lines, *more)


def _bits(leg: str, server: int, client: int) -> tuple[str, str]:
    return f"{leg}.server_max_window_bits = {server}", f"{leg}.client_max_window_bits = {client}"


def _resets(leg: str) -> tuple[str, ...]:
    return tuple(f"{leg}.{name} = true" for name in _RESETS)


_ON = (f"{_UPSTREAM}.enabled = true",)
_WIDE = (*_ON, *_bits(_UPSTREAM, 15, 15))
_WIDE_BOTH = (*_WIDE, *_bits(_CLIENT, 15, 15))
_COMPRESSING = ("wide", "default", "forgetful", "narrow")

SETTINGS = (
    Setting("plain", (f"{_CLIENT}.enabled = false",), ("plain",)),
    Setting("deflate", (), ("plain",)),
    Setting("deflate-wide", _bits(_CLIENT, 15, 15), ("plain",)),
    Setting("deflate-small", (*_bits(_CLIENT, 9, 9), *_resets(_CLIENT)), ("plain",)),
    Setting("inflate", (f"{_CLIENT}.enabled = false", *_WIDE), _COMPRESSING),
    Setting("inflate-lenient", (f"{_CLIENT}.enabled = false", *_ON, f"{_UPSTREAM}.lenient = true"), _COMPRESSING),
    Setting("auto", _WIDE, _COMPRESSING),
    Setting("recode", ('compression.mode = "recompress"', *_WIDE), _COMPRESSING, recompress=True),
    Setting(
        "recode-forgetful",
        ('compression.mode = "recompress"', *_WIDE, *_resets(_CLIENT)),
        _COMPRESSING,
        recompress=True,
    ),
    # A client may ask for a smaller window than gorilla will ever use, and passing on is asking.
    Setting("pass", ('compression.mode = "passthrough"', f"{_UPSTREAM}.lenient = true", *_WIDE_BOTH), _COMPRESSING),
    Setting("pass-small", ('compression.mode = "passthrough"', f"{_UPSTREAM}.lenient = true", *_ON), _COMPRESSING),
    Setting(
        "blind",
        ('compression.mode = "passthrough"', "compression.verify = false", f"{_UPSTREAM}.lenient = true", *_WIDE_BOTH),
        _COMPRESSING,
    ),
)


Row = tuple[Setting, str, Offer | None]
"""One conversation: the route's setting, the variant of the upstream, what the client offers."""


def _offers(server_bits: Sequence[int | None], client_bits: Sequence[int | bool | None]) -> tuple[Offer, ...]:
    flags = (False, True)
    return tuple(Offer(*each) for each in product(flags, flags, server_bits, client_bits))


_EVERY_OFFER = (None, *_offers((None, 9, 12, 15), (None, True, 9, 15)))
_SOME_OFFERS = (
    BROWSER,
    Offer(),
    FORGETFUL,
    Offer(server_bits=9, client_bits=9),
    None,
    Offer(server_resets=True, client_bits=True),
    Offer(client_resets=True, server_bits=15, client_bits=12),
    Offer(server_bits=10, client_bits=15),
    Offer(server_bits=12),
)
_AIOHTTP = (BROWSER, Offer(server_bits=9, client_bits=True), Offer(server_bits=12, client_bits=True), None)
_OFFERS: dict[str, tuple[Offer | None, ...]] = {
    "ws": _SOME_OFFERS,
    "websockets": _SOME_OFFERS,
    "aiohttp": _AIOHTTP,
    "gorilla": (FORGETFUL, None),
    "chromium": (BROWSER,),
}
_FULL_OFFERS: dict[str, tuple[Offer | None, ...]] = {
    **_OFFERS,
    "ws": _EVERY_OFFER,
    "websockets": _EVERY_OFFER,
    "aiohttp": (None, *(Offer(server_bits=bits if bits < 15 else None, client_bits=True) for bits in range(9, 16))),
}

MESSAGES = 300 if FULL else 150
"""In each conversation of the matrix."""
MANY_MESSAGES = 20_000 if FULL else 1_200
"""In the conversations whose windows wrap many times over."""


def offers(client: str, *, full: bool = FULL) -> tuple[Offer | None, ...]:
    """What a make of client can be told to offer; None is nothing."""
    return (_FULL_OFFERS if full else _OFFERS)[client]


def conversations(client: str, variants: Collection[str], *, full: bool = FULL) -> Iterator[Row]:
    """The conversations of one make of client with upstreams that have these variants.

    The small matrix has each setting but one once, with the next variant and the next offer each time, and another make
    of client begins at another one. The full matrix is the product of all.
    """
    told = offers(client, full=full)
    start = list(_OFFERS).index(client)
    for number, setting in enumerate(SETTINGS, start):
        places = [variant for variant in setting.variants if variant in variants]
        if full:
            yield from ((setting, variant, offer) for variant, offer in product(places, told))
        elif setting.name == "auto":
            # Whether frames may pass is a matter of what the two agreements are to each other: largest and smallest.
            yield from (
                (setting, variant, offer) for variant, offer in product(dict.fromkeys((places[0], places[-1])), told)
            )
        else:
            yield setting, places[number % len(places)], told[number % len(told)]


def long_conversations(client: str, variants: Collection[str], *, full: bool = FULL) -> Iterator[Row]:
    """Conversations in which every message rests on many before it: in turn one of some settings, or all of these."""
    offer = next(offer for offer in offers(client) if offer is not None)
    settings = [setting for setting in SETTINGS if setting.name in {"recode", "pass", "deflate-wide", "inflate"}]
    start = list(_OFFERS).index(client) + len(variants)
    for setting in settings if full else [settings[start % len(settings)]]:
        # Where there is a choice, the first variant keeps the largest window.
        yield setting, next(variant for variant in setting.variants if variant in variants), offer
