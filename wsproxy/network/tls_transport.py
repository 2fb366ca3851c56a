"""TLS on a connection: an `ssl.SSLObject` over memory BIOs behind the calls of a `Transport`.

Owns: encrypted bytes on their way to and from the socket, and the end of TLS. Must never make a context.
Invariants
* TLS that ends without close_notify is a loss, not an end: a truncated stream is never mistaken for a whole one
  (RFC 8446 §6.1).
* Nothing is piled up without a bound, not even TLS's own answers.
"""

import contextlib
import socket
import ssl

import trio

from wsproxy.errors import ConnectionLost
from wsproxy.network.certificates import identity
from wsproxy.network.transport import NOTHING, READ_BYTES, Transport
from wsproxy.protocol.forwarded import ClientCertificate

_PIECE_BYTES = 16384
"""What goes through a BIO at a time. A BIO keeps the largest size that it ever had: 64 KiB at a time cost each tunnel
140 KiB for good, these 44. Halved again it would be 12, for a tenth more CPU of large messages."""
_RECORDS_BYTES = 65536
"""Plaintext encrypted at a time, so that a large write never exists twice in full; also how much TLS's own answers may
pile up unsent (a flood of KeyUpdates from an end that does not read)."""


class TlsTransport(Transport):
    """TLS over memory BIOs. `do_handshake` comes first.

    :ivar heard: the far end has sent something.
    """

    __slots__ = ("_incoming", "_input_ended", "_notified", "_outgoing", "_plain", "_tls", "_unfed", "heard")

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_name: str | None = None,
        peer: str = "",
    ) -> None:
        """``server_name``: what the client role asks for and verifies. Raises ValueError if it cannot be a name."""
        super().__init__(sock, peer)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._plain = NOTHING
        self._unfed = NOTHING
        self._input_ended = False
        self._notified = False
        self.heard = False
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name)

    async def do_handshake(self) -> None:
        """Raises ConnectionLost, also for a certificate that does not verify."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if self._feed_more():
                    continue
                await self.send_all(b"")
                while (data := self._receive(READ_BYTES)) is None:
                    await self._wait(trio.lowlevel.wait_readable)
                self._feed(data)
            except ssl.SSLError as error:
                raise self._tls_lost(error) from error
            else:
                # The far end's first data may have come in one read with the end of its handshake.
                self.buffered = self._incoming.pending > 0 or len(self._unfed) > 0
                await self.send_all(b"")
                return

    def certificate(self) -> ClientCertificate | None:
        """The identity that the far end proved; None where it was not asked for one."""
        der, parsed = self._tls.getpeercert(True), self._tls.getpeercert()
        return identity(parsed, der) if der and parsed else None

    @property
    def pending(self) -> int:
        return 0 if self._closed else len(self._rest) + self._outgoing.pending + len(self._plain)

    def read_now(self, limit: int = READ_BYTES) -> bytes | None:
        if self._input_ended:
            return b""
        if not self.buffered:
            data = self._receive(limit)
            if data is None:
                return None
            self._feed(data)
        plain = self._decrypt(limit)
        if self._outgoing.pending > _RECORDS_BYTES:
            raise ConnectionLost("TLS: a flood of records that want an answer")
        if plain:
            return plain
        return b"" if self._input_ended else None

    def write_now(self, data: bytes) -> bool:
        self._plain = memoryview(b"".join((self._plain, data)) if self._plain else data)
        return self.flush_now()

    def _refill(self) -> bool:
        records: list[bytes] = []
        if self._plain:
            taken, self._plain = self._plain[:_RECORDS_BYTES], self._plain[_RECORDS_BYTES:] or NOTHING
            try:
                for at in range(0, len(taken), _PIECE_BYTES):
                    self._tls.write(taken[at : at + _PIECE_BYTES])
                    records.append(self._outgoing.read())
            except ssl.SSLError as error:
                raise self._tls_lost(error) from error
        elif self._half_closing and not self._notified:
            self._notified = True
            # Their close_notify has not come yet, or data came before it: neither matters to ending our output.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        if not records:
            records.append(self._outgoing.read())
        self._rest = memoryview(records[0] if len(records) == 1 else b"".join(records))
        return len(self._rest) > 0

    def _feed(self, data: bytes) -> None:
        if data:
            self.heard = True
            self._unfed = memoryview(data)
            self._feed_more()
        else:
            self._incoming.write_eof()

    def _feed_more(self) -> bool:
        """Give TLS some more of what was received; False if there is none."""
        if not self._unfed:
            return False
        self._incoming.write(self._unfed[:_PIECE_BYTES])
        self._unfed = self._unfed[_PIECE_BYTES:] or NOTHING
        return True

    def _decrypt(self, limit: int) -> bytes:
        # One SSL_read gives no more than one record has left.
        parts: list[bytes] = []
        room = limit
        self.buffered = True
        try:
            while room > 0 and not self._input_ended:
                part = self._read_record(room)
                if part is None:
                    self.buffered = False
                    break
                parts.append(part)
                room -= len(part)
                self._input_ended = not part
        except ssl.SSLZeroReturnError:
            # Also their close_notify, where ours has gone out already.
            self._input_ended = True
        except ssl.SSLError as error:
            # What came before the fault is good and goes first; the next read meets the fault again.
            if not parts:
                raise self._tls_lost(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_record(self, room: int) -> bytes | None:
        """Of one record at most ``room`` bytes; None when its end has not been received."""
        while True:
            try:
                return self._tls.read(min(room, _PIECE_BYTES))
            except ssl.SSLWantReadError:
                if not self._feed_more():
                    return None

    def _tls_lost(self, error: ssl.SSLError) -> ConnectionLost:
        """What to raise; before that tries to send the alert, which tells the far end's log why."""
        self._plain = NOTHING
        with contextlib.suppress(ConnectionLost):
            self.flush_now()
        return ConnectionLost(f"TLS: {getattr(error, 'verify_message', '') or error.reason or type(error).__name__}")
