"""HTTP/1.1 over a real socket: events both ways, trailing bytes, and whose fault a broken message is."""

import socket
from collections.abc import Awaitable, Callable

import h11
import pytest
import trio
import trio.testing

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.transport import PlainTransport
from wsproxy.protocol.http1 import HEAD_LIMIT, error_response
from wsproxy.protocol.opening import ClientAnswer, UpstreamRequest
from wsproxy.protocol.plain_heads import PlainSwitch

Role = type[h11.CLIENT] | type[h11.SERVER]


def talk(role: Role, talk: Callable[[Http1Connection, socket.socket], Awaitable[None]]) -> None:
    """Give ``talk`` a connection in ``role`` and the raw far end."""

    async def main() -> None:
        near, far = socket.socketpair()
        far.settimeout(5)
        connection = Http1Connection(PlainTransport(near), role)
        with far, trio.fail_after(10):
            await talk(connection, far)
        connection.transport.close()

    trio.run(main)


def test_a_request_and_the_one_after_it() -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        far.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert isinstance(await connection.next_event(), h11.Request)
        data = await connection.next_event()
        assert isinstance(data, h11.Data) and data.data == b"abc"
        assert isinstance(await connection.next_event(), h11.EndOfMessage)
        assert await connection.next_event() is h11.PAUSED
        assert not connection.start_next_cycle()
        await connection.respond(h11.Response(status_code=200, headers=[("Content-Length", "2")]), b"ok")
        assert far.recv(1000) == b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"
        assert connection.start_next_cycle()
        second = await connection.next_event()
        assert isinstance(second, h11.Request) and second.target == b"/b"

    talk(h11.SERVER, main)


HANDSHAKE = b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_a_plain_handshake_is_taken_without_h11_which_learns_of_it_when_needed() -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        assert connection.take_handshake() is None
        far.sendall(HANDSHAKE + b"\x81\x82mask")
        await connection.transport.readable()
        request = connection.take_handshake()
        assert request is not None and request.target == b"/a"
        assert not connection.fresh
        await connection.end_of_request()
        assert connection.trailing() == b"\x81\x82mask"
        assert connection.machine.our_state is h11.SEND_RESPONSE
        assert connection.trailing() == b"\x81\x82mask"
        await connection.respond(*error_response(404, "nothing"))
        assert far.recv(1000).startswith(b"HTTP/1.1 404")

    talk(h11.SERVER, main)


@pytest.mark.parametrize("first", [HANDSHAKE[:20], b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", b""])
def test_what_is_no_plain_handshake_goes_to_h11_whole(first: bytes) -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        if first:
            far.sendall(first)
        else:
            far.shutdown(socket.SHUT_WR)
        await connection.transport.readable()
        assert connection.take_handshake() is None
        assert not connection.fresh
        if first == HANDSHAKE[:20]:
            far.sendall(HANDSHAKE[20:])
        event = await connection.next_event()
        assert isinstance(event, h11.Request if first else h11.ConnectionClosed)

    talk(h11.SERVER, main)


ASKED = UpstreamRequest(b"/a", b"key", [(b"Host", b"x"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")])
FRAME = b"\x81\x02hi"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize("cut", [len(SWITCH), len(SWITCH) - 1, 5])
def test_an_upstream_is_asked_and_answers(cut: int) -> None:
    """In one piece, which is read without h11, or in two."""

    async def main(connection: Http1Connection, far: socket.socket) -> None:
        async def answer() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert far.recv(1000) == ASKED.encoded()
            far.sendall(SWITCH[:cut] if cut < len(SWITCH) else SWITCH + FRAME)
            await trio.testing.wait_all_tasks_blocked()
            far.sendall(SWITCH[cut:] + FRAME if cut < len(SWITCH) else b"")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            event = await connection.handshake(ASKED)
        assert isinstance(event, PlainSwitch if cut == len(SWITCH) else h11.InformationalResponse)
        assert event.status_code == 101
        assert connection.trailing() == FRAME

    talk(h11.CLIENT, main)


def test_a_client_that_takes_no_answer_is_given_up() -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        while connection.transport.write_now(bytes(65536)):
            pass
        with pytest.raises(ConnectionLost):
            await connection.answer_handshake(ClientAnswer([(b"Upgrade", b"websocket")]), 0.01)

    talk(h11.SERVER, main)


def test_head_gets_the_head_only() -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        far.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await connection.next_event()
        await connection.respond(*error_response(404, "nothing"))
        head, _, body = far.recv(1000).partition(b"\r\n\r\n")
        assert b"Content-Length: 23" in head
        assert body == b""

    talk(h11.SERVER, main)


def test_bytes_behind_a_101_are_kept_in_both_roles() -> None:
    async def client(connection: Http1Connection, far: socket.socket) -> None:
        upgrade = h11.Request(method="GET", target="/", headers=[("Host", "x"), ("Upgrade", "websocket")])
        await connection.send(upgrade, h11.EndOfMessage())
        far.sendall(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")
        answer = await connection.next_event()
        assert isinstance(answer, h11.InformationalResponse)
        assert connection.trailing() == b"\x81\x02hi"

    async def server(connection: Http1Connection, far: socket.socket) -> None:
        far.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n\x81\x82mask")
        assert isinstance(await connection.next_event(), h11.Request)
        assert isinstance(await connection.next_event(), h11.EndOfMessage)
        await connection.send(h11.InformationalResponse(status_code=101, headers=[("Upgrade", "websocket")]))
        assert connection.trailing() == b"\x81\x82mask"

    talk(h11.CLIENT, client)
    talk(h11.SERVER, server)


async def deliver(far: socket.socket, received: bytes) -> None:
    def send() -> None:
        far.sendall(received)
        far.shutdown(socket.SHUT_WR)

    await trio.to_thread.run_sync(send)


LARGE = b"X: " + b"x" * 3 * HEAD_LIMIT


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie : secret\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + LARGE, 431),
    ],
)
def test_a_malformed_request_is_the_clients_fault(received: bytes, status: int) -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver, far, received)
            with pytest.raises(Refused) as caught:
                await connection.next_event()
            assert (caught.value.status, caught.value.result) == (status, "bad_request")
            assert "secret" not in caught.value.detail
            assert caught.value.__cause__ is None
            await connection.respond(*error_response(caught.value.status, caught.value.detail))
            nursery.start_soon(connection.transport.drain_and_close, 5)
        assert far.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())

    talk(h11.SERVER, main)


@pytest.mark.parametrize(
    "received",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + LARGE],
)
def test_a_malformed_answer_is_the_upstreams_fault(received: bytes) -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        await connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]), h11.EndOfMessage())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver, far, received)
            with pytest.raises(Refused) as caught:
                await connection.next_event()
            assert (caught.value.status, caught.value.result) == (502, "rejected_by_upstream")
            nursery.start_soon(connection.transport.drain_and_close, 5)

    talk(h11.CLIENT, main)


@pytest.mark.parametrize(
    "received",
    [b"GET / HT", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"],
)
def test_an_end_inside_a_message_is_a_loss(received: bytes) -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        far.sendall(received)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionLost):
            while True:
                await connection.next_event()

    talk(h11.SERVER, main)


def test_an_end_between_messages_is_an_event() -> None:
    async def main(connection: Http1Connection, far: socket.socket) -> None:
        far.shutdown(socket.SHUT_WR)
        assert isinstance(await connection.next_event(), h11.ConnectionClosed)

    talk(h11.SERVER, main)
