"""The legacy backend as a process: pages, refusals, and feeds that are the same in each run."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from tests.demo.loopback import exchange
from wsproxy.demo.conversation import Message, connect

SECONDS = 30.0


@contextmanager
def backend() -> Iterator[int]:
    """The port of a backend of one's own."""
    command = [sys.executable, "-W", "error", "-m", "wsproxy.demo.backend"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
    # It heeds the signal by itself: the default would do nothing in the first process of a container.
    assert process.returncode == 128 + signal.SIGTERM


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with backend() as port:
        yield port


async def first_messages(port: int, path: str, count: int) -> list[Message]:
    messages: list[Message] = []
    async with await connect("127.0.0.1", port, path) as conversation:
        while len(messages) < count:
            messages += await conversation.receive()
        await conversation.close()
        while not conversation.over:
            await conversation.receive()
        assert conversation.close_code == 1000
    return messages[:count]


@pytest.mark.parametrize(
    ("request_head", "status", "content"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"new WebSocket"),
        (b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, b"no such page"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, b"bad request"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", 400, b""),
        (
            b"GET /nothing HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            404,
            b"",
        ),
    ],
)
def test_pages_and_refusals(port: int, request_head: bytes, status: int, content: bytes) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            response, body = await exchange(port, request_head)
            assert response.status_code == status
            assert content in body

    trio.run(main)


def test_it_never_agrees_on_compression_and_echoes_both_kinds(port: int) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with await connect("127.0.0.1", port, "/browser/echo?x=/y") as conversation:
                assert not conversation.compressed
                for message in ("text", b"binary"):
                    await conversation.send(message)
                    assert await conversation.receive() == [message]

    trio.run(main)


def test_a_client_that_just_goes_away_disturbs_nobody(port: int) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with await connect("127.0.0.1", port, "/chat") as conversation:
                await conversation.receive()
            assert len(await first_messages(port, "/chat", 2)) == 2

    trio.run(main)


def test_subscribers_differ_and_runs_do_not() -> None:
    async def main(port: int) -> list[list[Message]]:
        with trio.fail_after(SECONDS):
            return [await first_messages(port, path, 10) for path in ("/market", "/market", "/chat")]

    with backend() as port:
        one_run = trio.run(main, port)
    with backend() as port:
        another_run = trio.run(main, port)
    assert one_run == another_run
    assert not set(one_run[0]) & set(one_run[1])
