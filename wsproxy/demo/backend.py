"""``python -m wsproxy.demo.backend [HOST:PORT]``: the demo's legacy backend, a WebSocket server without extensions.

Owns: its paths. /market and /chat push JSON, /echo sends back what it gets, / is a page that shows all three in a
browser; what is before the last segment of a WebSocket's path is ignored, so that one proxy route can tell the
browser's traffic from the measured clients'. Must never import the proxy's own protocol code.
Invariants: the first line on stdout is the port; the n-th subscriber of a feed gets the same messages in every run.
"""

import os
import signal
import sys
from collections import Counter
from http import HTTPStatus
from importlib.resources import files
from random import Random

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection
from wsproto.utilities import RemoteProtocolError

from wsproxy.demo.conversation import Conversation, receive_some, send_all
from wsproxy.demo.feeds import FEEDS, Feed
from wsproxy.errors import ConnectionLost

_PAGE = files("wsproxy.demo").joinpath("page.html").read_bytes()


class Backend:
    """Serves connections, and counts the subscribers of each feed to give each its own random source."""

    def __init__(self) -> None:
        self._subscribers: Counter[str] = Counter()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection: one page or one WebSocket."""
        async with stream:
            try:
                await self._answer(stream)
            except ConnectionLost as error:
                print(f"backend: {error}", file=sys.stderr)

    async def _answer(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            request = await _request(stream, http)
        except h11.RemoteProtocolError as error:
            await _respond(stream, http, error.error_status_hint, b"text/plain", b"bad request\n")
            return
        if any(name == b"upgrade" and value.lower() == b"websocket" for name, value in request.headers):
            await self._open(stream, request)
        elif request.target == b"/":
            await _respond(stream, http, 200, b"text/html; charset=utf-8", _PAGE)
        else:
            await _respond(stream, http, 404, b"text/plain", b"no such page\n")

    async def _open(self, stream: trio.SocketStream, request: h11.Request) -> None:
        ws = WSConnection(ConnectionType.SERVER)
        try:
            ws.initiate_upgrade_connection(list(request.headers), request.target)
        except RemoteProtocolError as error:
            await send_all(stream, ws.send(error.event_hint or RejectConnection()))
            return
        name = request.target.partition(b"?")[0].rpartition(b"/")[2].decode("ascii")
        if name != "echo" and name not in FEEDS:
            await send_all(stream, ws.send(RejectConnection(status_code=404)))
            return
        await send_all(stream, ws.send(AcceptConnection()))
        conversation = Conversation(stream, ws)
        if name == "echo":
            await _echo(conversation)
        else:
            self._subscribers[name] += 1
            await _push(conversation, FEEDS[name], Random(f"{name} {self._subscribers[name]}"))


async def _push(conversation: Conversation, feed: Feed, rng: Random) -> None:
    messages = feed.messages(rng)
    due = trio.current_time()
    while not conversation.over:
        await conversation.receive(until=due)
        if not conversation.over and trio.current_time() >= due:
            await conversation.send(next(messages))
            # From now on and not from when it was due: a deadline in the past would mean never to read.
            due = trio.current_time() + feed.pause(rng)


async def _echo(conversation: Conversation) -> None:
    while not conversation.over:
        for message in await conversation.receive():
            if not conversation.over:
                await conversation.send(message)


async def _request(stream: trio.SocketStream, http: h11.Connection) -> h11.Request:
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        http.receive_data(await receive_some(stream))


async def _respond(stream: trio.SocketStream, http: h11.Connection, status: int, kind: bytes, body: bytes) -> None:
    head = h11.Response(
        status_code=status,
        reason=HTTPStatus(status).phrase.encode(),
        headers=[(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")],
    )
    for event in (head, h11.Data(data=body), h11.EndOfMessage()):
        await send_all(stream, http.send(event) or b"")


async def main(address: str) -> None:
    """Listen on ``address``, ``host:port``, and serve until the process is ended."""
    host, _, port = address.rpartition(":")
    listeners = await trio.open_tcp_listeners(int(port), host=host)
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(Backend().serve, listeners)


if __name__ == "__main__":
    # It has nothing to put in order, and no traceback to show. The first process of a container does not heed TERM
    # unless it says so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0")
