"""Independent WebSocket ends made of python-websockets: echoing upstreams in threads, and a client.

Must never import wsproxy.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.endtoend.tls_ends import tls_before

Conversation = Callable[[ServerConnection], None]
DEADLINE = 30.0


@dataclass(slots=True)
class Upstream:
    """A running upstream, and what it saw."""

    port: int
    requests: list[Request] = field(default_factory=list)
    agreed: list[str] = field(default_factory=list)
    """``Sec-WebSocket-Extensions`` of its answers; empty where it agreed on nothing."""
    closes: list[tuple[int | None, str | None]] = field(default_factory=list)
    """The close frames that it received, in order; None where there was none, or no code."""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


def echo(connection: ServerConnection) -> None:
    """Send every message back as it came."""
    for message in connection:
        connection.send(message)


def healthy(connection: ServerConnection, request: Request) -> Response | None:
    """200 to a plain GET; WebSockets are welcome."""
    return None if "Upgrade" in request.headers else connection.respond(200, "fine\n")


@contextlib.contextmanager
def upstream(
    conversation: Conversation = echo,
    *,
    deflate: ServerPerMessageDeflateFactory | None = None,
    subprotocols: Sequence[str] = (),
    answer: Callable[[ServerConnection, Request], Response | None] | None = None,
    headers: Sequence[tuple[str, str]] = (),
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Upstream]:
    """A websockets server. ``deflate``: what it agrees to; None: it lacks permessage-deflate.

    :param subprotocols: what it speaks, best first; a client that offers none of them is welcome all the same.
    :param answer: refuses a request when it gives a response.
    :param headers: added to its 101.
    :param tls: what to speak TLS with; None: plain.
    """
    seen = Upstream(0)

    def note_request(connection: ServerConnection, request: Request) -> Response | None:
        seen.requests.append(request)
        return answer(connection, request) if answer is not None else None

    def note_response(_connection: ServerConnection, _request: Request, response: Response) -> None:
        if response.status_code == 101:
            seen.agreed.append(response.headers.get("Sec-WebSocket-Extensions", ""))
            for name, value in headers:
                response.headers[name] = value

    def converse(connection: ServerConnection) -> None:
        # However the conversation ends, what matters is which close frame arrived.
        with contextlib.suppress(ConnectionClosed):
            conversation(connection)
        connection.close()
        received = connection.protocol.close_rcvd
        seen.closes.append((None, None) if received is None else (received.code, received.reason))

    def choose(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((Subprotocol(name) for name in subprotocols if name in offered), None)

    server = serve(
        converse,
        host,
        port,
        compression=None,
        extensions=[deflate] if deflate is not None else None,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        select_subprotocol=choose,
        process_request=note_request,
        process_response=note_response,
        max_size=None,
        ping_interval=None,
        close_timeout=5,
    )
    seen.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with contextlib.nullcontext(seen.port) if tls is None else tls_before(seen.port, tls) as seen.port:
            yield seen
    finally:
        server.shutdown()
        thread.join(DEADLINE)


@contextlib.contextmanager
def client(
    url: str,
    *,
    deflate: ClientPerMessageDeflateFactory | None = None,
    subprotocols: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    source: str = "",
) -> Iterator[ClientConnection]:
    """A websockets client. ``deflate``: what it offers; None: it does not know permessage-deflate.

    :param source: the address to connect from.
    """
    with connect(
        url,
        source_address=(source, 0) if source else None,
        compression=None,
        extensions=[deflate] if deflate is not None else None,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        additional_headers=list(headers),
        proxy=None,
        ping_interval=None,
        max_size=None,
        close_timeout=5,
    ) as connection:
        yield connection


def agreement(connection: ClientConnection) -> str:
    """The ``Sec-WebSocket-Extensions`` that the client was answered; empty where there is none."""
    assert connection.response is not None
    return connection.response.headers.get("Sec-WebSocket-Extensions", "")


CHROME = ClientPerMessageDeflateFactory(client_max_window_bits=True)
"""Offers what Chrome offers: ``permessage-deflate; client_max_window_bits``."""
WIDE = ServerPerMessageDeflateFactory(server_max_window_bits=15, client_max_window_bits=15)
"""An upstream that compresses with the largest windows and keeps them."""
FORGETFUL = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=15
)
"""An upstream that starts anew with each message, as gorilla does."""
