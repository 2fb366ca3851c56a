"""Ends that speak other extensions than permessage-deflate, with nothing of wsproxy's in them, and what to agree on.

Owns: agreements by name, and the extensions of `tests.extensions.theirs` that fit each.
"""

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate

from tests.extensions.example.wsproxy_rot import NAME as ROT
from tests.extensions.example.wsproxy_rot import RotAgreed
from tests.extensions.theirs import TheirBzip2, TheirRot
from wsproxy.errors import Side
from wsproxy.extensions.base import RSV1, RSV2, Agreed, Events
from wsproxy.extensions.bzip2 import NAME as BZIP2
from wsproxy.extensions.bzip2 import Bzip2Agreed
from wsproxy.extensions.chain import Chain, Link
from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.negotiation import DeflateAgreed, LegAgreement
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.permessage_deflate import Agreement, Window

KEPT = Agreement(server=Window(15, True), client=Window(15, True))
RESET = Agreement(server=Window(12, False), client=Window(12, False))


def chain(*agreed: Agreed) -> Chain:
    links = []
    for each in agreed:
        name = each.label.partition(";")[0]
        links.append(Link(name, {DEFLATE: RSV1, BZIP2: RSV1, ROT: RSV2}[name], each, Events(("rotated",))))
    return Chain(tuple(links))


def rot(by: int = 13) -> RotAgreed:
    return RotAgreed(by, Events(("rotated",)))


def bzip2(server: int = 9, client: int = 9, threshold: int = 0) -> Bzip2Agreed:
    return Bzip2Agreed(server, client, 9, threshold)


def deflate(agreement: Agreement) -> DeflateAgreed:
    return DeflateAgreed(agreement, DeflateOptions())


CHAINS: dict[str, LegAgreement] = {
    "none": None,
    "deflate": KEPT,
    "deflate alone in each message": RESET,
    "bzip2": chain(bzip2()),
    "bzip2 of small blocks": chain(bzip2(1, 2, 100)),
    "rot": chain(rot()),
    "rot by 200": chain(rot(200)),
    "deflate, rot": chain(deflate(KEPT), rot()),
    "rot, deflate": chain(rot(), deflate(RESET)),
    "bzip2, rot": chain(bzip2(), rot()),
}


def extensions_of(side: Side, agreement: LegAgreement) -> list[Extension]:
    """What the end that sits on ``side`` needs to speak so."""
    if isinstance(agreement, Chain):
        found = [_extension(side, link.agreed) for link in agreement.links]
        return [each for each in found if each is not None]
    return [] if agreement is None else [_deflate(side, agreement)]


def _extension(side: Side, agreed: Agreed) -> Extension | None:
    match agreed:
        case DeflateAgreed(agreement):
            return _deflate(side, agreement)
        case Bzip2Agreed(server_level, client_level):
            return TheirBzip2(client_level if side is Side.CLIENT else server_level)
        case RotAgreed(by):
            return TheirRot(by)
        case _:
            return None  # the test sends what it wants as it is


def _deflate(side: Side, agreement: Agreement) -> Extension:
    mine, theirs = agreement.client, agreement.server
    if side is Side.UPSTREAM:
        mine, theirs = theirs, mine
    return PerMessageDeflate(
        remote_no_context_takeover=not theirs.takeover,
        local_no_context_takeover=not mine.takeover,
        remote_max_window_bits=theirs.bits,
        local_max_window_bits=max(9, mine.bits),
    )
