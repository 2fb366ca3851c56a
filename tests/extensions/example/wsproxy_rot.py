"""x-rot: adds a number to every byte of a message (mod 256). It protects nothing; it shows the contract.

The client offers `x-rot; by=N`, the server answers the same or declines. Messages that are rotated carry RSV2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproxy.extensions.base import (
    RSV2,
    Agreed,
    Definition,
    End,
    Events,
    Extension,
    ExtensionItem,
    MessageDecoder,
    MessageEncoder,
    NegotiationError,
)
from wsproxy.settings.about import about

NAME = "x-rot"


@dataclass(frozen=True, slots=True)
class RotSettings:
    """Adds a number to every byte."""

    by: int = field(default=13, metadata=about("The number that upstreams are offered.", minimum=1, maximum=255))


class Rot:
    """The negotiation: both ends must mean the same number."""

    def __init__(self, settings: RotSettings, events: Events) -> None:
        self._settings = settings
        self._events = events

    def offer(self) -> Sequence[ExtensionItem]:
        return [ExtensionItem(NAME, (("by", str(self._settings.by)),))]

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        for item in offered:
            try:
                return RotAgreed(_number(item), self._events), item
            except NegotiationError:
                continue
        return None

    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        if _number(answered) != self._settings.by:
            raise NegotiationError("the answer has another number than the offer")
        return RotAgreed(self._settings.by, self._events)


def _number(item: ExtensionItem) -> int:
    match item.parameters:
        case (("by", str(digits)),) if digits.isascii() and digits.isdigit() and len(digits) < 4:
            if 1 <= int(digits) <= 255:
                return int(digits)
    raise NegotiationError("x-rot takes one parameter, by, from 1 to 255")


@dataclass(frozen=True, slots=True)
class RotAgreed:
    """What was agreed: the number."""

    by: int
    events: Events

    @property
    def label(self) -> str:
        return f"{NAME};by:{self.by}"

    def encoder(self, sender: End) -> MessageEncoder:
        return RotEncoder(self.by, self.events)

    def decoder(self, sender: End) -> MessageDecoder:
        return RotDecoder(-self.by)

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        return isinstance(onward, RotAgreed) and onward.by == self.by


def table(by: int) -> bytes:
    return bytes((byte + by) % 256 for byte in range(256))


class RotEncoder(MessageEncoder):
    def __init__(self, by: int, events: Events) -> None:
        self._table = table(by)
        self._events = events

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        self._events.add("rotated")
        return True

    def encode(self, payload: bytes, fin: bool) -> bytes:
        return payload.translate(self._table)


class RotDecoder(MessageDecoder):
    def __init__(self, by: int) -> None:
        self._table = table(by)
        self._left = b""

    def feed(self, payload: bytes, fin: bool) -> None:
        self._left = payload

    @property
    def pending(self) -> bool:
        return bool(self._left)

    def read(self, max_output: int) -> bytes:
        plain, self._left = self._left[:max_output], self._left[max_output:]
        return plain.translate(self._table)


def _make(settings: RotSettings, events: Events) -> Extension:
    return Rot(settings, events)


DEFINITION = Definition(NAME, RSV2, RotSettings, _make, events=("rotated",))
