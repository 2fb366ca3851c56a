"""What the forwarding tests stand on: sessions as short as they can be, and upstreams that follow a script."""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.gateway.generation import Group
from wsproxy.gateway.pools import Pool
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.listen import open_listeners
from wsproxy.network.transport import Transport
from wsproxy.protocol.http1 import error_response
from wsproxy.service.connecting import Attempts, UpstreamConnection
from wsproxy.service.forward import Forwarder
from wsproxy.settings.addresses import TcpAddress
from wsproxy.settings.tree import Timeouts, Upstream, WeightedUrl

Script = Callable[[trio.SocketStream], Awaitable[None]]
HEAD = b"\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: feed.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(20):
            await test()

    trio.run(bounded)


async def session(transport: Transport, pool: Pool, head_seconds: float) -> None:
    """Requests of one client, one after the other, all to one pool."""

    async def open_upstream() -> UpstreamConnection:
        return await Attempts(Group(pool, None, "", "off"), "127.0.0.1", Timeouts()).connect()

    client = Http1Connection(transport, h11.SERVER)
    forwarder = Forwarder(client)
    try:
        while isinstance(event := await client.next_event(), h11.Request):
            if not await forwarder.forward(event, pool, open_upstream, head_seconds):
                break
    except Refused as refused:
        with contextlib.suppress(ConnectionLost):
            await client.respond(*error_response(refused.status, refused.detail))
    except ConnectionLost:
        transport.close()
    finally:
        forwarder.close()
        await transport.drain_and_close(2)


@contextlib.asynccontextmanager
async def proxy(*urls: str, head_seconds: float = 10) -> AsyncIterator[tuple[int, Pool]]:
    """Sessions for everybody who connects; gives the port and the pool, whose places all come back in the end."""
    pool = Pool("feed", Upstream(endpoints=tuple(map(WeightedUrl, urls)), balance="round_robin"))
    (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))

    def exhausted(error: OSError) -> None:
        raise error

    async def accept() -> None:
        while True:
            for transport in await listening.accept_some(exhausted):
                nursery.start_soon(session, transport, pool, head_seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        yield int(listening.address.rpartition(":")[2]), pool
        nursery.cancel_scope.cancel()
    listening.close()
    assert [pool.live(endpoint) for endpoint in pool.endpoints] == [0] * len(pool.endpoints)


@contextlib.asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """An upstream whose first connection follows the first script, and so on; gives its URL.

    At the end every script must have run to its end.
    """
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def follow(script: Script, stream: trio.SocketStream) -> None:
        async with stream:
            await script(stream)

    async def serve() -> None:
        async with listener:
            for script in scripts:
                nursery.start_soon(follow, script, await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"


class Talk:
    """A raw connection, read by what is expected."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def until(self, end: bytes) -> bytes:
        """Everything up to and with ``end``."""
        while end not in self._buffer:
            data = await self.stream.receive_some()
            assert data, f"ended before {end!r}, after {self._buffer!r}"
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    async def rest(self) -> bytes:
        """Everything to the end."""
        found, self._buffer = self._buffer, b""
        while data := await self.stream.receive_some():
            found += data
        return found


@contextlib.asynccontextmanager
async def talk_to(port: int) -> AsyncIterator[Talk]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with stream:
        yield Talk(stream)


def exchange(script: Script, client_script: Callable[[Talk], object], head_seconds: float = 10) -> None:
    """One scripted upstream connection and one client."""

    async def main() -> None:
        async with (
            scripted(script) as url,
            proxy(url, head_seconds=head_seconds) as (port, _),
            talk_to(port) as client,
        ):
            await client_script(client)  # type: ignore[misc]

    run(main)


def keep(*answers: bytes, extra: bytes = b"") -> Script:
    """Answers so many requests, then closes without having said so."""

    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        for answer in answers:
            await talk.until(HEAD)
            await talk.say(answer)
        if extra:
            await talk.rest()

    return upstream
