"""Several extensions on one leg, or one other than permessage-deflate: how messages go through them.

Owns: the order (RFC 6455 §9.1: encoders in that of the response, decoders in reverse), the reserved bits, and what of
an extension is believed. Imports nothing above ``errors`` but its own layer.

Invariants
* Whatever an extension does but block, it ends one tunnel: an exception, output over what was asked for, and calls
  without end become ExtensionFault, and only its decoder may blame the sender (Violation).
* An extension marks no message with bits that it does not claim, and reads none that does not carry its bits.
* Between two decoders lies one read's output at most, and what passes there is bounded as the whole message is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from wsproxy.errors import ExtensionFault, Violation, WsproxyError
from wsproxy.extensions.base import FAULT, Agreed, End, Events, MessageDecoder, MessageEncoder
from wsproxy.extensions.guard import describe, guarded

IDLE_READS = 1000
"""Calls of a decoder in a row that may give nothing although there is something to do."""
GROWTH = 8
"""Bytes that an encoder may make of one, beyond `SLACK` bytes for each message."""
SLACK = 64 * 1024
_MOST_MEMORY = 1 << 50
_SENDERS_FAULTS = frozenset({1002, 1003, 1007, 1008, 1009})

Report = Callable[[ExtensionFault], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """One extension as a leg agreed on it. ``rsv``: the bits that its messages carry; ``events``: its counters."""

    name: str
    rsv: int
    agreed: Agreed
    events: Events


@dataclass(frozen=True, slots=True)
class Chain:
    """What a leg agreed on, in the order of the response header."""

    links: tuple[Link, ...]

    @property
    def rsv(self) -> int:
        """The reserved bits that are legal on this leg."""
        bits = 0
        for link in self.links:
            bits |= link.rsv
        return bits

    @property
    def names(self) -> str:
        """The value of the ``extension`` label."""
        return "+".join(link.name for link in self.links)

    @property
    def label(self) -> str:
        """What was agreed, for logs."""
        return "+".join(_label(link) for link in self.links)

    def may_pass(self, onward: "Chain", sender: End, report: Report) -> bool:
        """Whether the messages of ``sender`` can travel on the other leg as they are: every extension must say so."""
        if [link.name for link in self.links] != [link.name for link in onward.links]:
            return False
        for link, other in zip(self.links, onward.links, strict=True):
            try:
                if guarded(link.name, "may_pass", partial(_may_pass, link, other, sender)) is not True:
                    return False
            except ExtensionFault as fault:
                report(fault)
                return False
        return True


def _may_pass(link: Link, onward: Link, sender: End) -> bool:
    return link.agreed.may_pass(onward.agreed, sender)


def _label(link: Link) -> str:
    try:
        return guarded(link.name, "label", lambda: str(link.agreed.label))
    except ExtensionFault:
        link.events.add(FAULT)
        return link.name


class _Decoding:
    """One extension's decoder, guarded; made when the first message needs it.

    :ivar fin: the end of the message was fed, and is not passed on yet.
    """

    __slots__ = ("_decoder", "_idle", "_link", "_sender", "fin", "given")

    def __init__(self, link: Link, sender: End) -> None:
        self._link = link
        self._sender: End = sender
        self._decoder: MessageDecoder | None = None
        self._idle = 0
        self.fin = False
        self.given = 0

    @property
    def rsv(self) -> int:
        return self._link.rsv

    def feed(self, payload: bytes, fin: bool) -> None:
        self._call(lambda decoder: decoder.feed(payload, fin))
        self.fin = fin

    @property
    def pending(self) -> bool:
        return self._decoder is not None and self._call(lambda decoder: bool(decoder.pending))

    def read(self, max_output: int) -> bytes:
        plain = self._call(lambda decoder: decoder.read(max_output))
        if not isinstance(plain, bytes) or len(plain) > max_output:
            size = len(plain) if isinstance(plain, bytes) else type(plain).__name__
            raise self._fault(f"it gave {size} where at most {max_output} bytes were asked for")
        self.given += len(plain)
        self._idle = 0 if plain else self._idle + 1
        if self._idle > IDLE_READS:
            raise self._fault(f"it gave nothing in {IDLE_READS} calls, and says that there is more")
        return plain

    def begin(self) -> None:
        self.fin = False
        self.given = self._idle = 0

    @property
    def memory(self) -> int:
        return 0 if self._decoder is None else _memory(self._link, self._decoder)

    def _call(self, call: Callable[[MessageDecoder], T]) -> T:
        try:
            if self._decoder is None:
                self._decoder = self._link.agreed.decoder(self._sender)
            return call(self._decoder)
        except Violation as violation:
            raise self._blamed(violation) from violation
        except BaseException as error:
            raise self._fault(describe(error)) from error

    def _blamed(self, violation: Violation) -> WsproxyError:
        """What comes of a violation that the decoder raised: the sender's fault, if it can be."""
        # Its class may be the extension's own, and then it need not have what ours has.
        code = getattr(violation, "code", None)
        if type(code) is not int or code not in _SENDERS_FAULTS:
            return self._fault(f"it blames the sender with {code if type(code) is int else 'no code'}")
        reason = getattr(violation, "reason", "")
        text = reason.encode("ascii", "replace").decode("ascii") if isinstance(reason, str) else ""
        return Violation(code, text[:120])

    def _fault(self, detail: str) -> ExtensionFault:
        return ExtensionFault(self._link.name, "decode", detail)


class ChainDecoder:
    """Takes payload as it travelled and gives it as it was meant, like `wsproxy.extensions.inflate.Decoder`.

    :param sender: the end of the leg whose messages these are.
    :param max_message_bytes: what a message may become, also between two extensions.
    """

    __slots__ = ("_active", "_most", "_stages")

    def __init__(self, chain: Chain, sender: End, max_message_bytes: int) -> None:
        self._stages = [_Decoding(link, sender) for link in reversed(chain.links)]
        self._active: list[_Decoding] = []
        self._most = max_message_bytes + max_message_bytes // 8 + 1024

    def begin(self, bits: int) -> bool:
        """A message begins that carries these reserved bits; whether anything is to be decoded.

        :raises Violation: some but not all bits of an extension are set.
        """
        self._active = []
        for stage in self._stages:
            carried = bits & stage.rsv
            if carried == stage.rsv:
                stage.begin()
                self._active.append(stage)
            elif carried:
                raise Violation(1002, "reserved bits that belong together are not set together")
        return bool(self._active)

    def feed(self, payload: bytes, fin: bool) -> None:
        """The next bytes of a message; ``fin`` with its last ones. Read while ``pending`` before feeding again."""
        self._active[0].feed(payload, fin)

    @property
    def pending(self) -> bool:
        """Whether ``read`` has something to do."""
        return any(stage.pending for stage in self._active) or any(stage.fin for stage in self._active[:-1])

    def read(self, max_output: int) -> bytes:
        """One step of one extension: the next bytes, at most ``max_output``; maybe none.

        :raises Violation: the sender is at fault.
        :raises ExtensionFault: the extension is.
        """
        last = len(self._active) - 1
        for index in range(last, -1, -1):
            stage = self._active[index]
            pending = stage.pending
            if not pending and (index == last or not stage.fin):
                continue
            out = stage.read(max_output) if pending else b""
            if index == last:
                return out
            if stage.given > self._most:
                raise Violation(1009, "message too large between two extensions")
            ended = stage.fin and not stage.pending
            if ended:
                stage.fin = False
            if out or ended:
                self._active[index + 1].feed(out, ended)
            return b""
        return b""

    def release(self) -> None:
        """Nothing is given back between messages: what an extension keeps there, it needs."""

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        return sum(stage.memory for stage in self._stages)

    @property
    def capacity(self) -> int:
        """Bytes that it may come to hold between messages: what it holds, since extensions tell no more."""
        return self.memory


class _Encoding:
    """One extension's encoder, guarded; made when the first message needs it."""

    __slots__ = ("_encoder", "_given", "_link", "_sender", "_taken")

    def __init__(self, link: Link, sender: End) -> None:
        self._link = link
        self._sender: End = sender
        self._encoder: MessageEncoder | None = None
        self._taken = self._given = 0

    @property
    def rsv(self) -> int:
        return self._link.rsv

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        self._taken = self._given = 0
        transforms = self._call(lambda encoder: encoder.begin(opcode, head, whole))
        if transforms is not True and (transforms is not False or not self.rsv):
            raise self._fault(f"asked whether it transforms a message, it says {transforms!r}")
        return transforms

    def encode(self, payload: bytes, fin: bool) -> bytes:
        coded = self._call(lambda encoder: encoder.encode(payload, fin))
        if not isinstance(coded, bytes):
            raise self._fault(f"it gave {type(coded).__name__}, and no bytes")
        self._taken += len(payload)
        self._given += len(coded)
        if self._given > GROWTH * self._taken + SLACK:
            raise self._fault(f"it made {self._given} bytes of {self._taken}")
        return coded

    @property
    def memory(self) -> int:
        return 0 if self._encoder is None else _memory(self._link, self._encoder)

    def _call(self, call: Callable[[MessageEncoder], T]) -> T:
        try:
            if self._encoder is None:
                self._encoder = self._link.agreed.encoder(self._sender)
            return call(self._encoder)
        except BaseException as error:
            raise self._fault(describe(error)) from error

    def _fault(self, detail: str) -> ExtensionFault:
        return ExtensionFault(self._link.name, "encode", detail)


class ChainEncoder:
    """Takes payload and gives it as it is to travel.

    :param sender: our end of the leg.
    :ivar bits: the reserved bits of the message under way, once a piece of it was taken.
    :ivar transformed: some extension works on it.
    """

    __slots__ = ("_active", "_opcode", "_stages", "bits", "transformed")

    def __init__(self, chain: Chain, sender: End) -> None:
        self._stages = [_Encoding(link, sender) for link in chain.links]
        self._active: list[_Encoding] | None = None
        self._opcode = 0
        self.bits = 0
        self.transformed = False

    def begin(self, opcode: int) -> None:
        """A message begins."""
        self._opcode = opcode
        self._active = None
        self.bits = 0
        self.transformed = False

    @property
    def began(self) -> bool:
        """``bits`` are those of the message under way."""
        return self._active is not None

    def piece(self, payload: bytes, frame_end: bool, fin: bool) -> bytes:
        """A piece of a frame; what comes out belongs to the same frame, or to a later one.

        :param fin: whether the frame is its message's last one.
        :raises ExtensionFault: an extension broke its contract.
        """
        ends = frame_end and fin
        out = payload
        if self._active is not None:
            for stage in self._active:
                out = stage.encode(out, ends)
            return out
        if not payload and not frame_end:
            return b""
        self._active = []
        for stage in self._stages:
            if stage.begin(self._opcode, out, ends):
                self._active.append(stage)
                self.bits |= stage.rsv
                self.transformed = True
                out = stage.encode(out, ends)
        return out

    def release(self) -> None:
        """Nothing is given back between messages."""

    @property
    def memory(self) -> int:
        """Bytes held, an estimate."""
        return sum(stage.memory for stage in self._stages)

    @property
    def capacity(self) -> int:
        """As `ChainDecoder.capacity`."""
        return self.memory


def _memory(link: Link, codec: MessageEncoder | MessageDecoder) -> int:
    try:
        held = guarded(link.name, "memory", lambda: int(codec.memory))
    except ExtensionFault:
        held = -1
    if 0 <= held <= _MOST_MEMORY:
        return held
    link.events.add(FAULT)
    return 0
