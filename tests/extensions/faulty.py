"""An extension that misbehaves as it is told to, in every way in which one can break its contract.

The proxy finds it by an entry point, as if it was installed: `tests/endtoend/test_extensions.py`.
"""

import itertools
import sys
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
    "read panics",
    "read raises what has no text",
    "read blames without a code",
)
OF_ENCODERS = (
    "encoder cannot be made",
    "begin raises",
    "begin gives a number",
    "encode raises",
    "encode gives text",
    "encode gives too much",
    "encode blames",
    "encode exits",
)
IN_NEGOTIATION = (
    "offer raises",
    "offer exits",
    "offer is another's",
    "offer is too long",
    "offer never ends",
    "accept raises",
    "accept exits",
    "accept is another's",
    "accept is no token",
    "accept gives no pair",
)
IN_AGREEMENTS = ("agrees on nothing",)


@dataclass(frozen=True, slots=True)
class FaultySettings:
    """How to misbehave."""

    how: str = field(default="", metadata=about("One of the ways above."))


class Panic(BaseException):
    """As what a library written in Rust raises."""


class Untold(Exception):
    """Even to tell it fails."""

    def __str__(self) -> str:
        raise RuntimeError("text, as it was told to")


class Careless(Violation):
    """Forgets what it should have called."""

    def __init__(self) -> None:
        pass


class Faulty:
    def __init__(self, settings: FaultySettings, events: Events) -> None:
        self._how = settings.how

    def offer(self) -> Sequence[ExtensionItem]:
        match self._how:
            case "offer raises":
                raise RuntimeError("offer, as it was told to")
            case "offer exits":
                sys.exit("offer, as it was told to")
            case "offer is another's":
                return [ExtensionItem("x-other")]
            case "offer is too long":
                return [ExtensionItem(NAME, (("a", "b" * 100_000),))]
            case "offer never ends":
                return itertools.repeat(ExtensionItem(NAME))  # type: ignore[return-value]
        return [ExtensionItem(NAME)]

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        match self._how:
            case "accept raises":
                raise RuntimeError("accept, as it was told to")
            case "accept exits":
                sys.exit("accept, as it was told to")
            case "accept gives no pair":
                return FaultyAgreed(self._how)  # type: ignore[return-value]
            case "agrees on nothing":
                return None, ExtensionItem(NAME)  # type: ignore[return-value]
        name = {"accept is another's": "x-other", "accept is no token": "a\r\nb"}.get(self._how, NAME)
        return FaultyAgreed(self._how), ExtensionItem(name)

    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        if self._how == "confirm raises":
            raise RuntimeError("confirm, as it was told to")
        if self._how == "confirm exits":
            sys.exit("confirm, as it was told to")
        if self._how == "agrees on nothing":
            return None  # type: ignore[return-value]
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
                sys.exit("read, as it was told to")
            case "read panics":
                raise Panic("read, as it was told to")
            case "read raises what has no text":
                raise Untold
            case "read blames without a code":
                raise Careless
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
            case "encode exits":
                sys.exit("encode, as it was told to")
            case "encode blames":
                raise Violation(1007, "the sender")
        return payload


def _make(settings: FaultySettings, events: Events) -> Extension:
    return Faulty(settings, events)


DEFINITION = Definition(NAME, RSV3, FaultySettings, _make, ("served",))
