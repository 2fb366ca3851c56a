"""One leg's negotiation of all its extensions, in both roles (RFC 6455 §9.1).

Owns: the order, which of several may be agreed on at once, and permessage-deflate's place among the others. Knows items
and no header text. Imports nothing above ``errors`` but its own layer.

Invariants: no two extensions that claim the same reserved bit are agreed on; an extension that fails here is left out,
told of, and harms no other; a leg that agreed on permessage-deflate alone has an agreement of that kind, for which the
proxy has a faster way than a chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from wsproxy.errors import ExtensionFault
from wsproxy.extensions.base import (
    RSV1,
    Agreed,
    End,
    Events,
    Extension,
    MessageDecoder,
    MessageEncoder,
    NegotiationError,
)
from wsproxy.extensions.chain import Chain, Link, Report
from wsproxy.extensions.deflate import DeflateOptions, Encoder
from wsproxy.extensions.engines import choose, choose_to_decompress
from wsproxy.extensions.guard import describe
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import (
    NAME,
    Agreement,
    Policy,
    accept,
    confirm,
    may_pass,
)

LegAgreement = Agreement | Chain | None
"""What one leg agreed on: permessage-deflate alone, anything else, or nothing."""
Items = Sequence[ExtensionItem]

MOST_OFFERS = 16
"""Items that one extension may offer."""
MOST_ITEM_BYTES = 1024
"""Of one item in the header: what is longer, the other end would refuse with the whole handshake."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One extension that a leg is willing to run.

    :ivar rsv: the reserved bits that it claims.
    :ivar events: its counters.
    """

    name: str
    rsv: int
    extension: Extension
    events: Events


def offer_all(candidates: Sequence[Candidate], report: Report) -> tuple[ExtensionItem, ...]:
    """What to ask an upstream for, best first."""
    offered: list[ExtensionItem] = []
    for candidate in candidates:
        try:
            offered += _offer(candidate)
        except BaseException as error:  # noqa: BLE001 — whatever an extension does, it is only left out
            report(ExtensionFault(candidate.name, "offer", describe(error)))
    return tuple(offered)


def accept_all(candidates: Sequence[Candidate], offered: Items, report: Report) -> tuple[LegAgreement, Items]:
    """Answer a client's offers in our order of preference; what clashes with a better one is declined."""
    links: list[Link] = []
    answer: list[ExtensionItem] = []
    taken = 0
    for candidate in candidates:
        items = [item for item in offered if item.name == candidate.name]
        if not items or candidate.rsv & taken:
            continue
        try:
            accepted = candidate.extension.accept(items)
            if accepted is None:
                continue
            agreed, item = accepted
            # Ours need not be judged, in each handshake again.
            answer.append(item if isinstance(candidate.extension, Deflate) else _checked(candidate, item))
        except NegotiationError:
            continue
        except BaseException as error:  # noqa: BLE001 — whatever an extension does, it is only left out
            report(ExtensionFault(candidate.name, "accept", describe(error)))
            continue
        links.append(_link(candidate, agreed))
        taken |= candidate.rsv
    return _agreement(links), answer


def confirm_all(candidates: Sequence[Candidate], offered: Items, answered: Items) -> LegAgreement:
    """What an upstream's answer to ``offered`` settles.

    :raises NegotiationError: it is not legal.
    :raises ExtensionFault: an extension failed; the upstream believes that it was agreed on.
    """
    links: list[Link] = []
    taken = 0
    for item in answered:
        ours = [each for each in offered if each.name == item.name]
        candidate = next((each for each in candidates if each.name == item.name), None)
        if not ours or candidate is None:
            raise NegotiationError(f"the upstream accepted an extension that was not offered: {item.name}")
        if any(link.name == item.name for link in links):
            raise NegotiationError(f"the upstream answered {item.name} twice")
        if candidate.rsv & taken:
            raise NegotiationError(f"the upstream accepted {item.name} beside another one with the same reserved bit")
        try:
            agreed = candidate.extension.confirm(ours, item)
        except NegotiationError:
            raise
        except BaseException as error:
            raise ExtensionFault(candidate.name, "confirm", describe(error)) from error
        links.append(_link(candidate, agreed))
        taken |= candidate.rsv
    return _agreement(links)


def _offer(candidate: Candidate) -> list[ExtensionItem]:
    """Raises ValueError for more than can be sent, and whatever the extension raises."""
    items = [_checked(candidate, item) for item in islice(candidate.extension.offer(), MOST_OFFERS + 1)]
    if len(items) > MOST_OFFERS:
        raise ValueError(f"it offers more than {MOST_OFFERS} items")
    return items


def _checked(candidate: Candidate, item: ExtensionItem) -> ExtensionItem:
    """An item that can stand in the header. Raises ValueError for any other; our own is not asked."""
    if isinstance(candidate.extension, Deflate):
        return item
    written = format_extension(item)
    if item.name != candidate.name or len(written) > MOST_ITEM_BYTES or parse_extensions([written]) != (item,):
        raise ValueError(f"{item!r} is no item of that name, made of tokens, of {MOST_ITEM_BYTES} bytes at most")
    return item


def _link(candidate: Candidate, agreed: Agreed) -> Link:
    return Link(candidate.name, candidate.rsv, agreed, candidate.events)


def _agreement(links: list[Link]) -> LegAgreement:
    if not links:
        return None
    chain = Chain(tuple(links))
    return chain if len(links) > 1 else deflate_of(chain) or chain


def reserved_bits(agreement: LegAgreement) -> int:
    """The reserved bits that are legal on the leg."""
    if isinstance(agreement, Chain):
        return agreement.rsv
    return RSV1 if agreement is not None else 0


def as_chain(agreement: LegAgreement, options: DeflateOptions) -> Chain | None:
    """The same agreement as a chain; ``options``: how we compress on this leg, if it is permessage-deflate alone."""
    if isinstance(agreement, Agreement):
        return Chain((Link(NAME, RSV1, DeflateAgreed(agreement, options), Events()),))
    return agreement


def deflate_of(agreement: LegAgreement) -> Agreement | None:
    """What was agreed about permessage-deflate, alone or beside others."""
    if isinstance(agreement, Chain):
        for link in agreement.links:
            # Another extension may use it as well, with bits of its own.
            if link.name == NAME and isinstance(link.agreed, DeflateAgreed):
                return link.agreed.agreement
        return None
    return agreement


class Deflate:
    """permessage-deflate as one of several extensions.

    :param options: how this proxy compresses on the leg.
    :param asking: what to offer; None: nothing, as in the server's role.
    :param match: the other leg's agreement, to which the client's is to be fitted.
    """

    def __init__(
        self,
        policy: Policy,
        options: DeflateOptions,
        asking: ExtensionItem | None = None,
        match: Agreement | None = None,
    ) -> None:
        self._policy = policy
        self._options = options
        self._asking = asking
        self._match = match

    def offer(self) -> Items:
        return () if self._asking is None else (self._asking,)

    def accept(self, offered: Items) -> tuple[Agreed, ExtensionItem] | None:
        settled = accept(offered, self._policy, self._match)
        return None if settled is None else (DeflateAgreed(settled[0], self._options), settled[1])

    def confirm(self, offered: Items, answered: ExtensionItem) -> Agreed:
        agreement = confirm(offered[0], [answered], self._policy.lenient)
        assert agreement is not None  # it was answered
        return DeflateAgreed(agreement, self._options)


@dataclass(frozen=True, slots=True)
class DeflateAgreed:
    """permessage-deflate, agreed on."""

    agreement: Agreement
    options: DeflateOptions

    @property
    def label(self) -> str:
        return self.agreement.label

    def encoder(self, sender: End) -> MessageEncoder:
        window = self.agreement.window(sender)
        return _DeflateEncoder(Encoder(choose(self.options.engine, window.bits), window, self.options))

    def decoder(self, sender: End) -> MessageDecoder:
        return Decoder(choose_to_decompress(self.options.engine), self.agreement.window(sender))

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        return isinstance(onward, DeflateAgreed) and may_pass(
            self.agreement.window(sender), onward.agreement.window(sender)
        )


class _DeflateEncoder:
    """The codec of `wsproxy.extensions.deflate` as the contract has it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        if whole and len(head) < self._encoder.threshold:
            return False
        return opcode == 1 or self._encoder.verdicts.worth(head, whole)

    def encode(self, payload: bytes, fin: bool) -> bytes:
        # Everything out at once: what another extension makes of it must not wait for the next piece.
        return self._encoder.piece(payload, True, fin)

    @property
    def memory(self) -> int:
        return self._encoder.memory
