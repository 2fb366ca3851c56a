"""Ends of TLS that one thread alone reads and writes: a websockets client, and TLS before a plain upstream.

Why: websockets' threading ends read in one thread and write in another on one SSL object, which Python's ssl does not
allow before 3.13; under load they hang. Must never import wsproxy.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

from websockets.asyncio.client import ClientConnection, connect

DEADLINE = 30.0


class SecureClient:
    """A websockets client over TLS; its loop runs in the calls, so whoever calls is the only thread."""

    def __init__(self, runner: asyncio.Runner, connection: ClientConnection) -> None:
        self._runner = runner
        self._connection = connection

    def send(self, message: str | bytes) -> None:
        self._runner.run(asyncio.wait_for(self._connection.send(message), DEADLINE))

    def recv(self, timeout: float) -> str | bytes:
        return self._runner.run(asyncio.wait_for(self._connection.recv(), timeout))


@contextlib.contextmanager
def secure_client(
    address: tuple[str, int],
    path: str,
    tls: ssl.SSLContext,
    name: str,
    headers: Sequence[tuple[str, str]] = (),
) -> Iterator[SecureClient]:
    """Connect to ``address``, and ask for ``path`` at ``name``."""

    async def opened() -> ClientConnection:
        return await connect(
            f"wss://{name}:{address[1]}{path}",
            host=address[0],
            port=address[1],
            ssl=tls,
            server_hostname=name,
            additional_headers=list(headers),
            compression=None,
            max_size=None,
            ping_interval=None,
            proxy=None,
            open_timeout=DEADLINE,
            close_timeout=5,
        )

    with asyncio.Runner() as runner:
        connection = runner.run(opened())
        try:
            yield SecureClient(runner, connection)
        finally:
            runner.run(connection.close())


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes on until ``source`` ends, however it ends; then the ``sink`` ends as well."""
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


@contextlib.contextmanager
def tls_before(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """Accept TLS and carry what is in it to ``port`` of this machine, and back. Gives the port to connect to."""
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        conversations: set[asyncio.Task[None]] = set()

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            conversations.add(task)
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))
            conversations.discard(task)

        server = await asyncio.start_server(one, sock=listener, ssl=tls)
        await done.wait()
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(DEADLINE)
        loop.close()
