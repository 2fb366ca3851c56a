"""Both ends of a conversation, made of other people's sans-I/O protocols over trio's own streams.

Must never import wsproxy. An end finishes whatever happens to its connection; a client tells whether it got all that
it asked for.
"""

import random

import h11
import trio
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

LARGE = random.Random(7).randbytes(70_000)
"""Too large for one read, and of no use to a compressor."""
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)
_READ_BYTES = 65_536


async def echo_messages(stream: Stream) -> None:
    """A WebSocket upstream that sends every message back as one frame."""
    protocol = ServerProtocol(max_size=None)
    parts = b""
    opcode = Opcode.BINARY
    while not await _exchange(stream, protocol):
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                opcode = opcode if event.opcode is Opcode.CONT else event.opcode
                parts += bytes(event.data)
                if event.fin and protocol.state is State.OPEN:
                    (protocol.send_text if opcode is Opcode.TEXT else protocol.send_binary)(parts)
                    parts = b""


async def talk(stream: Stream) -> bool:
    """A WebSocket client: three messages, a ping among the last one's fragments, a close."""
    protocol = ClientProtocol(
        parse_uri("ws://feed.test/"), extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)]
    )
    protocol.send_request(protocol.connect())
    wanted = [b"hello", LARGE, b"in two parts"]
    got: list[bytes] = []
    pongs = 0
    while not await _exchange(stream, protocol):
        for event in protocol.events_received():
            if isinstance(event, Frame):
                pongs += event.opcode is Opcode.PONG
                if event.opcode not in (Opcode.TEXT, Opcode.BINARY):
                    continue
                got.append(bytes(event.data))
            elif not isinstance(event, Response) or protocol.handshake_exc is not None:
                return False
            match len(got):
                case 0:
                    protocol.send_text(wanted[0])
                case 1:
                    protocol.send_binary(wanted[1])
                case 2:
                    protocol.send_text(b"in two ", fin=False)
                    protocol.send_ping(b"between")
                    protocol.send_continuation(b"parts", fin=True)
                case _:
                    protocol.send_close(1000, "done")
    close = protocol.close_rcvd
    return got == wanted and pongs == 1 and close is not None and (close.code, close.reason) == (1000, "done")


async def _exchange(stream: Stream, protocol: Protocol) -> bool:
    """Send what is to be sent, then wait for input; True once the connection has ended."""
    try:
        for data in protocol.data_to_send():
            if data:
                await stream.send_all(data)
            else:
                await stream.aclose()
                return True
        received = await stream.receive_some(_READ_BYTES)
    except _LOST:
        return True
    if received:
        protocol.receive_data(received)
    else:
        protocol.receive_eof()
        for data in protocol.data_to_send():
            if data:
                await stream.send_all(data)
    return not received


async def answer_requests(stream: Stream) -> None:
    """An HTTP upstream that sends every body back, in chunks."""
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            _, body = await _receive(stream, connection)
            head = h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")])
            await _send(stream, connection, head, h11.Data(data=body), h11.EndOfMessage())
            connection.start_next_cycle()
    except (*_LOST, h11.ProtocolError):
        return


async def ask(stream: Stream) -> bool:
    """An HTTP client: two requests on one connection, the first with a large body."""
    connection = h11.Connection(h11.CLIENT)
    try:
        for body in (LARGE, b""):
            length = ("Content-Length", str(len(body)))
            head = h11.Request(method="POST", target="/", headers=[("Host", "feed.test"), length])
            await _send(stream, connection, head, h11.Data(data=body), h11.EndOfMessage())
            status, answer = await _receive(stream, connection)
            if (status, answer) != (200, body):
                return False
            connection.start_next_cycle()
    except (*_LOST, h11.ProtocolError):
        return False
    return True


async def _send(stream: Stream, connection: h11.Connection, *events: h11.Event) -> None:
    await stream.send_all(b"".join(connection.send(event) or b"" for event in events))


async def _receive(stream: Stream, connection: h11.Connection) -> tuple[int, bytes]:
    """A whole request (as status 0) or answer. Raises what `_LOST` names, and h11.ProtocolError."""
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body
        elif isinstance(event, h11.ConnectionClosed):
            raise trio.ClosedResourceError("ended between messages")
        elif event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
