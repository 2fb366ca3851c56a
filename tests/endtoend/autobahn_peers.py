"""autobahn-python with permessage-bzip2 as upstream and as client: `python -m tests.endtoend.autobahn_peers ...`.

A process of its own, because autobahn goes its own ways with event loops and warnings. Must never import wsproxy.

`upstream LEVEL CLIENT_LEVEL`: echoes; writes its port, and what each connection agreed on. It compresses with
LEVEL, and the client may use CLIENT_LEVEL at most; 0: as offered.
`client URL SERVER_LEVEL LEVEL`: sends messages of many sizes, whole and in fragments; ends with 0 if each came back.
It asks the server for SERVER_LEVEL (0: for none) and compresses with LEVEL.
"""

import asyncio
import sys
from typing import Any

from autobahn.asyncio.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.compress import (
    PerMessageBzip2Offer,
    PerMessageBzip2OfferAccept,
    PerMessageBzip2Response,
    PerMessageBzip2ResponseAccept,
)

from tests.endtoend.conversations import content, text

SIZES = (0, 1, 100, 255, 256, 257, 1_000, 65_535, 65_536, 300_000)

PATIENT = {"openHandshakeTimeout": 30, "closeHandshakeTimeout": 30}
"""A second for the closing handshake, its default, is little for a busy machine."""


class Echo(WebSocketServerProtocol):
    def onOpen(self) -> None:  # noqa: N802
        print("agreed", *self.websocket_extensions_in_use, flush=True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        self.sendMessage(payload, isBinary)


class Sender(WebSocketClientProtocol):
    factory: Any

    def onOpen(self) -> None:  # noqa: N802
        print("agreed", *self.websocket_extensions_in_use, flush=True)
        self.expected = [(message, binary) for size in SIZES for message, binary in _both(size)]
        for message, binary in self.expected:
            self.sendMessage(message, binary)
        fragments = content(5_000)
        self.expected.append((fragments, True))
        self.sendMessage(fragments, True, fragmentSize=700)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        if (payload, isBinary) != self.expected.pop(0):
            self.sendClose(4000, "not what was sent")
        elif not self.expected:
            self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int | None, reason: str) -> None:  # noqa: N802, N803
        print("closed", code, reason, len(getattr(self, "expected", "?")), flush=True)
        self.factory.over.set_result(code == 1000 and wasClean and not self.expected)


def _both(size: int) -> list[tuple[bytes, bool]]:
    return [(text(size).encode(), False), (content(size), True)]


async def upstream(level: int, client_level: int) -> None:
    def accept(offers: list[Any]) -> Any:
        for offer in offers:
            if isinstance(offer, PerMessageBzip2Offer):
                most = client_level if offer.accept_max_compress_level else 0
                return PerMessageBzip2OfferAccept(offer, most, level or None)
        return None

    factory: Any = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(perMessageCompressionAccept=accept, **PATIENT)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def client(url: str, server_level: int, level: int) -> bool:
    def accept(response: Any) -> Any:
        if isinstance(response, PerMessageBzip2Response):
            return PerMessageBzip2ResponseAccept(response, level or None)
        return None

    factory: Any = WebSocketClientFactory(url)
    factory.protocol = Sender
    factory.over = asyncio.get_running_loop().create_future()
    factory.setProtocolOptions(
        perMessageCompressionOffers=[PerMessageBzip2Offer(True, server_level)],
        perMessageCompressionAccept=accept,
        **PATIENT,
    )
    await asyncio.get_running_loop().create_connection(factory, factory.host, factory.port)
    async with asyncio.timeout(60):
        return bool(await factory.over)


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        asyncio.run(upstream(int(sys.argv[2]), int(sys.argv[3])))
    else:
        sys.exit(0 if asyncio.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))) else 1)
