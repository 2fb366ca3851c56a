"""permessage-deflate: what each side may ask for, and what comes of it (RFC 7692 §7.1).

Owns: offers and answers, for both roles. Knows items, not header text, and no codec. Must never import an engine.

What a legal answer is, by what the offer said:

| parameter | in the offer | in the answer | meaning |
|---|---|---|---|
| server_no_context_takeover | absent | absent or present | present: the server resets after each message |
| | present | present | |
| client_no_context_takeover | absent | absent or present | present: the client must reset |
| | present | absent or present | a hint that binds anyway |
| server_max_window_bits | absent | absent or =M | the server limits itself |
| | =N | =M, M <= N | |
| client_max_window_bits | absent | absent | the client may use 15 |
| | no value | absent or =M | |
| | =N | absent (still <= N) or =M, M <= N | |

Invariants: a value is 8 to 15 in decimal without leading zeros, and an undefined or repeated parameter is never passed
over; an offer that cannot be met is declined, never half met; what this proxy would compress has at least 9 bits,
because no engine can deflate a raw stream with 8.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wsproxy.extensions.base import End, NegotiationError
from wsproxy.extensions.header import ExtensionItem

NAME = "permessage-deflate"
SMALLEST_TO_COMPRESS = 9
LARGEST = 15

_SERVER_RESETS = "server_no_context_takeover"
_CLIENT_RESETS = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"
_BITS = re.compile("[89]|1[0-5]")


@dataclass(frozen=True, slots=True)
class Window:
    """One direction of one agreement: what its sender compresses with.

    :ivar bits: base-two logarithm of the LZ77 window's size in bytes, 8 to 15.
    :ivar takeover: whether the window is kept from one message to the next.
    """

    bits: int
    takeover: bool

    @property
    def label(self) -> str:
        """For logs."""
        return str(self.bits) if self.takeover else f"{self.bits}:reset"


def may_pass(incoming: Window, outgoing: Window) -> bool:
    """Whether what was compressed for ``incoming`` inflates at a receiver that agreed on ``outgoing``.

    The table is in `wsproxy.protocol.plan`.
    """
    if outgoing.bits < incoming.bits:
        return False
    return outgoing.takeover or not incoming.takeover


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one leg settled: the window with which each of its two ends compresses, hints taken into account."""

    server: Window
    client: Window

    def window(self, sender: End) -> Window:
        """That of one end."""
        return self.server if sender == "server" else self.client

    @property
    def label(self) -> str:
        """The window bits of the two ends; ``reset`` marks an end without context takeover."""
        return f"{NAME};server:{self.server.label};client:{self.client.label}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one leg is willing to run.

    :ivar server_max_window_bits: 9 to 15; the most that the leg's server end shall compress with.
    :ivar client_max_window_bits: 9 to 15; the most that the leg's client end shall compress with, if it can be told.
    :ivar lenient: as a client, put up with answers that do not echo what was demanded.
    """

    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    lenient: bool = False

    def as_forgetful_as(self, other: "Policy") -> "Policy":
        """This policy, but that no end keeps a window that ``other`` does not let it keep."""
        return replace(
            self,
            server_no_context_takeover=self.server_no_context_takeover or other.server_no_context_takeover,
            client_no_context_takeover=self.client_no_context_takeover or other.client_no_context_takeover,
        )


def accept(
    items: Sequence[ExtensionItem], policy: Policy, match: Agreement | None = None
) -> tuple[Agreement, ExtensionItem] | None:
    """Answer a client's offers: the first that can be met wins (RFC 7692 §5).

    The server's own window is made smaller without a word where the offer did not ask: some clients fail an answer that
    names ``server_max_window_bits`` unasked.

    :param match: the agreement already made on the other leg. Where the offer and the policy allow it, the windows
        settled on here are such that compressed messages may pass from leg to leg untouched.
    :returns: the agreement and the item to answer with, or None to answer without the extension.
    """
    for asked in _workable(items):
        return _settle(asked, policy, match)
    return None


def _settle(
    asked: Mapping[str, int | None], policy: Policy, match: Agreement | None
) -> tuple[Agreement, ExtensionItem]:
    server_most, client_most = policy.server_max_window_bits, policy.client_max_window_bits
    server_resets = policy.server_no_context_takeover or _SERVER_RESETS in asked
    client_resets = policy.client_no_context_takeover
    server_asked = asked.get(_SERVER_BITS) or LARGEST
    if match is not None:
        # What the client sends passes if the upstream's window is no smaller, and is kept if the client's is.
        client_most = min(client_most, match.client.bits)
        client_resets = client_resets or not match.client.takeover
        # What the upstream sends passes into a window no smaller than its own. Such a window costs nothing here, where
        # nothing is compressed; but it is never kept against the policy, which may be set to keep secrets apart.
        if match.server.bits <= server_asked and not (server_resets and match.server.takeover):
            server_most = max(server_most, match.server.bits)
    server = Window(min(server_asked, server_most), not server_resets)
    client_bits = min(asked[_CLIENT_BITS] or LARGEST, client_most) if _CLIENT_BITS in asked else LARGEST
    client = Window(client_bits, not (client_resets or _CLIENT_RESETS in asked))
    limits_client = _CLIENT_BITS in asked and (asked[_CLIENT_BITS] is not None or client.bits < LARGEST)
    answer = _item(
        server_resets=not server.takeover,
        # Echoed even where silence would do: a hint binds anyway, and gorilla's client fails without it.
        client_resets=not client.takeover,
        server_bits=str(server.bits) if _SERVER_BITS in asked else None,
        client_bits=str(client.bits) if limits_client else None,
    )
    return Agreement(server, client), answer


def offer(policy: Policy) -> ExtensionItem:
    """The smallest offer that says the policy: the client's role (RFC 7692 §7.1)."""
    return _offer(
        Window(policy.server_max_window_bits, not policy.server_no_context_takeover),
        Window(policy.client_max_window_bits, not policy.client_no_context_takeover),
        limits_client=True,
    )


def mirror(items: Sequence[ExtensionItem], policy: Policy) -> ExtensionItem | None:
    """The offer for the upstream made from what the client offered, within policy: one agreement for both legs.

    ``client_max_window_bits`` is left out if the client did not offer it: the upstream could otherwise answer with a
    limit that the client cannot be told.

    :returns: None if the client offered nothing workable.
    """
    for asked in _workable(items):
        server = Window(
            min(asked.get(_SERVER_BITS) or LARGEST, policy.server_max_window_bits),
            not (policy.server_no_context_takeover or _SERVER_RESETS in asked),
        )
        # A client that says 8 may be met with 9, which holds whatever fits 8: with 8 this proxy could only pass.
        client_bits = min(asked.get(_CLIENT_BITS) or LARGEST, policy.client_max_window_bits)
        client = Window(
            max(client_bits, SMALLEST_TO_COMPRESS),
            not (policy.client_no_context_takeover or _CLIENT_RESETS in asked),
        )
        return _offer(server, client, limits_client=_CLIENT_BITS in asked)
    return None


def confirm(offered: ExtensionItem, answer: Sequence[ExtensionItem], lenient: bool = False) -> Agreement | None:
    """What the upstream's answer to our one offer settles: the client's role (RFC 7692 §5.1, §7.1).

    :param lenient: put up with a server that does not echo what was demanded of it, or that answers with a larger
        window: inflate with what it says, with 15 bits if it says nothing, and keep the window.
    :returns: None if the upstream did not take the offer.
    :raises NegotiationError: the answer names something that was not offered, or is not legal.
    """
    for item in answer:
        if item.name != offered.name:
            raise NegotiationError(f"the upstream answered with an extension that was not offered: {item.name}")
    if not answer:
        return None
    if len(answer) > 1:
        raise NegotiationError(f"the upstream answered {offered.name} {len(answer)} times")
    asked, said = _read(offered), _read(answer[0])
    return Agreement(_server_window(asked, said, lenient), _client_window(asked, said, lenient))


def _server_window(asked: Mapping[str, int | None], said: Mapping[str, int | None], lenient: bool) -> Window:
    if not lenient:
        for name in (_SERVER_RESETS, _SERVER_BITS):
            if name in asked and name not in said:
                raise NegotiationError(f"the upstream did not echo {name}")
    demanded, bits = asked.get(_SERVER_BITS) or LARGEST, said.get(_SERVER_BITS) or LARGEST
    if bits > demanded and not lenient:
        raise NegotiationError(f"the upstream answered {_SERVER_BITS}={bits} to {demanded}")
    return Window(bits, _SERVER_RESETS not in said)


def _client_window(asked: Mapping[str, int | None], said: Mapping[str, int | None], lenient: bool) -> Window:
    hint = asked.get(_CLIENT_BITS) or LARGEST
    bits = hint
    if _CLIENT_BITS in said:
        limit = said[_CLIENT_BITS]
        if _CLIENT_BITS not in asked:
            raise NegotiationError(f"the upstream answered {_CLIENT_BITS}, which was not offered")
        if limit is None:
            raise NegotiationError(f"the upstream answered {_CLIENT_BITS} without a value")
        if limit > hint and not lenient:
            raise NegotiationError(f"the upstream answered {_CLIENT_BITS}={limit} to {hint}")
        bits = min(hint, limit)
    if bits < SMALLEST_TO_COMPRESS:
        raise NegotiationError(f"the upstream wants {_CLIENT_BITS}={bits}, and no engine compresses with it")
    return Window(bits, _CLIENT_RESETS not in said and _CLIENT_RESETS not in asked)


def _workable(items: Sequence[ExtensionItem]) -> Iterator[Mapping[str, int | None]]:
    """The parameters of the offers that can be met, best first; the others are declined (RFC 7692 §7.1)."""
    for item in items:
        if item.name != NAME:
            continue
        try:
            asked = _read(item)
        except NegotiationError:
            continue
        if (asked.get(_SERVER_BITS) or LARGEST) >= SMALLEST_TO_COMPRESS:
            yield asked


def _read(item: ExtensionItem) -> Mapping[str, int | None]:
    """The parameters of one item: flags and a valueless ``client_max_window_bits`` are there with None.

    :raises NegotiationError: a parameter is undefined, repeated, or its value is not legal in any item.
    """
    parameters: dict[str, int | None] = {}
    for name, value in item.parameters:
        if name in parameters:
            raise NegotiationError(f"{name} is given twice")
        if name in (_SERVER_RESETS, _CLIENT_RESETS):
            legal = value is None
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            legal = name == _CLIENT_BITS if value is None else _BITS.fullmatch(value) is not None
        else:
            raise NegotiationError(f"{NAME} has no parameter {name}")
        if not legal:
            raise NegotiationError(f"{name}={value} is not legal" if value is not None else f"{name} lacks its value")
        parameters[name] = None if value is None else int(value)
    return parameters


def _offer(server: Window, client: Window, *, limits_client: bool) -> ExtensionItem:
    client_bits: str | None = None
    if limits_client:
        client_bits = str(client.bits) if client.bits < LARGEST else ""
    return _item(
        server_resets=not server.takeover,
        client_resets=not client.takeover,
        server_bits=str(server.bits) if server.bits < LARGEST else None,
        client_bits=client_bits,
    )


def _item(
    *, server_resets: bool, client_resets: bool, server_bits: str | None, client_bits: str | None
) -> ExtensionItem:
    """One item; a parameter with None is left out, with "" it is there without a value."""
    parameters: list[tuple[str, str | None]] = []
    if server_resets:
        parameters.append((_SERVER_RESETS, None))
    if client_resets:
        parameters.append((_CLIENT_RESETS, None))
    if server_bits is not None:
        parameters.append((_SERVER_BITS, server_bits))
    if client_bits is not None:
        parameters.append((_CLIENT_BITS, client_bits or None))
    return ExtensionItem(NAME, tuple(parameters))
