"""A connection to one of an upstream's instances, the next one tried when one fails before it answered.

Owns: the place in the pool that goes with an open connection, and the attempts for one request. Must never read or
write HTTP.
Invariants
* A place is given back exactly once, when its connection closes or never came to be.
* The pool is told of each attempt how it ended, but for those that failed because of this process.
"""

import logging
from dataclasses import replace

import h11
import trio

from wsproxy.errors import Refused
from wsproxy.gateway.endpoints import Instance
from wsproxy.gateway.generation import Group
from wsproxy.gateway.pools import Pool
from wsproxy.network.dial import dial
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.transport import Transport
from wsproxy.settings.endpoints import Endpoint
from wsproxy.settings.tree import Timeouts

_LOGGER = logging.getLogger("wsproxy")

CANNOT_SERVE = frozenset({502, 503, 504})
"""Answers that speak against the endpoint, and not of the request."""


class UpstreamConnection:
    """An open connection and its place in a pool.

    :ivar http: HTTP/1.1 on it, in the client role.
    :ivar preamble: what it began with.
    """

    __slots__ = ("_closed", "http", "instance", "pool", "preamble")

    def __init__(self, pool: Pool, instance: Instance, transport: Transport, preamble: bytes = b"") -> None:
        """The place has been taken already."""
        self.pool = pool
        self.preamble = preamble
        self.instance = instance
        self.http = Http1Connection(transport, h11.CLIENT)
        self._closed = False

    @property
    def endpoint(self) -> Endpoint:
        return self.instance.endpoint

    @property
    def authority(self) -> bytes:
        return authority(self.endpoint)

    @property
    def base_path(self) -> bytes:
        return self.endpoint.base_path.encode("ascii")

    def answered(self, status: int) -> None:
        """It answered; some answers say that it cannot serve."""
        if status in CANNOT_SERVE:
            self.failed(f"answered {status}")
        elif self.pool.succeeded(self.instance):
            log_state(self.pool, self.instance, "up", "")

    def failed(self, reason: str) -> None:
        """It did not answer, or not as it must."""
        _note_failure(self.pool, self.instance, reason)

    def close(self) -> None:
        """Close the connection and give the place back. May be called again; never raises."""
        if not self._closed:
            self._closed = True
            self.http.transport.close()
            self.pool.give_back(self.instance)


class Attempts:
    """The instances that are tried for one request, each once."""

    def __init__(self, group: Group, client: str, timeouts: Timeouts, preamble: bytes = b"") -> None:
        """
        :param client: the client's address.
        :param timeouts: whose ``connect_seconds`` bounds each attempt.
        :param preamble: what each connection begins with.
        """
        self._preamble = preamble
        self._group = group
        self._client = client
        self._timeouts = timeouts
        self._tried: list[Instance] = []
        self._give_up_at = trio.current_time() + 2 * timeouts.connect_seconds
        self._last = Refused(502, "upstream_unreachable", "the upstream cannot be reached")

    async def connect(self) -> UpstreamConnection:
        """Connect to the next instance that lets us.

        Raises Refused: as the last attempt did when no other is left or the time is over; 503 when none may be tried.
        """
        pool = self._group.pool
        while not self._tried or trio.current_time() < self._give_up_at:
            instance = pool.choose(self._client, self._tried)
            if instance is None:
                break
            self._tried.append(instance)
            try:
                transport = await reach(self._group, instance, self._timeouts.connect_seconds, self._preamble)
            except BaseException as error:
                pool.give_back(instance)
                if not isinstance(error, Refused) or error.result == "limited":
                    raise
                _note_failure(pool, instance, str(error.__cause__ or error.detail))
                self._last = error
            else:
                transport.write_stall_seconds = self._timeouts.write_stall_seconds
                return UpstreamConnection(pool, instance, transport, self._preamble)
        raise self._last

    def failed(self, upstream: UpstreamConnection, refused: Refused) -> None:
        """A connection that `connect` gave ended before it answered; it is closed here."""
        upstream.failed(refused.detail)
        upstream.close()
        self._last = refused


async def reach(group: Group, instance: Instance, timeout_seconds: float, preamble: bytes) -> Transport:
    """Dial an instance, as `dial` does."""
    endpoint = instance.endpoint
    place = endpoint
    # After a reload a name may have addresses from before, although it is to be looked up each time now.
    if instance.address is not None and group.pool.settings.resolve_seconds:
        place = replace(endpoint, host=instance.address)
    return await dial(place, group.tls, group.server_name or endpoint.host, timeout_seconds, preamble)


def authority(endpoint: Endpoint) -> bytes:
    """The Host header's value for an endpoint itself (RFC 9110 §7.2)."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    default_port = 443 if endpoint.tls else 80
    return (host if endpoint.port == default_port else f"{host}:{endpoint.port}").encode("ascii")


def log_state(pool: Pool, instance: Instance, state: str, reason: str) -> None:
    """One line for a change of an instance's health: ``up``, ``down`` or ``ejected``."""
    _log(logging.INFO if state == "up" else logging.WARNING, f"endpoint {state}", pool, instance, reason)


def _note_failure(pool: Pool, instance: Instance, reason: str) -> None:
    # Another one may have been asked then: no other line tells of that.
    _log(logging.DEBUG, "attempt failed", pool, instance, reason)
    if pool.failed(instance):
        log_state(pool, instance, "ejected", reason)


def _log(level: int, event: str, pool: Pool, instance: Instance, reason: str) -> None:
    fields = {"upstream": pool.name, "endpoint": instance.endpoint.url, "address": instance.address, "reason": reason}
    _LOGGER.log(level, event, extra={"fields": {name: value for name, value in fields.items() if value}})
