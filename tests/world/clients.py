"""Clients of five makes, each of which holds conversations and says what it saw. Must never import wsproxy."""

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import aiohttp
from websockets.exceptions import WebSocketException
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection

from tests.endtoend import peers
from tests.world.scripts import Script, encoded

_BURST_BYTES = 65_536
_BURST_MESSAGES = 32
PATIENCE = 600.0
"""Seconds for all conversations of one client together; it only ends what hangs."""


@dataclass(frozen=True, slots=True)
class Offer:
    """permessage-deflate as a client asks for it; ``client_bits`` is True for the parameter without a value."""

    server_resets: bool = False
    client_resets: bool = False
    server_bits: int | None = None
    client_bits: int | bool | None = None

    @property
    def header(self) -> str:
        """As it stands in a request, but for the order of the parameters."""
        parts = ["permessage-deflate"]
        if self.server_resets:
            parts.append("server_no_context_takeover")
        if self.client_resets:
            parts.append("client_no_context_takeover")
        if self.server_bits is not None:
            parts.append(f"server_max_window_bits={self.server_bits}")
        if self.client_bits is not None:
            parts.append("client_max_window_bits" + ("" if self.client_bits is True else f"={self.client_bits}"))
        return "; ".join(parts)


BROWSER = Offer(client_bits=True)
FORGETFUL = Offer(server_resets=True, client_resets=True)


@dataclass(frozen=True, slots=True)
class Job:
    """One conversation: with whom, what is offered, and the messages. None: permessage-deflate is not offered."""

    url: str
    offer: Offer | None
    script: Script


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of one conversation. ``digest``: of the echoes; ``error``: empty unless it failed."""

    answered: str
    echoes: int
    digest: str
    code: int | None
    reason: str | None
    error: str = ""


class Client(Protocol):
    """One make of client."""

    @property
    def name(self) -> str: ...

    def converse(self, jobs: Sequence[Job]) -> list[Seen]:
        """Hold the conversations one after the other: all messages in bursts, each echo hashed, then 4001 `done`."""
        ...


def bursts(messages: Sequence[str | bytes]) -> Iterator[Sequence[tuple[int, str | bytes]]]:
    """Numbered messages in groups small enough to be under way at once, whoever reads late."""
    burst: list[tuple[int, str | bytes]] = []
    size = 0
    for number, message in enumerate(messages):
        burst.append((number, message))
        size += len(message)
        if size >= _BURST_BYTES or len(burst) == _BURST_MESSAGES:
            yield burst
            burst, size = [], 0
    if burst:
        yield burst


@dataclass(frozen=True, slots=True)
class Program:
    """A client in another language: a job a line in, a result a line out."""

    name: str
    command: tuple[str, ...]
    folder: Path

    def converse(self, jobs: Sequence[Job]) -> list[Seen]:
        lines = "".join(
            json.dumps(
                {"url": job.url, "offer": asdict(job.offer) if job.offer else None, "script": str(job.script.path)}
            )
            + "\n"
            for job in jobs
        )
        done = subprocess.run(
            self.command,
            cwd=self.folder,
            input=lines,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [Seen(**json.loads(line)) for line in done.stdout.splitlines()]


class Websockets:
    """python-websockets, with blocking calls."""

    name = "websockets"

    def converse(self, jobs: Sequence[Job]) -> list[Seen]:
        return [self._converse(job) for job in jobs]

    def _converse(self, job: Job) -> Seen:
        offer = job.offer
        deflate = None
        if offer is not None:
            deflate = ClientPerMessageDeflateFactory(
                offer.server_resets, offer.client_resets, offer.server_bits, offer.client_bits
            )
        digest = hashlib.sha256()
        echoes, answered = 0, ""
        try:
            with peers.client(job.url, deflate=deflate) as connection:
                answered = peers.agreement(connection)
                for burst in bursts(job.script.messages):
                    for number, message in burst:
                        self._send(connection, number, message)
                    for _ in burst:
                        digest.update(encoded(connection.recv()))
                        echoes += 1
                connection.close(4001, "done")
        except (WebSocketException, OSError) as error:
            return Seen(answered, echoes, digest.hexdigest(), None, None, repr(error))
        return Seen(answered, echoes, digest.hexdigest(), connection.close_code, connection.close_reason)

    def _send(self, connection: ClientConnection, number: int, message: str | bytes) -> None:
        if number % 7 != 3 or not message:
            connection.send(message)
        else:
            connection.send(_thirds(message))


def _thirds(message: str | bytes) -> Iterable[str] | Iterable[bytes]:
    size = len(message) // 3 + 1
    if isinstance(message, str):
        return [message[at : at + size] for at in range(0, len(message), size)]
    return [message[at : at + size] for at in range(0, len(message), size)]


class Aiohttp:
    """aiohttp, which offers one window's size, and always lets its own be limited."""

    name = "aiohttp"

    def converse(self, jobs: Sequence[Job]) -> list[Seen]:
        return asyncio.run(self._all(jobs))

    async def _all(self, jobs: Sequence[Job]) -> list[Seen]:
        answers: list[str] = []

        async def note(
            _session: aiohttp.ClientSession, _trace: SimpleNamespace, end: aiohttp.TraceRequestEndParams
        ) -> None:
            answers.append(end.response.headers.get("Sec-WebSocket-Extensions", ""))

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(note)
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            found: list[Seen] = []
            for job in jobs:
                answers.clear()
                seen = await asyncio.wait_for(self._converse(session, job, answers), PATIENCE)
                found.append(seen)
            return found

    async def _converse(self, session: aiohttp.ClientSession, job: Job, answers: Sequence[str]) -> Seen:
        bits = 0 if job.offer is None else job.offer.server_bits or 15
        digest = hashlib.sha256()
        echoes = 0
        try:
            async with session.ws_connect(job.url, compress=bits, max_msg_size=0) as connection:
                for burst in bursts(job.script.messages):
                    for _, message in burst:
                        if isinstance(message, str):
                            await connection.send_str(message)
                        else:
                            await connection.send_bytes(message)
                    for _ in burst:
                        echo = await connection.receive()
                        if not isinstance(echo.data, str | bytes):
                            fault = f"{echo.type.name}: {echo.data!r} {connection.exception()!r}"
                            return Seen(answers[-1], echoes, digest.hexdigest(), connection.close_code, None, fault)
                        digest.update(encoded(echo.data))
                        echoes += 1
                await connection.close(code=4001, message=b"done")
                # It keeps the code of the close frame that it got, and not the reason.
                return Seen(answers[-1], echoes, digest.hexdigest(), connection.close_code, None)
        except (aiohttp.ClientError, OSError) as error:
            return Seen("".join(answers), echoes, digest.hexdigest(), None, None, repr(error))
