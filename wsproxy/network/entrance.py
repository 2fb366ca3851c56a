"""What comes before the first byte of HTTP on a client's connection: the PROXY protocol, then TLS.

Owns: a listener's terms, and both steps in their order. Must never import HTTP, nor set a deadline: the session does.
Invariants
* A PROXY header is read only from a trusted address; nothing is ever read past its end.
* Afterwards the transport's `peer` is the client as it was told, for every log line.
"""

import ssl
from dataclasses import dataclass

from wsproxy.errors import ConnectionLost
from wsproxy.network.tls import make_listener_tls
from wsproxy.network.tls_transport import TlsTransport
from wsproxy.network.transport import PlainTransport, Transport, address_text
from wsproxy.protocol.forwarded import Arrival, TrustedProxies
from wsproxy.protocol.proxy_protocol import Accepted, BadProxyHeader, HeaderReader, Told
from wsproxy.settings.tree import AcceptedProxyProtocol, Listener


@dataclass(frozen=True, slots=True)
class Entrance:
    """The terms of one listener.

    :ivar tls: None where connections are plain.
    """

    proxies: TrustedProxies
    proxy_protocol: AcceptedProxyProtocol
    tls: ssl.SSLContext | None


def make_entrance(listener: Listener) -> Entrance:
    """Raises CannotStart for a file of no use."""
    return Entrance(TrustedProxies(listener.trusted_proxies), listener.proxy_protocol, make_listener_tls(listener.tls))


async def enter(transport: PlainTransport, entrance: Entrance) -> tuple[Transport, Arrival]:
    """Do what comes first, and give the transport to go on with.

    Raises BadProxyHeader, and ConnectionLost also for a TLS handshake that failed; ``transport`` is the caller's to
    close in every case.
    """
    source, destination = transport.places()
    accepted = entrance.proxy_protocol
    if accepted != "off":
        if not entrance.proxies.trust(source):
            raise BadProxyHeader("the address is not a trusted proxy's")
        told = await _told(transport, accepted)
        if told.source is not None:
            source, destination = told.source, told.destination
            transport.peer = address_text(source)
    if entrance.tls is None:
        return transport, Arrival(source, destination, False, entrance.proxies)
    secure = TlsTransport(transport.detach(), entrance.tls, server_side=True, peer=transport.peer)
    try:
        await secure.do_handshake()
        return secure, Arrival(source, destination, True, entrance.proxies, secure.certificate())
    except BaseException:
        secure.close()
        raise


async def _told(transport: PlainTransport, accepted: Accepted) -> Told:
    reader = HeaderReader(accepted)
    told = None
    while told is None:
        data = transport.read_now(reader.wanted)
        if data is None:
            data = await transport.receive_some(reader.wanted)
        if not data:
            raise ConnectionLost("the connection ended before its PROXY protocol header did")
        told = reader.feed(data)
    return told
