"""WebSocket servers of a few lines for the demo's tests, in the test's own event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.extensions import PerMessageDeflate

from wsproxy.demo.conversation import Conversation

READ_BYTES = 65_536


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A port of the loopback interface whose connections ``serve`` gets, one task each."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def accept(stream: trio.SocketStream, compress: bool = True) -> tuple[Conversation, str]:
    """The opening handshake of a server; gives the conversation and the path."""
    ws = WSConnection(ConnectionType.SERVER)
    while True:
        ws.receive_data(await stream.receive_some(READ_BYTES))
        event = next(ws.events(), None)
        if isinstance(event, Request):
            extensions = [PerMessageDeflate()] if compress else []
            await stream.send_all(ws.send(AcceptConnection(extensions=[*extensions])))
            return Conversation(stream, ws), event.target


async def exchange(port: int, request: bytes) -> tuple[h11.Response, bytes]:
    """One request in its raw bytes; gives the answer and its body, read to the end of the connection."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"localhost")]))
    http.send(h11.EndOfMessage())
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        body = b""
        response: h11.Response | None = None
        while True:
            event = http.next_event()
            if isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                return response, body
            else:
                http.receive_data(await stream.receive_some(READ_BYTES))
