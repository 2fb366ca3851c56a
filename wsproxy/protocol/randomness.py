"""Random bytes that nobody can foretell: masking keys, handshake keys, trace ids, the tokens of pings.

Owns a store of bytes from the system's generator, a thousand at a time: asking for each key was a system call for each
message, and six for each handshake. Invariant: no byte is given out twice, in no process.
"""

import os

_STORED_BYTES = 1024


class _Store:
    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        at, end = self._at, self._at + size
        if end > len(self._bytes):
            self._bytes = os.urandom(max(size, _STORED_BYTES))
            at, end = 0, size
        self._at = end
        return self._bytes[at:end]

    def forget(self) -> None:
        self._bytes = b""
        self._at = 0


_store = _Store()
os.register_at_fork(after_in_child=_store.forget)

random_bytes = _store.take
"""``random_bytes(size)``: that many fresh bytes."""
