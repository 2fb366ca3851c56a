"""permessage-bzip2, as autobahn-python speaks it: each message is one bzip2 stream.

Owns: its parameters, its negotiation in both roles, and its codec. Imports nothing above ``errors`` but its own layer.

| parameter | in the offer | in the answer | meaning |
|---|---|---|---|
| server_max_compress_level | absent | absent | |
| | =N | =N | the server compresses with at most level N |
| client_max_compress_level | absent | absent | |
| | no value | absent or =N | the client compresses with at most level N |

Autobahn calls levels what bzip2 calls the block size: hundreds of kilobytes, and so the memory of both ends. It answers
``server_max_compress_level`` with the offer's own value, and wants no other.

Invariants: no context is kept from message to message; a message ends where its stream ends, or it is refused; a
parameter that is undefined, repeated or has an illegal value is never passed over.
"""

import bz2
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproxy.extensions.base import (
    RSV1,
    Agreed,
    Definition,
    End,
    Events,
    Extension,
    ExtensionItem,
    MessageDecoder,
    MessageEncoder,
    NegotiationError,
    Undecodable,
)

NAME = "permessage-bzip2"
_SERVER = "server_max_compress_level"
_CLIENT = "client_max_compress_level"
_LEVEL = re.compile("[1-9]")
_UNLIMITED = 9

_LEVELS = {"minimum": 1, "maximum": 9}


@dataclass(frozen=True, slots=True)
class Bzip2Settings:
    """permessage-bzip2 on one leg: the smallest messages for the most CPU."""

    level: int = field(
        default=1,
        metadata={
            "doc": "The block size with which this proxy compresses, in 100 KB: 1 to 9. A block is compressed at once, "
            "while all other tunnels wait: 5 ms for each 100 KB. Messages that fit one block gain nothing from more.",
            **_LEVELS,
        },
    )
    max_level: int = field(
        default=9,
        metadata={
            "doc": "The most with which the leg's other end shall compress, if it can be told: a decompressor takes "
            "some 370 KB of memory for each.",
            **_LEVELS,
        },
    )
    threshold: int = field(
        default=256,
        metadata={
            "doc": "Bytes; smaller messages go uncompressed. bzip2 needs some 40 bytes for any message.",
            "minimum": 0,
            "maximum": 2**31,
        },
    )


@dataclass(frozen=True, slots=True)
class Bzip2Agreed:
    """The most that each of the two ends may use; how we compress is not visible to the other one.

    :ivar level: what we compress with, if we may.
    """

    server_level: int
    client_level: int
    level: int
    threshold: int

    @property
    def label(self) -> str:
        return f"{NAME};server:{self.server_level};client:{self.client_level}"

    def encoder(self, sender: End) -> MessageEncoder:
        most = self.server_level if sender == "server" else self.client_level
        return _Encoder(min(self.level, most), self.threshold)

    def decoder(self, sender: End) -> MessageDecoder:
        return _Decoder()

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        if not isinstance(onward, Bzip2Agreed):
            return False
        if sender == "server":
            return self.server_level <= onward.server_level
        return self.client_level <= onward.client_level


class Bzip2:
    """The negotiation."""

    def __init__(self, settings: Bzip2Settings) -> None:
        self._settings = settings

    def offer(self) -> Sequence[ExtensionItem]:
        limited = self._settings.max_level < _UNLIMITED
        server = ((_SERVER, str(self._settings.max_level)),) if limited else ()
        return (ExtensionItem(NAME, ((_CLIENT, None), *server)),)

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        settings = self._settings
        for item in offered:
            try:
                asked = _read(item, offer=True)
            except NegotiationError:
                continue
            parameters: list[tuple[str, str | None]] = []
            if _SERVER in asked:
                parameters.append((_SERVER, str(asked[_SERVER])))
            client_level = _UNLIMITED
            if _CLIENT in asked and settings.max_level < _UNLIMITED:
                client_level = settings.max_level
                parameters.append((_CLIENT, str(client_level)))
            agreed = Bzip2Agreed(asked.get(_SERVER, _UNLIMITED), client_level, settings.level, settings.threshold)
            return agreed, ExtensionItem(NAME, tuple(parameters))
        return None

    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        settings = self._settings
        said = _read(answered, offer=False)
        server_level = said.get(_SERVER, _UNLIMITED)
        if server_level > settings.max_level:
            raise NegotiationError(f"the upstream answered no {_SERVER} within {settings.max_level}")
        return Bzip2Agreed(server_level, said.get(_CLIENT, _UNLIMITED), settings.level, settings.threshold)


def _read(item: ExtensionItem, *, offer: bool) -> dict[str, int]:
    """The levels of an offer or an answer; ``client_max_compress_level`` in an offer has no value, and is 9."""
    levels: dict[str, int] = {}
    for name, value in item.parameters:
        if name in levels:
            raise NegotiationError(f"{name} is given twice")
        if name == _CLIENT and offer:
            if value is not None:
                raise NegotiationError(f"{name} has a value in an offer")
            levels[name] = _UNLIMITED
        elif name in (_SERVER, _CLIENT):
            if value is None or not _LEVEL.fullmatch(value):
                raise NegotiationError(f"{name} is not 1 to 9")
            levels[name] = int(value)
        else:
            raise NegotiationError(f"{name} is no parameter of {item.name}")
    return levels


class _Encoder:
    def __init__(self, level: int, threshold: int) -> None:
        self._level = level
        self._threshold = threshold
        self._stream: bz2.BZ2Compressor | None = None

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        return not whole or len(head) >= self._threshold

    def encode(self, payload: bytes, fin: bool) -> bytes:
        stream = self._stream or bz2.BZ2Compressor(self._level)
        self._stream = None if fin else stream
        compressed = stream.compress(payload)
        return compressed + stream.flush() if fin else compressed

    @property
    def memory(self) -> int:
        # BZ2_bzCompressInit: 400 KB and eight times the block.
        return 0 if self._stream is None else 400_000 + 800_000 * self._level


class _Decoder:
    def __init__(self) -> None:
        self._stream: bz2.BZ2Decompressor | None = None
        self._input = b""
        self._fin = False
        self._more = False

    def feed(self, payload: bytes, fin: bool) -> None:
        self._input = payload
        self._fin = fin
        self._more = True

    @property
    def pending(self) -> bool:
        return self._more

    def read(self, max_output: int) -> bytes:
        stream = self._stream = self._stream or bz2.BZ2Decompressor()
        data, self._input = self._input, b""
        if stream.eof:
            plain = b""
            if data:
                raise Undecodable("data after the end of a bzip2 stream")
        else:
            try:
                plain = stream.decompress(data, max_output)
            except OSError as error:
                raise Undecodable("undecodable bzip2 data") from error
        if stream.eof and stream.unused_data:
            raise Undecodable("data after the end of a bzip2 stream")
        # What it holds back it gives without input; it wants none as long as there is some.
        self._more = not (stream.eof or stream.needs_input)
        if self._fin and not self._more:
            if not stream.eof:
                raise Undecodable("a bzip2 stream without its end")
            self._stream = None
            self._fin = False
        return plain

    @property
    def memory(self) -> int:
        # BZ2_bzDecompressInit: 100 KB and four times the largest block; which one it is stands in the stream.
        return 0 if self._stream is None else 3_700_000


def _make(settings: Bzip2Settings, events: Events) -> Extension:
    return Bzip2(settings)


DEFINITION = Definition(NAME, RSV1, Bzip2Settings, _make)
