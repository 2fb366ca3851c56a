"""Thousands of WebSocket clients as one process, an upstream for them as another, a third that scrapes all the time.

Owns: these programs (``python -m tests.observer.many``). Must never import wsproxy. A library's connections would take
more memory and time than what is looked at.
"""

import asyncio
import re
import sys
import urllib.request
from time import sleep

from tests.endtoend.conversations import text
from tests.endtoend.wire import DEADLINE, TEXT, Frame, Head, answer, frame_bytes, request

PATH = "/many"
OFFER = "permessage-deflate; client_max_window_bits"
OPENING_AT_ONCE = 50
PAUSE_SECONDS = 0.05
"""Between two scrapes."""
QUESTION = Frame(TEXT, b'{"subscribe": "all"}')
ANSWER = Frame(TEXT, text(900).encode())
_CLOSE = 0x88


class _Upstream(asyncio.Protocol):
    """Has an answer to every read, which with one message at a time is one to every message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            if data[0] == _CLOSE:
                self._transport.close()
            else:
                self._transport.write(frame_bytes(ANSWER, masked=False))
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self._head)
            assert key is not None
            self._transport.write(answer(Head("", (("sec-websocket-key", key[1].decode()),))))
            self._head = None


class _Client(asyncio.Protocol):
    """Asks once; ``ready`` is done when it was answered."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._head: bytes | None = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(request(PATH, self._host, OFFER))

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            if not self.ready.done():
                self.ready.set_result(None)
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            assert self._head.startswith(b"HTTP/1.1 101 "), self._head
            self._head = None
            self._transport.write(frame_bytes(QUESTION, masked=True))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or EOFError("it was closed before it was answered"))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _connect(host: str, port: int, number: int) -> None:
    opening = asyncio.Semaphore(OPENING_AT_ONCE)

    async def one() -> None:
        async with opening:
            _, client = await asyncio.get_running_loop().create_connection(lambda: _Client(host), host, port)
            await client.ready

    await asyncio.gather(*(one() for _ in range(number)))
    print(number, flush=True)
    await asyncio.to_thread(sys.stdin.read)


def _scrape(host: str, port: str) -> None:
    print("scraping", flush=True)
    while True:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=DEADLINE) as told:
            told.read()
        sleep(PAUSE_SECONDS)


def main(program: str, *arguments: str) -> None:
    if program == "upstream":
        asyncio.run(_serve())
    elif program == "scrapes":
        _scrape(*arguments)
    else:
        host, port, number = arguments
        asyncio.run(_connect(host, int(port), int(number)))


if __name__ == "__main__":
    main(*sys.argv[1:])
