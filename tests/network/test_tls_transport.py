"""Transports over TLS: what TLS itself can do to a connection, over real sockets."""

import os
import socket
import ssl

import pytest
import trio
import trio.testing

from tests.network.pairs import (
    CLIENT_TLS,
    SERVER_TLS,
    read_exactly,
    run,
    tcp_pair,
    tls_pair,
)
from wsproxy.errors import ConnectionLost
from wsproxy.network.tls_transport import TlsTransport


def test_tls_hands_out_what_waits_inside() -> None:
    async def main() -> None:
        near, far = await tls_pair()
        await near.send_all(b"abcdefgh")
        assert await far.receive_some(3) == b"abc"
        assert far.buffered
        assert far.read_now(3) == b"def"
        assert far.buffered
        assert far.read_now(3) == b"gh"
        assert far.read_now() is None
        near.close()
        far.close()

    run(main)


def test_tls_without_close_notify_is_a_loss_after_the_data() -> None:
    async def main() -> None:
        near, far = await tls_pair()
        await near.send_all(b"x" * 40_000)
        # The session tickets: closing with unread input would be a reset.
        assert near.read_now() is None
        near.close()
        assert await read_exactly(far, 40_000) == b"x" * 40_000
        with pytest.raises(ConnectionLost, match="TLS"):
            await far.receive_some()
        with pytest.raises(ConnectionLost):
            await far.receive_some()
        far.close()

    run(main)


def test_tls_garbage_is_a_loss_after_the_data() -> None:
    async def main() -> None:
        near, far = await tls_pair()
        await near.send_all(b"good")
        with socket.socket(fileno=os.dup(near.fileno())) as raw:
            raw.sendall(b"not a record at all")
        assert await far.receive_some() == b"good"
        with pytest.raises(ConnectionLost, match="TLS"):
            await far.receive_some()
        near.close()
        far.close()

    run(main)


def test_tls_data_in_one_read_with_the_handshake_is_not_forgotten() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        server = TlsTransport(far, SERVER_TLS, server_side=True)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = CLIENT_TLS.wrap_bio(incoming, outgoing, server_hostname="feed.test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            near.sendall(outgoing.read())
            while True:
                incoming.write(await trio.to_thread.run_sync(near.recv, 65536))
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    continue
            client.write(b"early")
            near.sendall(outgoing.read())
        assert server.buffered
        assert server.read_now() == b"early"
        server.close()
        near.close()

    run(main)


def test_tls_handshake_with_something_else_is_a_loss() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        server = TlsTransport(far, SERVER_TLS, server_side=True)
        near.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionLost, match="TLS"):
            await server.do_handshake()
        server.close()
        near.close()

    run(main)


def test_tls_tells_the_far_end_why_it_fails() -> None:
    async def main() -> None:
        near, far = tcp_pair()
        client = TlsTransport(near, ssl.create_default_context(), server_name="feed.test")
        server = TlsTransport(far, SERVER_TLS, server_side=True)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                with pytest.raises(ConnectionLost, match="UNKNOWN_CA"):
                    await server.do_handshake()

            nursery.start_soon(serve)
            with pytest.raises(ConnectionLost, match="certificate"):
                await client.do_handshake()
        server.close()
        client.close()

    run(main)
