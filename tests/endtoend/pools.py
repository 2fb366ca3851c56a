"""Pools of upstreams that tell their numbers, and clients that tell where they came to. Must never import wsproxy."""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.endtoend.peers import Upstream, client, echo, upstream
from tests.endtoend.proxy import DEADLINE, Proxy

ROUTE = '[[routes]]\nname = "feed"\nupstream = "feed"\n'


def telling(number: int, **options: object) -> AbstractContextManager[Upstream]:
    """An upstream that tells its number, then echoes."""

    def conversation(connection: ServerConnection) -> None:
        connection.send(str(number))
        echo(connection)

    return upstream(conversation, **options)  # type: ignore[arg-type]


def feed(urls: Sequence[str], *lines: str) -> str:
    """A pool of these endpoints, each a URL or an inline table; ``lines`` are its settings."""
    endpoints = ", ".join(url if url.startswith("{") else f'"{url}"' for url in urls)
    return ROUTE + f"[upstreams.feed]\nendpoints = [{endpoints}]\n" + "\n".join(lines)


@contextmanager
def numbered(count: int) -> Iterator[list[Upstream]]:
    with ExitStack() as stack:
        yield [stack.enter_context(telling(number)) for number in range(count)]


class Clients:
    """Clients whose tunnels stay open."""

    def __init__(self, proxy: Proxy, stack: ExitStack) -> None:
        self._proxy = proxy
        self._stack = stack

    def open(self, source: str = "") -> tuple[int, ClientConnection]:
        """One more tunnel: the number of its upstream, and the client."""
        connection = self._stack.enter_context(client(self._proxy.url("/"), source=source))
        return int(connection.recv(DEADLINE)), connection

    def spread(self, times: int) -> Counter[int]:
        return Counter(self.open()[0] for _ in range(times))


@contextmanager
def clients(proxy: Proxy) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(proxy, stack)


def once(proxy: Proxy, source: str = "") -> int:
    """The upstream of a tunnel that ends at once."""
    with client(proxy.url("/"), source=source) as connection:
        return int(connection.recv(DEADLINE))


def refused(proxy: Proxy) -> Response:
    with pytest.raises(InvalidStatus) as caught, client(proxy.url("/")):
        pass
    return caught.value.response


def up(proxy: Proxy, url: str) -> bool:
    return proxy.metric("wsproxy_endpoint_up", endpoint=url) == 1


def dead_url() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"ws://127.0.0.1:{sock.getsockname()[1]}"
