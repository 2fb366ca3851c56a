"""The ends that echo: an upstream for the fuzzing client, a client for the fuzzing server. Each a process of its own.

Made of python-websockets' protocol without I/O, because its connections would hide faults of the proxy: these ends take
text as bytes and send it back unchecked, so that bad UTF-8 which the proxy lets through returns to the fuzzer.
Must never import wsproxy.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tests.autobahn.suite import AGENT, finish

_READ = 256 * 1024


@contextlib.contextmanager
def upstream(*, compress: bool) -> Iterator[str]:
    """A process that echoes on every connection: its URL.

    :param compress: it agrees to permessage-deflate, on whatever terms it is offered.
    """
    with subprocess.Popen(_command("upstream", compress), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def walk(url: str, host: str, log: Path, *, compress: bool) -> None:
    """Run the client against every case of the fuzzing server that is behind ``url``; it then writes its reports.

    :param host: for the Host header, which the proxy passes on: the fuzzing server accepts no port but its own.
    :param log: a file for what the client has to say.
    :param compress: it offers permessage-deflate, on whatever terms it is answered.
    """
    command = [*_command("client", compress), url, host]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            finish(process, log)
        finally:
            process.kill()


def _command(role: str, compress: bool) -> list[str]:
    return [sys.executable, "-m", "tests.autobahn.ends", *(["--compress"] if compress else []), role]


class _Close(Protocol):
    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            # A close frame may come between fragments (RFC 6455 §5.4). websockets would answer 1002, and the fuzzer
            # sees in the answer what the proxy made of its own code.
            self.current_size = None
        super().recv_frame(frame)


class _Client(_Close, ClientProtocol):
    pass


class _Upstream(_Close, ServerProtocol):
    pass


class _Conversation:
    """One connection: websockets' protocol, the streams under it, and the message that is being gathered."""

    def __init__(
        self, protocol: _Client | _Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.protocol = protocol
        self.reader = reader
        self.writer = writer
        self.echoes = True
        self.last = b""
        """The last message received."""
        self._opcode = Opcode.TEXT
        self._parts: list[bytes] = []

    async def run(self) -> None:
        """Echo until the connection ends, however it does: the fuzzer is the judge of that."""
        with contextlib.suppress(ConnectionError):
            await self._send()
            while data := await self.reader.read(_READ):
                self.protocol.receive_data(data)
                self._react()
                await self._send()
            self.protocol.receive_eof()
            await self._send()
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def _send(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.writer.write(data)
            elif self.writer.can_write_eof():
                self.writer.write_eof()
        await self.writer.drain()

    def _react(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                assert isinstance(self.protocol, _Upstream)
                self.protocol.send_response(self.protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._gather(event)

    def _gather(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._opcode = frame.opcode
            self._parts = []
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        self.last = b"".join(self._parts)
        # A close frame in the same read has been answered already: nothing may follow that.
        if self.echoes and self.protocol.state is State.OPEN:
            send = self.protocol.send_text if self._opcode is Opcode.TEXT else self.protocol.send_binary
            send(self.last)


async def _serve(compress: bool) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        extensions = [ServerPerMessageDeflateFactory()] if compress else None
        await _Conversation(_Upstream(extensions=extensions, max_size=None), reader, writer).run()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"ws://{host}:{port}", flush=True)
    await server.serve_forever()


async def _ask(url: str, host: str, compress: bool, *, echoes: bool = True) -> bytes:
    """One connection to its end; gives the last message received."""
    place = parse_uri(url)
    extensions = [ClientPerMessageDeflateFactory()] if compress else None
    protocol = _Client(place, extensions=extensions, max_size=None)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    conversation = _Conversation(protocol, reader, writer)
    conversation.echoes = echoes
    request = protocol.connect()
    del request.headers["Host"]
    request.headers["Host"] = host
    protocol.send_request(request)
    await conversation.run()
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    return conversation.last


async def _walk(url: str, host: str, compress: bool) -> None:
    count = int(await _ask(f"{url}/getCaseCount", host, compress, echoes=False))
    for case in range(1, count + 1):
        print(f"case {case} of {count}", flush=True)
        await _ask(f"{url}/runCase?case={case}&agent={AGENT}", host, compress)
    await _ask(f"{url}/updateReports?agent={AGENT}", host, compress, echoes=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("upstream", "client"))
    parser.add_argument("--compress", action="store_true", help="agree to permessage-deflate, or offer it")
    parser.add_argument("url", nargs="?", help="of the proxy, for the client")
    parser.add_argument("host", nargs="?", help="for the client's Host header")
    arguments = parser.parse_args()
    if arguments.role == "upstream":
        asyncio.run(_serve(arguments.compress))
    else:
        asyncio.run(_walk(arguments.url, arguments.host, arguments.compress))


if __name__ == "__main__":
    main()
