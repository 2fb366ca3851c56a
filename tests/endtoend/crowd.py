"""Hundreds of clients as one process, and an echoing upstream for them as another, made of python-websockets' asyncio.

Owns: both programs (``python -m tests.endtoend.crowd``) and the calls by which a test leads them. Must never import
wsproxy. Threads, as in `peers`, would be too many.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.endtoend.proxy import environment

OPENING_AT_ONCE = 40
PATIENCE = 120.0


# --- what a test sees


@dataclass(slots=True)
class Report:
    """What became of a crowd.

    :ivar echoes: messages that came back as they were sent.
    :ivar closes: of the connections that the other side closed: the code, and when by `time.monotonic`.
    :ivar faults: everything that should not have happened.
    """

    echoes: int
    closes: list[tuple[int, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Crowd:
    """A running crowd whose clients are all connected."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._expect("connected")

    def _expect(self, word: str) -> dict[str, object]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the crowd ended with {self.process.wait()}"
        told: dict[str, object] = json.loads(line)
        assert word in told, told
        return told

    def _report(self) -> Report:
        told = self._expect("echoes")
        report = Report(**told)  # type: ignore[arg-type]
        report.closes = [(code, when) for code, when in report.closes]
        return report

    def stop(self) -> Report:
        """Let each client get its last echo and leave."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._report()

    def closed(self) -> Report:
        """Wait until the other side has closed every connection."""
        return self._report()


@contextlib.contextmanager
def crowd(url: str, clients: int, pause: float) -> Iterator[Crowd]:
    """``clients`` connections; each sends a message, wants it back, waits ``pause`` seconds, and so on; 0: never."""
    with _program("clients", url, str(clients), str(pause)) as process:
        yield Crowd(process)


@contextlib.contextmanager
def crowd_upstream() -> Iterator[str]:
    """An echoing upstream; gives its URL."""
    with _program("upstream") as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextlib.contextmanager
def _program(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.endtoend.crowd", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


# --- the programs


class _Clients:
    def __init__(self, url: str, pause: float) -> None:
        self._url = url
        self._pause = pause
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._leaving = asyncio.Event()
        self._report = Report(0)

    async def run(self, number: int) -> None:
        connected = [asyncio.Event() for _ in range(number)]
        tasks = [asyncio.create_task(self._one(index, event)) for index, event in enumerate(connected)]
        for event in connected:
            await event.wait()
        print(json.dumps({"connected": number}), flush=True)
        waiting = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        waiting.add_done_callback(lambda _: self._leaving.set())
        await asyncio.gather(*tasks)
        report = self._report
        print(json.dumps({"echoes": report.echoes, "closes": report.closes, "faults": report.faults}), flush=True)

    async def _one(self, index: int, connected: asyncio.Event) -> None:
        try:
            async with self._opening:
                connection = await connect(self._url, proxy=None, ping_interval=None, open_timeout=PATIENCE)
            connected.set()
            async with connection:
                if self._pause:
                    await self._converse(index, connection)
                else:
                    await connection.wait_closed()
                    self._closed(connection.close_code)
        except ConnectionClosed:
            self._closed(connection.close_code)
        except Exception as error:  # noqa: BLE001 — whatever it is, the test is to see it
            self._report.faults.append(f"{index}: {error!r}")
            connected.set()

    async def _converse(self, index: int, connection: ClientConnection) -> None:
        number = 0
        while not self._leaving.is_set():
            number += 1
            message = f"{index}.{number} " + "the quick brown fox jumps over the lazy dog " * (number % 40)
            await connection.send(message)
            async with asyncio.timeout(PATIENCE):
                answer = await connection.recv()
            if answer != message:
                self._report.faults.append(f"{index}: sent {message[:40]!r}, got {answer[:40]!r}")
                return
            self._report.echoes += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), self._pause)

    def _closed(self, code: int | None) -> None:
        self._report.closes.append((code or 0, monotonic()))


async def _serve() -> None:
    async def echo(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await server.wait_closed()


def main(program: str, *arguments: str) -> None:
    if program == "upstream":
        asyncio.run(_serve())
    else:
        url, clients, pause = arguments
        asyncio.run(_Clients(url, float(pause)).run(int(clients)))


if __name__ == "__main__":
    main(*sys.argv[1:])
