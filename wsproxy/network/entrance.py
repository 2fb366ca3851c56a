"""What comes before the first byte of HTTP on a client's connection: the PROXY protocol, then TLS.

Owns: a listener's terms, and both steps in their order. Must never import HTTP, nor set a deadline: the session does.
Invariants
* A PROXY header is read only from a trusted address; nothing is ever read past its end.
* Afterwards the transport's `peer` is the client as it was told, for every log line.
"""

import ssl
from dataclasses import dataclass
from typing import Literal

from wsproxy.errors import ConnectionLost, WsproxyError
from wsproxy.network.tls import make_listener_tls
from wsproxy.network.tls_transport import TlsTransport
from wsproxy.network.transport import PlainTransport, Transport, address_text
from wsproxy.protocol.forwarded import Arrival, TrustedProxies
from wsproxy.protocol.proxy_protocol import Accepted, BadProxyHeader, HeaderReader, Told
from wsproxy.settings.tree import AcceptedProxyProtocol, Listener


class TurnedAway(WsproxyError):
    """A connection that did not begin as its listener demands: it is closed without a word.

    :ivar step: what it failed at.
    """

    def __init__(self, step: Literal["proxy_protocol", "tls", "timeout", "limited"], detail: str) -> None:
        super().__init__(detail)
        self.step = step


@dataclass(frozen=True, slots=True)
class Entrance:
    """The terms of one listener.

    :ivar tls: None where connections are plain.
    """

    proxies: TrustedProxies
    proxy_protocol: AcceptedProxyProtocol
    tls: ssl.SSLContext | None

    @property
    def is_open(self) -> bool:
        """HTTP begins with the connection's first byte: `walk_in` does."""
        return self.tls is None and self.proxy_protocol == "off"


def make_entrance(listener: Listener) -> Entrance:
    """Raises CannotStart for a file of no use."""
    return Entrance(TrustedProxies(listener.trusted_proxies), listener.proxy_protocol, make_listener_tls(listener.tls))


def walk_in(transport: Transport, entrance: Entrance) -> Arrival:
    """For an open entrance: nothing comes first. Raises ConnectionLost."""
    source, destination = transport.places()
    return Arrival(source, destination, False, entrance.proxies)


async def enter(transport: PlainTransport, entrance: Entrance) -> tuple[Transport, Arrival]:
    """Do what comes first, and give the transport to go on with.

    Raises TurnedAway, and ConnectionLost where the client left; ``transport`` is the caller's to close in every case.
    """
    source, destination = transport.places()
    accepted = entrance.proxy_protocol
    if accepted != "off":
        if not entrance.proxies.trust(source):
            raise TurnedAway("proxy_protocol", "the address is not a trusted proxy's")
        try:
            told = await _told(transport, accepted)
        except BadProxyHeader as error:
            raise TurnedAway("proxy_protocol", str(error)) from error
        if told.source is not None:
            source, destination = told.source, told.destination
            transport.peer = address_text(source)
    if entrance.tls is None:
        return transport, Arrival(source, destination, False, entrance.proxies)
    secure = TlsTransport(transport.detach(), entrance.tls, server_side=True, peer=transport.peer)
    try:
        await secure.do_handshake()
        return secure, Arrival(source, destination, True, entrance.proxies, secure.certificate())
    except ConnectionLost as error:
        secure.close()
        if not secure.heard:
            # Whoever only looks whether somebody listens is no failure of TLS.
            raise
        raise TurnedAway("tls", str(error)) from error
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
