"""One worker's parts around one session, in this process, over real sockets that a plan lets fail.

Owns: building them, and the laws that hold when a session is over, whatever happened to it.
"""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
import trustme

from tests.faults.ends import Stream
from tests.faults.sockets import PLAN, FaultySocket, Plan, Trouble
from wsproxy.errors import Side
from wsproxy.gateway.generation import Generation
from wsproxy.network.transport import PlainTransport
from wsproxy.service.heap import trim_heap
from wsproxy.service.proxy import Proxy
from wsproxy.service.session import run_session
from wsproxy.settings.load import load

STALL_SECONDS = 0.3
"""How long the far ends put up with a stall before they hang up: longer than the route's deadlines."""
GUARD_SECONDS = 60
"""Only ends what hangs."""
_CA = trustme.CA()
_UPSTREAM_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_CA.issue_cert("127.0.0.1").configure_cert(_UPSTREAM_TLS)
_CLIENT_TLS = ssl.create_default_context()
_CA.configure_trust(_CLIENT_TLS)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the two ends say to each other."""

    client: Callable[[Stream], Awaitable[bool]]
    upstream: Callable[[Stream], Awaitable[None]]
    is_http: bool


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: whom to trust, and who the proxy is, with its key."""

    ca: Path
    identity: Path


def write_tls_files(folder: Path) -> TlsFiles:
    """For TLS on both sides of the proxy."""
    files = TlsFiles(folder / "ca.pem", folder / "identity.pem")
    _CA.cert_pem.write_to_path(files.ca)
    _CA.issue_cert("proxy.test").private_key_and_cert_chain_pem.write_to_path(files.identity)
    return files


def settings_text(url: str, seconds: float, tls: TlsFiles | None) -> str:
    """A configuration with one route, all of whose deadlines are ``seconds``."""
    certificates = "" if tls is None else f'tls.certificates = [{{ cert = "{tls.identity}", key = "{tls.identity}" }}]'
    return f"""
metrics.listen = ""
[[listeners]]
name = "public"
bind = "127.0.0.1:0"
{certificates}
[[routes]]
name = "feed"
upstream = "feed"
[routes.timeouts]
connect_seconds = {seconds}
handshake_seconds = {seconds}
response_seconds = {seconds}
close_seconds = {seconds}
[upstreams.feed]
endpoints = ["{url}"]
tls.ca = "{tls.ca if tls else ""}"
"""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


class Rig:
    """One proxy, one session of it, one client, one upstream.

    :ivar satisfied: whether the client got all that it asked for.
    """

    def __init__(self, conversation: Conversation, plan: Plan, tls: TlsFiles | None = None) -> None:
        """``tls``: if it is given, both the client and the upstream speak TLS."""
        self.plan = plan
        self.satisfied = False
        self._conversation = conversation
        self._tls = tls
        self._client_over = trio.Event()
        self._proxy: Proxy

    async def run(self) -> None:
        """Have the conversation; returns when everything that belongs to it has ended."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        scheme = "wss" if self._tls else "ws"
        url = f"{scheme}://127.0.0.1:{listener.socket.getsockname()[1]}"
        seconds = STALL_SECONDS / 2 if self.plan.trouble is Trouble.STALL else 60
        self._proxy = Proxy(Generation(load(settings_text(url, seconds, self._tls), {})))
        near, far = tcp_pair()
        async with listener, trio.open_nursery() as board:
            board.start_soon(self._proxy.switchboard.serve)
            board.start_soon(self._proxy.switchboard.sweep, trim_heap)
            board.start_soon(self._proxy.departures.serve)
            async with trio.open_nursery() as ends:
                ends.start_soon(self._serve_upstream, listener)
                ends.start_soon(self._hang_up_on_stall, ends.cancel_scope)
                ends.start_soon(self._run_client, near)
                with trio.CancelScope(shield=True), trio.fail_after(GUARD_SECONDS):
                    await self._run_session(far)
                    await self._client_over.wait()
                ends.cancel_scope.cancel()
            board.cancel_scope.cancel()
        self._proxy.switchboard.close()
        self._proxy.departures.close()

    async def _run_client(self, sock: socket.socket) -> None:
        try:
            async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as bare:
                stream = trio.SSLStream(bare, _CLIENT_TLS, server_hostname="proxy.test") if self._tls else bare
                self.satisfied = await self._conversation.client(stream)
        finally:
            self._client_over.set()

    async def _serve_upstream(self, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._run_upstream, await listener.accept())

    async def _run_upstream(self, bare: trio.SocketStream) -> None:
        stream = trio.SSLStream(bare, _UPSTREAM_TLS, server_side=True) if self._tls else bare
        async with bare:
            await self._conversation.upstream(stream)

    async def _run_session(self, sock: socket.socket) -> None:
        PLAN.set(self.plan)
        if self.plan.side is Side.CLIENT:
            sock = FaultySocket(self.plan, sock.detach())
        with trio.CancelScope() as scope:
            self.plan.cancel = scope.cancel
            await run_session(self._proxy, "public", PlainTransport(sock, peer=str(self.plan)))

    async def _hang_up_on_stall(self, ends: trio.CancelScope) -> None:
        await self.plan.fired.wait()
        if self.plan.trouble is Trouble.STALL:
            await trio.sleep(STALL_SECONDS)
            self.plan.release()
            ends.cancel()

    def check(self, records: Sequence[logging.LogRecord]) -> None:
        """The laws. ``records``: what the proxy logged since it began, also for rigs with another plan."""
        counters = self._proxy.counters
        route = counters.routes["feed"]
        accepted = counters.handshakes["feed", "accepted"]
        refused = sum(counters.handshakes.values()) - accepted
        assert counters.sessions_active == {"public": 0}
        assert (route.tunnels_active, len(self._proxy.tunnels)) == (0, 0)
        assert all(pool.live(endpoint) == 0 for pool in counters.pools for endpoint in pool.endpoints)
        assert route.tunnels_total == accepted == sum(route.closes.values()) == sum(route.durations)
        assert accepted + refused <= 1
        mine = [each for each in records if each.__dict__.get("fields", {}).get("client") == str(self.plan)]
        assert [each.levelname for each in mine if each.levelno > logging.INFO] == []
        lines = [each.getMessage() for each in mine if each.levelno == logging.INFO]
        assert len(lines) <= 1
        assert lines.count("closed") == accepted
        # Plain HTTP that is refused is told, but it is no handshake.
        assert lines.count("refused") == refused or (self._conversation.is_http and refused == 0)
        assert [each.getMessage() for each in mine if each.levelno < logging.INFO] in ([], ["session ended"])
