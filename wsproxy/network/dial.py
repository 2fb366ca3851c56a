"""Connections to upstream endpoints: TCP to any address of a name, Unix sockets, verified TLS.

Owns: how an endpoint is reached. Must never import HTTP or WebSocket, nor choose between endpoints.
Invariant: what goes wrong is Refused 502 or 504; why it did is its ``__cause__``, for the log and not for the client.
"""

import errno
import os
import socket
import ssl
from functools import lru_cache

import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.network.tls_transport import TlsTransport
from wsproxy.network.transport import EXHAUSTED, PlainTransport, Transport, address_text
from wsproxy.settings.endpoints import Endpoint

UpstreamTls = ssl.SSLContext
"""For the layers above, which carry one and never look inside."""

_BACKLOG_PAUSE_SECONDS = 0.01


async def dial(
    endpoint: Endpoint, tls: UpstreamTls | None, server_name: str, timeout_seconds: float, preamble: bytes = b""
) -> Transport:
    """Connect, TLS included, within ``timeout_seconds``; ``preamble`` goes first, also before TLS.

    ``tls`` is needed for an endpoint with TLS only; ``server_name`` is what its certificate must be for, the
    endpoint's host if empty. Raises Refused: 504 on timeout, 503 when this process is out of descriptors, else 502.
    """
    try:
        begun = None
        if endpoint.unix_path is None and (place := _literal(endpoint.host, endpoint.port)) is not None:
            begun = _begin(*place)
            if not endpoint.tls and _is_connected(begun):
                transport = PlainTransport(begun, address_text(place[1]))
                transport.write_now(preamble)
                return transport
        with trio.move_on_after(timeout_seconds):
            return await _connect(endpoint, begun, tls, server_name or endpoint.host, preamble)
    except (OSError, UnicodeError, ConnectionLost) as error:
        if _is_exhaustion(error):
            raise Refused(503, "limited", "too many connections", ((b"Retry-After", b"1"),)) from error
        raise Refused(502, "upstream_unreachable", "the upstream cannot be reached") from error
    raise Refused(504, "upstream_timeout", "the upstream did not accept the connection in time")


def _is_exhaustion(error: BaseException | None) -> bool:
    """It is this process or machine that has no room, not the upstream."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_exhaustion(each) for each in error.exceptions)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return True
    return error is not None and _is_exhaustion(error.__cause__)


async def _connect(
    endpoint: Endpoint, begun: socket.socket | None, tls: UpstreamTls | None, server_name: str, preamble: bytes
) -> Transport:
    """``begun``: a socket that connects to the endpoint already."""
    if begun is not None:
        sock = await _connected(begun)
    elif endpoint.unix_path is not None:
        sock = await _connect_unix(endpoint.unix_path)
    else:
        sock = await _connect_tcp(endpoint)
    plain = PlainTransport(sock)
    try:
        if preamble:
            await plain.send_all(preamble)
        if not endpoint.tls:
            return plain
        if tls is None:
            raise ValueError(f"{endpoint.url} needs a TLS context")
    except BaseException:
        plain.close()
        raise
    sock = plain.detach()
    try:
        secure = TlsTransport(sock, tls, server_name=server_name, peer=plain.peer)
    except ValueError as error:
        sock.close()
        raise ConnectionLost(f"TLS: {error}") from error
    try:
        await secure.do_handshake()
    except BaseException:
        secure.close()
        raise
    return secure


@lru_cache(maxsize=1024)
def _literal(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]] | None:
    """The one address of an IP literal: no name to resolve, nothing to choose from. None for a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return found[0][0], found[0][4]


def _begin(family: socket.AddressFamily, place: tuple[object, ...]) -> socket.socket:
    """A socket that connects, or has connected. Raises OSError if it cannot."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(place)
        if code not in (0, errno.EINPROGRESS, errno.EINTR):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_connected(sock: socket.socket) -> bool:
    """Over the loopback it is so at once, though `connect` says that it is under way: that saves being told."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def _connected(sock: socket.socket) -> socket.socket:
    """Wait until ``sock`` is connected. Raises OSError; the socket is closed then."""
    try:
        await trio.lowlevel.wait_writable(sock)
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_tcp(endpoint: Endpoint) -> socket.socket:
    # trio resolves the name and tries its addresses in an overlapping way (RFC 8305); then the socket is ours.
    stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    return socket.socket(fileno=stream.socket.detach())


async def _connect_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            await trio.lowlevel.checkpoint()
            code = sock.connect_ex(path)
            if code == 0:
                return sock
            if code != errno.EAGAIN:
                raise OSError(code, os.strerror(code))
            # The upstream's backlog is full, and nothing tells when it no longer is (unix(7)).
            await trio.sleep(_BACKLOG_PAUSE_SECONDS)
    except BaseException:
        sock.close()
        raise
