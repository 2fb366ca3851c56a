"""Two transports that are each other's far end, plain and by TLS, and what tests of both need."""

import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
import trustme

from wsproxy.network.tls import make_strict
from wsproxy.network.tls_transport import TlsTransport
from wsproxy.network.transport import PlainTransport, Transport

Pair = tuple[Transport, Transport]
MakePair = Callable[[], Awaitable[Pair]]

_CA = trustme.CA()
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_CA.issue_cert("feed.test").configure_cert(SERVER_TLS)
CLIENT_TLS = ssl.create_default_context()
_CA.configure_trust(CLIENT_TLS)
make_strict(SERVER_TLS)
make_strict(CLIENT_TLS)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


async def plain_pair() -> Pair:
    near, far = tcp_pair()
    return PlainTransport(near), PlainTransport(far)


async def tls_pair() -> Pair:
    near, far = tcp_pair()
    client = TlsTransport(near, CLIENT_TLS, server_name="feed.test")
    server = TlsTransport(far, SERVER_TLS, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        await client.do_handshake()
    return client, server


PAIRS = pytest.mark.parametrize("make_pair", [plain_pair, tls_pair])


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(10):
            await test()

    trio.run(bounded)


async def read_exactly(transport: Transport, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = await transport.receive_some(size - len(parts))
        assert data, "ended early"
        parts += data
    return bytes(parts)


async def read_to_end(transport: Transport) -> bytes:
    parts = bytearray()
    while data := await transport.receive_some():
        parts += data
    return bytes(parts)
