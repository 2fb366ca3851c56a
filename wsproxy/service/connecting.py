"""A connection to one of an upstream's endpoints, the next one tried when one cannot be reached.

Owns: the place in the pool that goes with an open connection. Must never read or write HTTP.
Invariant: a place is taken before dialling and given back exactly once, when the connection closes or never came to be.
"""

import h11

from wsproxy.errors import Refused
from wsproxy.gateway.pools import Pool
from wsproxy.network.dial import UpstreamTls, dial
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.transport import Transport
from wsproxy.settings.endpoints import Endpoint
from wsproxy.settings.tree import Timeouts


class UpstreamConnection:
    """An open connection and its place in a pool.

    :ivar http: HTTP/1.1 on it, in the client role.
    """

    __slots__ = ("_closed", "endpoint", "http", "pool")

    def __init__(self, pool: Pool, endpoint: Endpoint, transport: Transport) -> None:
        """The place has been taken already."""
        self.pool = pool
        self.endpoint = endpoint
        self.http = Http1Connection(transport, h11.CLIENT)
        self._closed = False

    @property
    def authority(self) -> bytes:
        """The Host header's value for the endpoint itself (RFC 9110 §7.2)."""
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        default_port = 443 if self.endpoint.tls else 80
        return (host if self.endpoint.port == default_port else f"{host}:{self.endpoint.port}").encode("ascii")

    @property
    def base_path(self) -> bytes:
        return self.endpoint.base_path.encode("ascii")

    def close(self) -> None:
        """Close the connection and give the place back. May be called again; never raises."""
        if not self._closed:
            self._closed = True
            self.http.transport.close()
            self.pool.give_back(self.endpoint)


async def connect(pool: Pool, tls: UpstreamTls | None, server_name: str, timeouts: Timeouts) -> UpstreamConnection:
    """Connect to the first endpoint that lets us, each within ``timeouts.connect_seconds``.

    Raises Refused, 502 or 504, as the last endpoint tried did.
    """
    refused = Refused(502, "upstream_unreachable", "the upstream has no endpoint")
    for endpoint in pool.candidates():
        pool.take(endpoint)
        try:
            transport = await dial(endpoint, tls, server_name, timeouts.connect_seconds)
        except Refused as error:
            pool.give_back(endpoint)
            refused = error
        except BaseException:
            pool.give_back(endpoint)
            raise
        else:
            transport.write_stall_seconds = timeouts.write_stall_seconds
            return UpstreamConnection(pool, endpoint, transport)
    raise refused
