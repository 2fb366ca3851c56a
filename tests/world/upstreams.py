"""Echoing upstreams of three makes, each in several variants, and what arrived at them. Must never import wsproxy."""

import contextlib
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.sync.server import ServerConnection

from tests.endtoend import peers
from tests.endtoend.proxy import wait_for
from tests.world.scripts import encoded


@dataclass(frozen=True, slots=True)
class Arrived:
    """One connection as its upstream saw it, from beginning to end.

    :ivar path: of the request, with its query.
    :ivar asked, answered: ``Sec-WebSocket-Extensions`` of the request and of the answer; empty where there was none.
    :ivar digest: of the messages that arrived.
    :ivar error: for the reader; a close frame with code 4001 is not one.
    """

    path: str
    asked: str
    answered: str
    messages: int
    digest: str
    code: int | None
    reason: str | None
    error: str = ""


@dataclass(slots=True)
class Upstreams:
    """The variants of one make: their URLs by name, and the connections that have ended."""

    make: str
    urls: dict[str, str]
    arrivals: list[Arrived] = field(default_factory=list)

    def arrived(self, paths: Sequence[str]) -> dict[str, Arrived]:
        """The connections with these paths, once they all have ended."""
        wanted = set(paths)
        wait_for("every connection's end", lambda: wanted <= {seen.path for seen in list(self.arrivals)})
        return {seen.path: seen for seen in self.arrivals if seen.path in wanted}


WEBSOCKETS: Mapping[str, ServerPerMessageDeflateFactory | None] = {
    "plain": None,
    "wide": ServerPerMessageDeflateFactory(server_max_window_bits=15, client_max_window_bits=15),
    "default": ServerPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12),
    "forgetful": ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
    "narrow": ServerPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10),
}
NODE: Mapping[str, Mapping[str, object]] = {
    "plain": {"perMessageDeflate": False},
    # Its default: messages of less than 1 KiB are not compressed.
    "wide": {"perMessageDeflate": True},
    "default": {"perMessageDeflate": {"threshold": 0}},
    "forgetful": {
        "perMessageDeflate": {"serverNoContextTakeover": True, "clientNoContextTakeover": True, "threshold": 0}
    },
    # It answers 400 to whoever does not let its window be limited, if it is told to limit it.
    "narrow": {"perMessageDeflate": {"serverMaxWindowBits": 9, "threshold": 0}},
}
GORILLA: Mapping[str, bool] = {"plain": False, "forgetful": True}


@contextlib.contextmanager
def websockets_upstreams() -> Iterator[Upstreams]:
    """python-websockets, in threads of this process."""
    running = Upstreams("websockets", {})

    def echo(connection: ServerConnection) -> None:
        digest = hashlib.sha256()
        messages = 0
        try:
            for message in connection:
                digest.update(encoded(message))
                messages += 1
                connection.send(message)
        finally:
            close = connection.protocol.close_rcvd
            assert connection.request is not None
            assert connection.response is not None
            running.arrivals.append(
                Arrived(
                    connection.request.path,
                    connection.request.headers.get("Sec-WebSocket-Extensions", ""),
                    connection.response.headers.get("Sec-WebSocket-Extensions", ""),
                    messages,
                    digest.hexdigest(),
                    None if close is None else close.code,
                    None if close is None else close.reason,
                )
            )

    with contextlib.ExitStack() as stack:
        for name, deflate in WEBSOCKETS.items():
            running.urls[name] = stack.enter_context(peers.upstream(echo, deflate=deflate)).url
        yield running


@contextlib.contextmanager
def program_upstreams(make: str, command: Sequence[str], folder: Path, variants: object) -> Iterator[Upstreams]:
    """Upstreams in another language: their variants as its last argument, their ports and each end as JSON lines."""
    process = subprocess.Popen([*command, json.dumps(variants)], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = process.stdout
    reader: threading.Thread | None = None
    try:
        ports = json.loads(lines.readline())
        running = Upstreams(make, {name: f"ws://127.0.0.1:{port}" for name, port in ports.items()})

        def read() -> None:
            for line in lines:
                running.arrivals.append(Arrived(**json.loads(line)))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield running
    finally:
        process.kill()
        process.wait()
        if reader is not None:
            reader.join()
        lines.close()
