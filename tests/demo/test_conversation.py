"""The demo's end of a WebSocket, against another one over real sockets."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from tests.demo.loopback import accept, listening
from wsproxy.demo.conversation import Conversation, Message, connect
from wsproxy.errors import ConnectionLost

SECONDS = 20.0

Serve = Callable[[trio.SocketStream], Awaitable[None]]


def talk(serve: Serve, client: Callable[[Conversation], Awaitable[None]]) -> None:
    """Let ``client`` converse with ``serve``."""

    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with listening(serve) as port, await connect("127.0.0.1", port, "/x") as conversation:
                await client(conversation)

    trio.run(main)


async def echo(stream: trio.SocketStream) -> None:
    conversation, _ = await accept(stream)
    async with conversation:
        while not conversation.over:
            for message in await conversation.receive():
                await conversation.send(message)


def frames(*events: Event, tail: bytes = b"") -> Serve:
    """Serve these frames and then ``tail`` as it is, and end the connection."""

    async def serve(stream: trio.SocketStream) -> None:
        await accept(stream, compress=False)
        async with stream:
            await stream.send_all(b"".join(map(Connection(ConnectionType.SERVER).send, events)) + tail)

    return serve


async def everything(conversation: Conversation) -> list[Message]:
    messages: list[Message] = []
    while not conversation.over:
        messages += await conversation.receive()
    return messages


@pytest.mark.parametrize("message", ["", "höchst", "x" * 1_000_000, b"", b"\xff\x00", bytes(range(256)) * 4000])
def test_messages_come_back_whole(message: Message) -> None:
    async def client(conversation: Conversation) -> None:
        assert conversation.compressed
        await conversation.send(message)
        messages: list[Message] = []
        while not messages:
            messages = await conversation.receive()
        assert messages == [message]
        await conversation.close()
        assert await everything(conversation) == []
        assert conversation.close_code == 1000

    talk(echo, client)


def test_nothing_by_the_deadline_is_no_message_and_no_loss() -> None:
    async def client(conversation: Conversation) -> None:
        assert await conversation.receive(until=trio.current_time()) == []
        await conversation.send("still there")
        assert await conversation.receive() == ["still there"]

    talk(echo, client)


def test_fragments_around_a_ping_are_one_message_and_the_ping_is_answered() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await accept(stream, compress=False)
        end = Connection(ConnectionType.SERVER)
        parts = (TextMessage(data="one, ", message_finished=False), Ping(payload=b"?"), TextMessage(data="two"))
        await stream.send_all(b"".join(map(end.send, parts)))
        answers: list[Event] = []
        while not answers:
            end.receive_data(await stream.receive_some())
            answers += end.events()
        assert answers == [Pong(payload=b"?")]
        await stream.send_all(end.send(CloseConnection(code=4000)))
        await stream.receive_some()
        await stream.aclose()

    async def client(conversation: Conversation) -> None:
        assert not conversation.compressed
        assert await everything(conversation) == ["one, two"]
        assert conversation.close_code == 4000

    talk(serve, client)


def test_frames_that_came_with_the_101_are_not_left_lying() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        held: list[bytes] = []

        class Held:
            """Keeps the 101 back, so that it leaves in one piece with what follows."""

            receive_some = staticmethod(stream.receive_some)

            async def send_all(self, data: bytes) -> None:
                held.append(data)

        await accept(Held(), compress=False)  # type: ignore[arg-type]
        end = Connection(ConnectionType.SERVER)
        await stream.send_all(b"".join(held) + end.send(TextMessage(data="early")))
        await stream.receive_some()

    async def client(conversation: Conversation) -> None:
        assert await conversation.receive() == ["early"]
        await conversation.close()

    talk(serve, client)


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (frames(TextMessage(data="last words")), "ended early"),
        (frames(tail=b"\x81\x02\xff\xff"), "broken protocol: 1007"),
        (frames(tail=b"\xc1\x00"), "broken protocol: 1002"),
    ],
)
def test_an_end_out_of_order_is_an_error(serve: Serve, told: str) -> None:
    async def client(conversation: Conversation) -> None:
        with pytest.raises(ConnectionLost, match=told):
            await everything(conversation)

    talk(serve, client)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "refused with HTTP status 404"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "bad opening handshake"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad opening handshake"),
        (b"", "ended early"),
    ],
)
def test_a_refused_handshake_is_an_error(answer: bytes, told: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with listening(serve) as port:
                with pytest.raises(ConnectionLost, match=told):
                    await connect("127.0.0.1", port, "/x")

    trio.run(main)


def test_nobody_there_is_an_error() -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with listening(echo) as port:
                pass
            with pytest.raises(OSError, match=r"refused|attempts to connect"):
                await connect("127.0.0.1", port, "/x")

    trio.run(main)
