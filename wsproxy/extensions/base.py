"""The contract between wsproxy and the author of an extension (RFC 6455 §9). docs/extensions.md explains it.

Owns: what an extension must offer, and nothing of how it is used. Imports nothing above ``errors``.

An extension sees header items, payload and where messages end: never frames, masks, sockets or clocks. It need not
bound anything: who calls it counts what comes out and how often it is asked, and ends the tunnel where it must.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from wsproxy.errors import Violation, WsproxyError
from wsproxy.extensions.header import ExtensionItem

__all__ = [
    "FAULT", "RSV1", "RSV2", "RSV3", "Agreed", "Definition", "End", "Events", "Extension", "ExtensionItem",
    "MessageDecoder", "MessageEncoder", "NegotiationError", "Undecodable",
]  # fmt: skip

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
"""The reserved bits, as they stand in a frame's first byte."""

FAULT = "fault"
"""The event that wsproxy counts for every extension that broke this contract."""

MOST_COUNTED = 1 << 50
"""The most that one `Events.add` counts."""

End = Literal["client", "server"]
"""One of a leg's two ends. To the client wsproxy is the server, to the upstream the client."""


class NegotiationError(WsproxyError):
    """A parameter or an answer is not legal: its sender is at fault."""


class Undecodable(Violation):
    """A message that is not what its sender agreed to send: close code 1007 to it.

    :param reason: for the close frame, ASCII, at most 123 bytes.
    """

    def __init__(self, reason: str = "undecodable data") -> None:
        super().__init__(1007, reason)


class MessageEncoder(Protocol):
    """Transforms the messages that one end of a leg sends. What it gives is sent, in order."""

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        """Whether to transform the next message, which then carries the extension's reserved bits.

        An extension without reserved bits transforms every message.

        :param opcode: 1 for text, 2 for binary.
        :param head: the first payload at hand, maybe none; ``whole``: that is all of it.
        """
        ...

    def encode(self, payload: bytes, fin: bool) -> bytes:
        """What becomes of the next bytes, as far as it is known; at ``fin``, the message's last, all that is left."""
        ...

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        return 0


class MessageDecoder(Protocol):
    """Transforms back the messages that one end of a leg sent."""

    def feed(self, payload: bytes, fin: bool) -> None:
        """The next bytes of a message; ``fin`` with its last ones. Never called while ``pending``."""
        ...

    @property
    def pending(self) -> bool:
        """Whether ``read`` has something to do. When not, after ``fin``, the next message may come."""
        ...

    def read(self, max_output: int) -> bytes:
        """The next bytes of the message: at most ``max_output``; maybe none. Raises Undecodable."""
        ...

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        return 0


class Agreed(Protocol):
    """What one leg's opening handshake settled about the extension."""

    @property
    def label(self) -> str:
        """The extension's name and what was agreed, for logs: ``permessage-bzip2;server:9;client:9``."""
        ...

    def encoder(self, sender: End) -> MessageEncoder:
        """A new one for the messages of ``sender``, which is then our own end of the leg."""
        ...

    def decoder(self, sender: End) -> MessageDecoder:
        """A new one for the messages of ``sender``, which is then the other end of the leg."""
        ...

    def may_pass(self, onward: "Agreed", sender: End) -> bool:
        """Whether what ``sender`` transformed for this leg can be read at the other leg, which agreed on ``onward``."""
        ...


class Extension(Protocol):
    """One extension on one leg of one route, with its settings. Lives as long as the configuration."""

    def offer(self) -> Sequence[ExtensionItem]:
        """What to ask the upstream for, best first (the client's role)."""
        ...

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        """Take the first workable offer (the server's role), and answer it; None, or NegotiationError, declines."""
        ...

    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        """What the upstream's answer to our offer settles. Raises NegotiationError if it is not legal: a 502."""
        ...


class Events:
    """An extension's own counters: ``wsproxy_extension_events_total`` with the names that its definition has."""

    __slots__ = ("counts",)

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.counts = dict.fromkeys((*names, FAULT), 0)

    def add(self, event: str, amount: int = 1) -> None:
        """Count; a name that is not in the definition, or no whole number from 0 on, is a fault of the extension."""
        if event not in self.counts or not isinstance(amount, int) or not 0 <= amount <= MOST_COUNTED:
            raise ValueError(f"{event!r} is no counter, or {amount!r} cannot be counted")
        self.counts[event] += amount


SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, slots=True)
class Definition(Generic[SettingsT]):
    """An extension as it is registered: the object that an entry point of the group ``wsproxy.extensions`` names.

    :ivar name: the token in ``Sec-WebSocket-Extensions``, and the entry point's name.
    :ivar rsv: the reserved bits that a transformed message carries, `RSV1` | `RSV2` | `RSV3`; 0: none.
    :ivar settings: a frozen dataclass; its fields are bool, int, float, str, Literal of words, or tuples of one of
        these, and their metadata is made by ``wsproxy.settings.about.about``.
    :ivar make: the extension of one leg. Raises ValueError for settings that do not fit together.
    :ivar events: names of its own counters.
    """

    name: str
    rsv: int
    settings: type[SettingsT]
    make: Callable[[SettingsT, Events], Extension]
    events: tuple[str, ...] = ()

    def build(self, settings: object, events: Events) -> Extension:
        """`make` for settings whose type is known to nobody else."""
        if not isinstance(settings, self.settings):
            raise TypeError(f"{self.name} has other settings than {type(settings).__name__}")
        return self.make(settings, events)
