"""One end of a WebSocket for the demo's two programs, on wsproto alone.

Owns: receiving whole messages by a deadline, control frames, the closing handshake. Must never import the proxy's own
protocol code: what checks the proxy shares nothing with it but the error tree.
Invariant: one task uses a conversation, so that a message, a pong and a close are never written into each other.
"""

from math import inf
from types import TracebackType
from typing import Self

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

from wsproxy.errors import ConnectionLost

Message = str | bytes

_READ_BYTES = 65_536


class Conversation:
    """A WebSocket after its opening handshake.

    :ivar compressed: permessage-deflate was agreed on.
    :ivar over: close frames were exchanged; nothing more can be sent or received.
    :ivar close_code: of the close frame that arrived, None before; 1005 if it had none (RFC 6455 §7.1.5).
    """

    def __init__(self, stream: trio.SocketStream, ws: WSConnection, compressed: bool = False) -> None:
        self._stream = stream
        self._ws = ws
        self._parts: list[Message] = []
        self.compressed = compressed
        self.over = False
        self.close_code: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.aclose()

    async def receive(self, until: float = inf) -> list[Message]:
        """The whole messages of one read, empty if none arrived by ``until`` (trio's clock).

        Pings and a close frame are answered meanwhile.

        :raises ConnectionLost: the connection ended without a close frame, or the other end broke the protocol.
        """
        # Frames may have come in one read with the 101.
        messages = await self._work_off()
        if messages or self.over:
            return messages
        data = None
        with trio.move_on_at(until):
            data = await receive_some(self._stream)
        if data is None:
            return []
        self._ws.receive_data(data)
        return await self._work_off()

    async def send(self, message: Message) -> None:
        """Send one message as one frame. Raises ConnectionLost."""
        await self._send(TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message))

    async def close(self) -> None:
        """Begin the closing handshake; receive until `over` for the rest. Raises ConnectionLost."""
        await self._send(CloseConnection(code=1000))

    async def _work_off(self) -> list[Message]:
        messages: list[Message] = []
        for event in self._ws.events():
            match event:
                case TextMessage() | BytesMessage():
                    self._parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
                    if event.message_finished:
                        messages.append(_join(self._parts))
                        self._parts = []
                case Ping() if self._ws.state is ConnectionState.OPEN:
                    await self._send(event.response())
                case CloseConnection():
                    await self._end(event)
        return messages

    async def _end(self, event: CloseConnection) -> None:
        if self._ws.state is ConnectionState.OPEN:
            # wsproto tells a broken rule by the same event as a close frame, but leaves the state as it was.
            await self._send(event)
            raise ConnectionLost(f"broken protocol: {event.code} {event.reason}")
        if self._ws.state is ConnectionState.REMOTE_CLOSING:
            await self._send(event.response())
        self.over = True
        self.close_code = event.code

    async def _send(self, event: Event) -> None:
        await send_all(self._stream, self._ws.send(event))


async def connect(host: str, port: int, path: str) -> Conversation:
    """Open a WebSocket as a client that offers permessage-deflate (RFC 6455 §4.1, RFC 7692 §7.1).

    :raises ConnectionLost: refused, or the handshake was wrong.
    :raises OSError: nobody listens there.
    """
    stream = await trio.open_tcp_stream(host, port)
    try:
        ws = WSConnection(ConnectionType.CLIENT)
        request = Request(host=f"{host}:{port}", target=path, extensions=[PerMessageDeflate()])
        await send_all(stream, ws.send(request))
        while True:
            try:
                ws.receive_data(await receive_some(stream))
            except RemoteProtocolError as error:
                raise ConnectionLost(f"bad opening handshake: {error}") from error
            event = next(ws.events(), None)
            if isinstance(event, AcceptConnection):
                return Conversation(stream, ws, compressed=bool(event.extensions))
            if isinstance(event, RejectConnection):
                raise ConnectionLost(f"refused with HTTP status {event.status_code}")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def receive_some(stream: trio.SocketStream) -> bytes:
    """What arrived, never empty. Raises ConnectionLost at the end of the input."""
    try:
        data = await stream.receive_some(_READ_BYTES)
    except trio.BrokenResourceError as error:
        raise ConnectionLost("connection broken") from error
    if not data:
        raise ConnectionLost("connection ended early")
    return bytes(data)


async def send_all(stream: trio.SocketStream, data: bytes) -> None:
    """Raises ConnectionLost if the connection is gone."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError as error:
        raise ConnectionLost("connection broken") from error


def _join(parts: list[Message]) -> Message:
    if isinstance(parts[0], str):
        return "".join(part for part in parts if isinstance(part, str))
    return b"".join(part for part in parts if isinstance(part, bytes))
