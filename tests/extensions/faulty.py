"""An extension that misbehaves as it is told to, in every way in which one can break its contract.

The proxy finds it by an entry point, as if it was installed: `tests/endtoend/test_extensions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproxy.errors import Violation
from wsproxy.extensions.base import (
    RSV3,
    Agreed,
    Definition,
    End,
    Events,
    Extension,
    ExtensionItem,
    MessageDecoder,
    MessageEncoder,
)
from wsproxy.settings.about import about

NAME = "x-faulty"
OF_DECODERS = (
    "decoder cannot be made",
    "feed raises",
    "pending raises",
    "read raises",
    "read gives too much",
    "read gives text",
    "read gives nothing for ever",
    "read blames with 1000",
    "read exits",
)
OF_ENCODERS = (
    "encoder cannot be made",
    "begin raises",
    "begin gives a number",
    "encode raises",
    "encode gives text",
    "encode gives too much",
    "encode blames",
)
IN_NEGOTIATION = ("offer raises", "offer is another's", "accept raises", "accept is another's", "accept is no token")


@dataclass(frozen=True, slots=True)
class FaultySettings:
    """How to misbehave."""

    how: str = field(default="", metadata=about("One of the ways above."))


class Faulty:
    def __init__(self, settings: FaultySettings, events: Events) -> None:
        self._how = settings.how

    def offer(self) -> Sequence[ExtensionItem]:
        if self._how == "offer raises":
            raise RuntimeError("offer, as it was told to")
        return [ExtensionItem("x-other" if self._how == "offer is another's" else NAME)]

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        if self._how == "accept raises":
            raise RuntimeError("accept, as it was told to")
        name = {"accept is another's": "x-other", "accept is no token": "a\r\nb"}.get(self._how, NAME)
        return FaultyAgreed(self._how), ExtensionItem(name)

    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        if self._how == "confirm raises":
            raise RuntimeError("confirm, as it was told to")
        return FaultyAgreed(self._how)


@dataclass(frozen=True, slots=True)
class FaultyAgreed:
    how: str

    @property
    def label(self) -> str:
        if self.how == "label raises":
            raise RuntimeError("label, as it was told to")
        return NAME

    def encoder(self, sender: End) -> MessageEncoder:
        if self.how == "encoder cannot be made":
            raise RuntimeError("encoder, as it was told to")
        return FaultyEncoder(self.how)

    def decoder(self, sender: End) -> MessageDecoder:
        if self.how == "decoder cannot be made":
            raise RuntimeError("decoder, as it was told to")
        return FaultyDecoder(self.how)

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        if self.how == "may_pass raises":
            raise RuntimeError("may_pass, as it was told to")
        return True


class FaultyDecoder(MessageDecoder):
    def __init__(self, how: str) -> None:
        self._how = how
        self._left = b""

    def feed(self, payload: bytes, fin: bool) -> None:
        if self._how == "feed raises":
            raise RuntimeError("feed, as it was told to")
        self._left = payload

    @property
    def pending(self) -> bool:
        if self._how == "pending raises":
            raise RuntimeError("pending, as it was told to")
        return self._how == "read gives nothing for ever" or bool(self._left)

    def read(self, max_output: int) -> bytes:
        plain, self._left = self._left[:max_output], self._left[max_output:]
        match self._how:
            case "read raises":
                raise RuntimeError("read, as it was told to")
            case "read gives too much":
                return bytes(max_output + 1)
            case "read gives text":
                return "text"  # type: ignore[return-value]
            case "read gives nothing for ever":
                return b""
            case "read blames with 1000":
                raise Violation(1000, "of nothing")
            case "read exits":
                raise RecursionError("deep")
        return plain

    @property
    def memory(self) -> int:
        if self._how == "memory raises":
            raise RuntimeError("memory, as it was told to")
        return 7


class FaultyEncoder(MessageEncoder):
    def __init__(self, how: str) -> None:
        self._how = how

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        if self._how == "begin raises":
            raise RuntimeError("begin, as it was told to")
        return 0x70 if self._how == "begin gives a number" else True  # type: ignore[return-value]

    def encode(self, payload: bytes, fin: bool) -> bytes:
        match self._how:
            case "encode raises":
                raise RuntimeError("encode, as it was told to")
            case "encode gives text":
                return "text"  # type: ignore[return-value]
            case "encode gives too much":
                return bytes(10_000_000)
            case "encode blames":
                raise Violation(1007, "the sender")
        return payload


def _make(settings: FaultySettings, events: Events) -> Extension:
    return Faulty(settings, events)


DEFINITION = Definition(NAME, RSV3, FaultySettings, _make, ("served",))
