"""What wsproto sees of the frames that arrive: all of their headers, and no payload of data.

Owns the extension through which a `Leg` takes payload raw, and refuses what is too large before any of it is kept.
Never imports sockets, clocks or logs. Invariant: whatever wsproto would refuse, it still refuses.
"""

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from wsproxy.errors import Violation
from wsproxy.extensions.base import RSV1, RSV2, RSV3
from wsproxy.protocol.limits import Limits

_NO_BITS = RsvBits(False, False, False)


class Tap(Extension):
    """Sees each inbound frame before wsproto keeps it; holds the raw payload of the event that wsproto yields next."""

    name = "wsproxy-tap"

    def __init__(self, limits: Limits, rsv: int) -> None:
        """``rsv``: the reserved bits that a message may carry, as in a frame's first byte."""
        self._limits = limits
        self._data_bits = RsvBits(bool(rsv & RSV1), bool(rsv & RSV2), bool(rsv & RSV3))
        self._opcode = Opcode.BINARY
        self.first = False
        self.rsv = 0
        self.payload = b""
        self.fault: Violation | None = None
        self.close_code: int | None = None

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool | str:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        # wsproto calls this again for the same frame while its masking key has not arrived: only assign, never count.
        self._opcode = opcode
        if opcode.iscontrol():
            return _NO_BITS
        if payload_length > self._limits.max_frame_bytes:
            self.fault = Violation(1009, f"frame over {self._limits.max_frame_bytes} bytes")
            return CloseReason.MESSAGE_TOO_BIG
        self.first = opcode is not Opcode.CONTINUATION
        if not self.first:
            return _NO_BITS
        self.rsv = rsv.rsv1 * RSV1 | rsv.rsv2 * RSV2 | rsv.rsv3 * RSV3
        return self._data_bits

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if not self._opcode.iscontrol():
            self.payload = data
            return b""
        if self._opcode is Opcode.CLOSE and data[:2] == b"\x03\xf6":
            # 1014 is registered with IANA (bad gateway); wsproto refuses it. It judges the rest of the frame as 1013.
            self.close_code = 1014
            return b"\x03\xf5" + data[2:]
        return data
