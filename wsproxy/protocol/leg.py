"""One side's WebSocket conversation: frames in, events out; data and control frames out.

Owns one `wsproto.Connection`, which is the law for everything a side sends: frame headers, masking, fragmentation,
control frames, close codes. Three things are ours, through wsproto's public extension seam and beside it:

* inbound payload stays raw bytes (a proxy needs no `str`, and inflating is the flow's business);
* an oversize frame is refused by its header, before any payload is kept;
* outgoing frames are written by `frames`: wsproto masks slowly and would own the reserved bits.

Never imports sockets, clocks or logs. Invariants: input is parsed only as far as events are asked for, so a caller that
stops asking stops the work; nothing is written after our close frame; wsproto sees every byte that arrives but whole
messages and a last whole close frame, and is not made before it has something to see.
"""

import os
from collections import deque
from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, Pong
from wsproto.frame_protocol import CloseReason

from wsproxy.errors import Side, Violation
from wsproxy.protocol import frames
from wsproxy.protocol.events import CloseFrame, LegEvent, Piece, PingFrame, PongFrame
from wsproxy.protocol.limits import Limits
from wsproxy.protocol.tap import Tap

_TEXT = frames.FIN | frames.TEXT
_TEXT_RUN = _TEXT | frames.RSV1
_BINARY_RUN = frames.FIN | frames.RSV1 | frames.BINARY
_WHOLE = frozenset({_TEXT, frames.FIN | frames.BINARY})
_WHOLE_COMPRESSED = _WHOLE | {_TEXT_RUN, _BINARY_RUN}
_PING = frames.FIN | frames.PING
_PONG = frames.FIN | frames.PONG
_CLOSE = frames.FIN | frames.CLOSE


class Leg:
    """One side's conversation after the 101.

    :param side: which side the proxy talks to here; towards the client it is the server and does not mask.
    :param limits: bounds on what that side may send.
    :param rsv: the reserved bits that its messages may carry, by what was agreed.
    """

    __slots__ = (
        "_at",
        "_fragments",
        "_head",
        "_in_message",
        "_input",
        "_largest",
        "_limits",
        "_masked",
        "_missing",
        "_opcode",
        "_outbox",
        "_rsv",
        "_stirred",
        "_tap",
        "_whole",
        "_write_frame",
        "_wsproto",
        "close_received",
        "close_sent",
        "outbox_bytes",
        "side",
    )

    def __init__(self, side: Side, limits: Limits, *, rsv: int) -> None:
        self.side = side
        self.close_sent = False
        self.close_received = False
        self._limits = limits
        self._rsv = rsv
        self._wsproto: Connection | None = None
        self._write_frame = frames.plain_frame if side is Side.CLIENT else frames.masked_frame
        self._masked = frames.MASKED if side is Side.CLIENT else 0
        self._whole = _WHOLE_COMPRESSED if rsv & frames.RSV1 else _WHOLE
        self._largest = min(limits.max_frame_bytes, limits.max_message_bytes)
        self._fragments = 0
        self._opcode = frames.BINARY
        # Input that wsproto has not seen, from `_at` on; the frame that it is in the midst of.
        self._input = b""
        self._at = 0
        self._head = b""
        self._missing = 0
        self._in_message = False
        self._stirred = False
        self._outbox: deque[bytes] = deque()
        self.outbox_bytes = 0

    # --- what this side sends us

    def feed(self, data: bytes) -> None:
        """Keep what arrived; `next_event` and `whole_messages` parse it. After this side's close nothing is kept."""
        if not self.close_received:
            self._input = self._input[self._at :] + data if self._at < len(self._input) else data
            self._at = 0

    def rest(self) -> None:
        """Give back the last read, once all of it is parsed."""
        if self._at >= len(self._input):
            self._input = b""
            self._at = 0

    def next_event(self, *, may_wait: bool = False) -> LegEvent | None:
        """The next thing this side said, or None when more bytes are needed.

        :param may_wait: a cut frame may wait for its end (`is_cut`); else what there is of it comes as a piece.
        :raises Violation: it broke RFC 6455 or a limit; nothing more can be read from it.
        """
        while True:
            if self._stirred:
                event = self._parsed()
                if event is not None:
                    return event
                self._stirred = False
            if self._at >= len(self._input) or (may_wait and self.is_cut()):
                return None
            (self._wsproto or self._make_wsproto()).receive_data(self._next_bytes())
            self._stirred = True

    def _make_wsproto(self) -> Connection:
        # Many a tunnel carries whole messages and ends: it never needs one.
        self._tap = Tap(self._limits, self._rsv)
        role = ConnectionType.SERVER if self.side is Side.CLIENT else ConnectionType.CLIENT
        self._wsproto = Connection(role, [self._tap])
        return self._wsproto

    def _parsed(self) -> LegEvent | None:
        assert self._wsproto is not None
        for event in self._wsproto.events():
            match event:
                case Message():
                    return self._piece(event)
                case Ping():
                    return PingFrame(bytes(event.payload))
                case Pong():
                    return PongFrame(bytes(event.payload))
                case CloseConnection():
                    return self._close_frame(event)
                case _:
                    raise AssertionError(f"wsproto yielded {event!r} after the opening handshake")
        return None

    def _next_bytes(self) -> bytes:
        """Input up to the end of one frame, so that wsproto never holds more than what one event needs."""
        data, at = self._input, self._at
        if not self._missing:
            head = self._head + data[at : at + 14]
            size = frames.frame_size(head)
            if size is None:
                self._head = head
                self._at = len(data)
                return data[at:]
            self._missing = size - len(self._head)
            self._head = b""
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        self._at = end
        return data[at:end]

    def whole_messages(self) -> Iterator[tuple[int, bytes]]:
        """Messages that lie whole and unfragmented in the input: first byte of the frame and unmasked payload.

        Stops at the first frame that is anything else, legal or not: that is for `next_event`. May be left early.
        """
        if self._missing or self._head or self._in_message or self.close_received:
            return
        data, masked, allowed, largest = self._input, self._masked, self._whole, self._largest
        at, end = self._at, len(self._input)
        while at + 2 <= end:
            first, size = data[at], data[at + 1] ^ masked
            if first not in allowed:
                return
            start = at + 2
            if size > 125:
                # 127 and a missing or unexpected mask bit (which leaves a number over 127) are not for here either.
                if size != 126 or at + 4 > end:
                    return
                size = data[at + 2] << 8 | data[at + 3]
                start = at + 4
                if size < 126:
                    return
            if masked:
                start += 4
            at = start + size
            if at > end or size > largest:
                return
            self._at = at
            payload = data[start:at]
            yield first, frames.apply_mask(payload, data[start - 4 : start]) if masked else payload

    def compressed_run(self, most: int) -> tuple[bytes, int, int]:
        """Whole compressed messages at the beginning of the input, as they came, headers included; masked ones never.

        Returns the bytes, how many messages they are (at most ``most``), and how many of them are text. A blind pass
        from an upstream to a client is a copy: looking at each header is all that is left to do.
        """
        if self._masked or self._missing or self._head or self._in_message or self.close_received:
            return b"", 0, 0
        data, largest, at, end = self._input, self._largest, self._at, len(self._input)
        count = texts = 0
        while at + 4 <= end and count < most:
            first, size = data[at], data[at + 1]
            if size < 126:
                after = at + 2 + size
            elif size == 126 and (size := data[at + 2] << 8 | data[at + 3]) > 125:
                after = at + 4 + size
            else:
                break
            if first == _TEXT_RUN:
                texts += 1
            elif first != _BINARY_RUN:
                break
            if after > end or size > largest:
                texts -= first == _TEXT_RUN
                break
            count += 1
            at = after
        run = data[self._at : at]
        self._at = at
        return run, count, texts

    def is_cut(self) -> bool:
        """The input is the beginning of a whole message's frame, and can wait for its end.

        What the lane does not carry costs some thirty times as much, and of a saturated feed every read ends so. Text
        that is not ASCII cannot wait, nor can masked text: if it is not UTF-8, it has to fail as soon as it arrives.
        """
        if self._missing or self._head or self._in_message or self._stirred or self.close_received:
            return False
        data, at, end = self._input, self._at, len(self._input)
        if at + 4 > end or data[at] not in self._whole:
            return False
        size, start = data[at + 1] ^ self._masked, at + 2
        if size > 125:
            if size != 126:
                return False
            size, start = data[at + 2] << 8 | data[at + 3], at + 4
            if size < 126:
                return False
        if self._masked:
            start += 4
        if size > self._largest or start + size <= end:
            return False
        return data[at] != _TEXT or (not self._masked and data[start:].isascii())

    def whole_message(self, data: bytes) -> tuple[int, bytes] | None:
        """What `whole_messages` would yield for ``data``, if that is one message and nothing else; else None.

        Nothing may have been fed that was not taken out again; what is returned need not be fed.
        """
        size = len(data)
        if size < 2 or self._missing or self._at < len(self._input) or self._in_message or self._head:
            return None
        first, length, start = data[0], data[1] ^ self._masked, 2
        if length > 125:
            if length != 126 or size < 4:
                return None
            length, start = data[2] << 8 | data[3], 4
            if length < 126:
                return None
        if self._masked:
            start += 4
        if start + length != size or first not in self._whole or length > self._largest or self.close_received:
            return None
        payload = data[start:]
        return first, frames.apply_mask(payload, data[start - 4 : start]) if self._masked else payload

    def whole_close(self) -> CloseFrame | None:
        """What `next_event` would give, if that is a legal close frame that lies whole in the input; else None."""
        if self._missing or self._head or self._in_message or self._stirred or self.close_received:
            return None
        data, at = self._input, self._at
        if at + 2 > len(data) or data[at] != _CLOSE:
            return None
        size, start = data[at + 1] ^ self._masked, at + (6 if self._masked else 2)
        end = start + size
        if size > 125 or end > len(data):
            return None
        payload = data[start:end]
        said = frames.read_close(frames.apply_mask(payload, data[start - 4 : start]) if self._masked else payload)
        if said is None:
            return None
        self._at = end
        self.close_received = True
        return CloseFrame(*said)

    def _piece(self, event: Message[str] | Message[bytes | bytearray]) -> Piece:
        tap = self._tap
        payload, tap.payload = tap.payload, b""
        first, tap.first = tap.first, False
        self._in_message = not (event.frame_finished and event.message_finished)
        if first:
            self._fragments = 0
            self._opcode = frames.TEXT if isinstance(event.data, str) else frames.BINARY
        if event.frame_finished:
            self._fragments += 1
            if self._fragments > self._limits.max_fragments:
                raise Violation(1008, f"message of over {self._limits.max_fragments} fragments")
        return Piece(self._opcode, first, tap.rsv, payload, event.frame_finished, event.message_finished)

    def _close_frame(self, event: CloseConnection) -> CloseFrame:
        tap = self._tap
        assert self._wsproto is not None
        if self._wsproto.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            # The same event also tells a parse failure; only a real close frame moves wsproto's state.
            raise tap.fault or Violation(int(event.code), _ascii(event.reason or "protocol error"))
        self.close_received = True
        code = None if event.code == CloseReason.NO_STATUS_RCVD else tap.close_code or int(event.code)
        return CloseFrame(code, event.reason or "")

    # --- what we send this side

    @property
    def open(self) -> bool:
        """Neither end has sent a close frame on this leg: control frames may still go out."""
        return not (self.close_sent or self.close_received)

    def send_frame(self, opcode: int, rsv: int, payload: bytes, fin: bool) -> None:
        """Write one whole data frame; ``opcode`` is `frames.CONTINUATION` for all but a message's first."""
        first = opcode | (frames.FIN if fin else 0) | rsv
        self._put(self._write_frame(first, payload))

    def send_message(self, first: int, payload: bytes) -> None:
        """Write one whole message as a frame that begins with the byte ``first``."""
        self._put(self._write_frame(first, payload))

    def send_run(self, frames_: bytes) -> None:
        """Write whole unmasked frames as they are."""
        self._put(frames_)

    def send_messages(self, firsts: list[int], payloads: list[bytes]) -> None:
        """Write whole messages, each as one frame that begins with the byte given for it."""
        parts: list[bytes] = []
        if self._masked:
            # Of two hundred small messages a read, the call for each header was a twentieth of all that is ours.
            short = frames.SHORT_HEADER
            for first, payload in zip(firsts, payloads, strict=True):
                size = len(payload)
                parts.append(short(first, size) if size < 126 else frames.header(first, size, 0))
                parts.append(payload)
        else:
            keys = os.urandom(4 * len(payloads))
            for number, (first, payload) in enumerate(zip(firsts, payloads, strict=True)):
                key = keys[4 * number : 4 * number + 4]
                parts += (frames.header(first, len(payload), frames.MASKED), key, frames.apply_mask(payload, key))
        self._put(b"".join(parts))

    def send_ping(self, payload: bytes) -> None:
        self._put(self._write_frame(_PING, payload))

    def send_pong(self, payload: bytes) -> None:
        self._put(self._write_frame(_PONG, payload))

    def send_close(self, code: int | None, reason: str) -> None:
        """Write the close frame; ``code`` None writes an empty one (RFC 6455 §5.5.1)."""
        self._put(self._write_frame(_CLOSE, frames.close_payload(code, reason)))
        self.close_sent = True

    def _put(self, data: bytes) -> None:
        self._outbox.append(data)
        self.outbox_bytes += len(data)

    def take_outbox(self) -> bytes:
        """All that waits to be sent, in order; the caller now owns it."""
        outbox = self._outbox
        self.outbox_bytes = 0
        if len(outbox) == 1:
            return outbox.popleft()
        data = b"".join(outbox)
        outbox.clear()
        return data


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:120]
