"""What is fuzzed: each target takes any bytes, and fails with an AssertionError or any other exception on a fault.

Owns: reading a test case out of bytes, and the laws. Knows no fuzzer: the seeds and the findings run as ordinary tests.
"""

import zlib
from collections.abc import Callable, Mapping

from websockets.frames import Frame

from tests.extensions.streams import TAIL
from tests.protocol.joined import AGREEMENTS, DEFAULTS, Joined
from tests.protocol.test_lane import TIGHT, deflated, frame, told
from wsproxy.errors import Side, Violation
from wsproxy.extensions.base import NegotiationError
from wsproxy.extensions.engines import available
from wsproxy.extensions.header import ExtensionHeaderError, format_extension, parse_extensions
from wsproxy.extensions.inflate import Decoder, MemberFlood
from wsproxy.extensions.permessage_deflate import Policy, Window, accept, confirm, offer
from wsproxy.protocol.flow import HIGH_WATER
from wsproxy.protocol.proxy_protocol import BadProxyHeader, HeaderReader, Told, encode

_AGREEMENTS = list(AGREEMENTS.values())
_MOST_INFLATED = 1 << 16
"""Bytes of one message of `inflate`: what is larger is left alone."""

_FINAL_BLOCK = b"\x03\x00"
"""Empty, with the fixed code."""


class Source:
    """Small choices and the rest of the bytes; once there are no more, every choice is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, bound: int) -> int:
        taken = self.take(1)
        return taken[0] % bound if taken else 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def some(self) -> bytes:
        """Up to 255 bytes, as many as the next byte says."""
        return self.take(self.below(256))

    def rest(self) -> bytes:
        return self.take(len(self._data))


def header_grammar(data: bytes) -> None:
    """Any field is refused whole, or is read as it is written; what is negotiated of it can be confirmed."""
    try:
        items = parse_extensions(data.split(b"\n"))
    except ExtensionHeaderError:
        return
    assert parse_extensions([b", ".join(map(format_extension, items))]) == items
    for policy in (Policy(), Policy(15, 15), Policy(9, 10, True, True)):
        answered = accept(items, policy)
        if answered is not None:
            agreement, item = answered
            assert 9 <= agreement.server.bits <= policy.server_max_window_bits
            assert 9 <= agreement.client.bits <= 15
            assert parse_extensions([format_extension(item)]) == (item,)
        for lenient in (False, True):
            try:
                confirm(offer(policy), items, lenient)
            except NegotiationError:
                continue


def proxy_header(data: bytes) -> None:
    """In any pieces the same is read or refused, and what was read is written and read again as it was."""
    outcomes = [_read_header(data, step) for step in (1, 3, len(data) or 1)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    told = outcomes[0]
    if isinstance(told, Told) and isinstance(told.source, tuple):
        for version in ("v1", "v2"):
            assert _read_header(encode(version, told.source, told.destination), 1 << 16) == told


def _read_header(data: bytes, step: int) -> Told | str | None:
    reader = HeaderReader("any")
    told = None
    while told is None and data:
        size = min(step, reader.wanted)
        assert size >= 1
        try:
            told = reader.feed(data[:size])
        except BadProxyHeader as refused:
            return str(refused)
        data = data[size:]
    return told


def frame_scanning(data: bytes) -> None:
    """The lane law for any bytes: with the fast lane and without it, the same leaves."""
    source = Source(data)
    side = Side(source.below(2))
    client, upstream = _AGREEMENTS[source.below(5)], _AGREEMENTS[source.below(5)]
    verify = bool(source.below(2))
    limits = (DEFAULTS, TIGHT)[source.below(2)]
    size = (1, 2, 3, 7, 64, 1 << 16)[source.below(6)]
    stream = _frames(source, side)
    outcomes = []
    for fast_lane in (False, True):
        joined = Joined(client, upstream, verify=verify, limits=limits, fast_lane=fast_lane)
        for start in range(0, len(stream), size):
            joined.send_raw(side, stream[start : start + size])
        joined.run()
        outcomes.append(told(joined))
    assert outcomes[0] == outcomes[1]


def _frames(source: Source, side: Side) -> bytes:
    """Frames that are mostly well formed, for bytes alone hardly ever are."""
    parts: list[bytes] = []
    while source:
        match source.below(4):
            case 0:
                parts.append(source.some())
            case 1:
                parts.append(frame(0xC1 + source.below(2), deflated(source.some()), side is Side.CLIENT))
            case form:
                parts.append(frame(source.below(256), source.some(), side is Side.CLIENT, form % 2 * source.below(3)))
    return b"".join(parts)


def inflate(data: bytes) -> None:
    """Every engine's decoder gives what plain zlib gives, or fails where it fails, however it is fed and read."""
    source = Source(data)
    takeover = bool(source.below(2))
    step = (1, 5, 100, 65_536)[source.below(4)]
    cut = source.below(256) + 1
    messages: list[bytes] = []
    while source and len(messages) < 4:
        messages.append(source.some() if source.below(2) else source.rest())
    wanted = _inflated_by_zlib(messages, takeover)
    for engine in available().values():
        decoder = Decoder(engine, Window(15, takeover))
        for message, text in zip(messages, wanted, strict=False):
            try:
                found = _decoded(decoder, message, cut, step)
            except MemberFlood:
                break
            except Violation:
                assert text is None, f"{engine.name} cannot read what zlib reads"
                break
            if text is None or len(found) > _MOST_INFLATED:
                # What is over the bound is not looked at. Data that is broken: an engine may be more forgiving.
                break
            assert found == text, f"{engine.name} reads something else than zlib"


def _decoded(decoder: Decoder, message: bytes, cut: int, step: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for piece, fin in ((message[:cut], False), (message[cut:], True)):
        decoder.feed(piece, fin)
        while decoder.pending and size <= _MOST_INFLATED:
            parts.append(decoder.read(step))
            assert len(parts[-1]) <= step
            size += len(parts[-1])
    return b"".join(parts)


def _inflated_by_zlib(messages: list[bytes], takeover: bool) -> list[bytes | None]:
    """Each message's text; None for the first that is broken or too large, which is the last."""
    texts: list[bytes | None] = []
    history = b""
    stream = zlib.decompressobj(-15)
    for message in messages:
        if not takeover:
            history, stream = b"", zlib.decompressobj(-15)
        if not message:
            # Not even the byte that an empty message must have (RFC 7692 §7.2.3.6): taken for one all the same.
            texts.append(b"")
            continue
        text, rest, ended = b"", message + TAIL, False
        try:
            while rest and not (ended and rest == TAIL):
                text += stream.decompress(rest, _MOST_INFLATED + 2 - len(text))
                rest, ended = stream.unused_data, stream.eof
                if len(text) > _MOST_INFLATED:
                    return [*texts, None]
                if ended and 0 < len(rest) < len(TAIL):
                    return [*texts, None]  # the final block's own end was missing: it took some of the tail
                if ended:
                    stream = zlib.decompressobj(-15, (history + text)[-32_768:])
                elif not rest:
                    break
            # At the end of a message a block could begin. Where none could, engines differ in when they say so.
            probe = stream.copy()
            if not ended and (probe.decompress(_FINAL_BLOCK) or not probe.eof):
                return [*texts, None]
        except zlib.error:
            return [*texts, None]
        texts.append(text)
        history = (history + text)[-32_768:]
    return texts


def relay(data: bytes) -> None:
    """Whatever two sides send and however they end: what leaves is legal, bounded, and it comes to an end."""
    source = Source(data)
    client, upstream = _AGREEMENTS[source.below(5)], _AGREEMENTS[source.below(5)]
    limits = (DEFAULTS, TIGHT)[source.below(2)]
    joined = Joined(client, upstream, limits=limits, fast_lane=bool(source.below(2)))
    machine = joined.relay
    now = 0.0
    gone: set[Side] = set()
    while source:
        now += 1
        side = Side(source.below(2))
        action = source.below(12)
        if action == 0:
            machine.drain(1001, now)
        elif side in gone:
            continue
        elif action == 1:
            machine.ended(side, now)
            gone.add(side)
        elif action == 2:
            machine.lost(side, now)
            gone.add(side)
        elif action == 3:
            joined.run()
        elif machine.wants_input(side, True):
            machine.receive(side, _frames(Source(source.some()), side), now)
            _settle(joined, side, now)
    machine.expire()
    for side in Side:
        joined._deliver(side)
        _check(joined, side)
    # A drain that waits for the end of a message has no deadline of its own yet.
    assert machine.ending is None or machine.deadline <= now + 5 or machine.ending.initiator == "proxy"


def _settle(joined: Joined, side: Side, now: float) -> None:
    while joined.relay.backlog(side):
        assert joined.relay._legs[side.other].outbox_bytes <= 2 * HIGH_WATER + 262_144
        joined._deliver(side.other)
        joined.relay.resume(side, now)


def _check(joined: Joined, side: Side) -> None:
    """An independent end finds nothing wrong with what it got."""
    end = joined.ends[side]
    # websockets holds that no close may cut a message short; RFC 6455 §5.4 lets control frames come between fragments.
    assert str(end.parser_exc) in ("None", "incomplete fragmented message"), f"the {side.label} got {end.parser_exc!r}"
    closes = [each for each in joined.received[side] if isinstance(each, Frame) and each.opcode == 8]
    assert len(closes) <= 1
    assert not closes or bytes(closes[0].data[:2]) not in (b"\x03\xed", b"\x03\xee", b"\x03\xf7")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "header_grammar": header_grammar,
    "proxy_header": proxy_header,
    "frame_scanning": frame_scanning,
    "inflate": inflate,
    "relay": relay,
}
