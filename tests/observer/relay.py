"""A TCP relay that keeps every byte of every connection in each direction. Must never import wsproxy.

It changes nothing and knows nothing of WebSocket: `counts` reads what it kept.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

DEADLINE = 30.0


class Pair:
    """One connection through the relay.

    :ivar opener: the socket of whoever connected to the relay.
    :ivar target: the socket to where the relay leads.
    :ivar sent: what the opener sent, as far as it was passed on.
    :ivar got: what came back.
    """

    def __init__(self, opener: socket.socket, target: socket.socket) -> None:
        self.opener = opener
        self.target = target
        self.sent = bytearray()
        self.got = bytearray()
        self._threads = [
            threading.Thread(target=self._pass_on, args=(opener, target, self.sent), daemon=True),
            threading.Thread(target=self._pass_on, args=(target, opener, self.got), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                # Kept first: what the other end has seen has been counted.
                kept += data
                try:
                    sink.sendall(data)
                except OSError:
                    del kept[-len(data) :]
                    raise
            sink.shutdown(socket.SHUT_WR)

    def reset(self, proxy_end: socket.socket) -> None:
        """Break the connection to the proxy as a crash does: with a reset, and no word of WebSocket."""
        proxy_end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that reads from it, so that nobody holds the socket any more.
        with contextlib.suppress(OSError):
            proxy_end.shutdown(socket.SHUT_RD)
        proxy_end.close()

    def close(self) -> None:
        for sock in (self.opener, self.target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(DEADLINE)


class CountingRelay:
    """Listens, and leads each connection to one address."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.pairs: list[Pair] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                opener, _ = self._listener.accept()
                target = socket.create_connection(self._target, timeout=DEADLINE)
                for sock in (opener, target):
                    sock.settimeout(None)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.pairs.append(Pair(opener, target))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)
        for pair in self.pairs:
            pair.close()


@contextlib.contextmanager
def relay(target: tuple[str, int]) -> Iterator[CountingRelay]:
    """A relay to ``target``, closed in the end."""
    running = CountingRelay(target)
    try:
        yield running
    finally:
        running.close()
