"""A session: one accepted client connection, from its first byte to its close.

Owns: the loop of requests on a connection, and the boundary where every error of a session ends.
Invariant: nothing that a client or an upstream does raises out of `run_session`.
"""

import logging
from functools import partial

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.gateway.admission import GiveBack
from wsproxy.gateway.routing import Wanted, rewritten
from wsproxy.network.entrance import TurnedAway
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.transport import PlainTransport
from wsproxy.protocol.forwarded import Introduction, Requester, introduced
from wsproxy.protocol.http1 import RequestHead, destination, error_response, is_websocket_upgrade, with_target
from wsproxy.protocol.plain_heads import PlainRequest
from wsproxy.service.connecting import Attempts
from wsproxy.service.entering import Entry
from wsproxy.service.forward import Forwarder
from wsproxy.service.proxy import Proxy
from wsproxy.service.upgrade import Attempt, going_away
from wsproxy.telemetry.access_log import HandshakeRefused, log_handshake_refused
from wsproxy.telemetry.counters import NO_ROUTE

HEAD_SECONDS = 10.0
"""For the head of a connection's first request, which belongs to no route yet."""
KEEP_ALIVE_SECONDS = 75.0
"""For the head of a later one."""
ANSWER_SECONDS = 10.0
"""For a client to take our own answer."""
LINGER_SECONDS = 1.0
"""How long a client is read on after our last word."""

_LOGGER = logging.getLogger("wsproxy")


async def run_session(proxy: Proxy, listener: str, transport: PlainTransport) -> None:
    """Serve one client connection until it ends; the transport is closed afterwards. Raises only cancellation."""
    awaited = proxy.session_begins(listener)
    entry = Entry(proxy, listener, transport)
    try:
        introduction, refused = await entry.enter(transport)
        session = _Session(proxy, Http1Connection(entry.transport, h11.SERVER), introduction)
        try:
            await (session.run() if refused is None else session.refuse(refused))
        finally:
            session.close()
    except TurnedAway as away:
        entry.turned_away(away)
    except ConnectionLost as error:
        _LOGGER.debug("session ended", extra={"fields": {"client": entry.transport.peer, "reason": str(error)}})
    except Exception:
        # A fault of ours: it ends this session and no other, and says so.
        _LOGGER.exception("session failed", extra={"fields": {"client": entry.transport.peer}})
    finally:
        entry.close()
        proxy.session_ends(listener, awaited)


class _Session:
    def __init__(self, proxy: Proxy, client: Http1Connection, introduction: Introduction) -> None:
        self._proxy = proxy
        self._client = client
        self._introduction = introduction
        self._forwarder = Forwarder(client)

    def close(self) -> None:
        self._forwarder.close()

    async def refuse(self, refused: Refused) -> None:
        """Answer before anything was asked: there is no room for this connection."""
        self._tell(refused, None, None)
        await self._answer(refused)
        await self._client.transport.drain_and_close(LINGER_SECONDS)

    async def run(self) -> None:
        """Requests one after the other, until one of them takes the connection or ends it."""
        seconds = HEAD_SECONDS
        reusable = True
        while reusable:
            request: PlainRequest | h11.Request | None = None
            attempt: Attempt | None = None
            try:
                request = await self._next_request(seconds)
                if request is None:
                    return
                requester = self._introduction.requester(request.headers)
                if isinstance(request, PlainRequest) or is_websocket_upgrade(request):
                    attempt = Attempt(self._proxy, self._client, self._introduction, requester)
                leave = self._take_place(requester)
                try:
                    if attempt is not None:
                        await attempt.run(request)
                        return
                    assert isinstance(request, h11.Request)
                    reusable = await self._forward(request, requester) and not self._proxy.draining
                finally:
                    leave()
            except Refused as refused:
                self._tell(refused, request, attempt)
                await self._answer(refused)
                reusable = False
            seconds = KEEP_ALIVE_SECONDS
        await self._client.transport.drain_and_close(LINGER_SECONDS)

    async def _next_request(self, seconds: float) -> PlainRequest | h11.Request | None:
        """The next request's head; None when the client is done, or asked for nothing in time.

        :raises Refused: a malformed head, or one that did not come to its end in time.
        """
        handshake = self._client.take_handshake()
        if handshake is not None:
            return handshake
        with trio.move_on_after(seconds) as scope:
            self._proxy.idle.add(scope)
            try:
                return await self._wait_for_request()
            finally:
                self._proxy.idle.discard(scope)
        if self._client.trailing() and not self._proxy.draining:
            raise Refused(408, "bad_request", "the request's head did not come in time")
        return None

    async def _wait_for_request(self) -> PlainRequest | h11.Request | None:
        if self._client.fresh:
            await self._client.transport.readable()
        handshake = self._client.take_handshake()
        if handshake is not None:
            return handshake
        event = await self._client.next_event()
        return event if isinstance(event, h11.Request) else None

    def _take_place(self, requester: Requester) -> GiveBack:
        """Behind a trusted proxy it is not the connection that counts for an address, but each request.

        Raises Refused 429.
        """
        if not self._introduction.trusted:
            return _nothing
        self._client.transport.peer = requester.text
        return self._proxy.admission.take_address(self._proxy.generation.settings.limits, requester.address)

    async def _forward(self, request: h11.Request, requester: Requester) -> bool:
        proxy = self._proxy
        if proxy.draining:
            raise going_away()
        place = destination(request)
        generation = proxy.generation
        route = generation.router.match(Wanted(place.host, place.target, request.headers))
        if route.replace_prefix:
            request = with_target(request, rewritten(route, place.target))
        group = generation.groups[route.upstream]
        self._client.transport.write_stall_seconds = route.timeouts.write_stall_seconds
        preamble = self._introduction.preamble(group.proxy_protocol, requester)
        attempts = Attempts(group, requester.address, route.timeouts, preamble)
        edit = partial(introduced, self._introduction, generation.changes[route.name])
        return await self._forwarder.forward(
            request, group.pool, attempts.connect, route.timeouts.response_seconds, edit, preamble
        )

    def _tell(self, refused: Refused, request: RequestHead | None, attempt: Attempt | None) -> None:
        """Count and log a refusal; only handshakes are counted as such, and heads that may have been one."""
        route = attempt.route.name if attempt is not None and attempt.route is not None else None
        if request is None or attempt is not None:
            self._proxy.counters.handshakes[route or NO_ROUTE, refused.result] += 1
        host = b"" if request is None else dict(request.headers).get(b"host", b"")
        log_handshake_refused(
            HandshakeRefused(
                client=self._client.transport.peer,
                route=route,
                host=host.decode("latin-1"),
                target="" if request is None else request.target.decode("latin-1"),
                status=refused.status,
                result=refused.result,
                detail=refused.detail,
                cause=_why(refused),
                trace_id=attempt.trace_id if attempt is not None else None,
            )
        )

    async def _answer(self, refused: Refused) -> None:
        if self._client.machine.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with trio.move_on_after(ANSWER_SECONDS):
                await self._client.respond(*error_response(refused.status, refused.detail, refused.headers))
                return
            raise ConnectionLost("the client does not take its answer")


def _nothing() -> None:
    """What was not taken needs no giving back."""


def _why(refused: Refused) -> str:
    """The innermost thing that is known to have failed."""
    cause: BaseException | None = refused.__cause__
    while cause is not None and (inner := _first(cause)) is not None:
        cause = inner
    return "" if cause is None else str(cause)


def _first(error: BaseException) -> BaseException | None:
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
