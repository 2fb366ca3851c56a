"""Plain HTTP through the proxy: one request and its answer at a time, streamed both ways.

Owns: the exchange between a client's and an upstream's HTTP/1.1 connection, and a session's kept upstream connection.
Must never decide where a request goes, nor answer with an error: it raises Refused.
Invariants
* Nothing is buffered beyond one read: a slow side holds the other back.
* An answer that the upstream did not end is never ended towards the client: the client sees it cut off.
* A request is sent again only if it may be, and only if a kept connection turned out to be dead before it answered.
"""

from collections.abc import Awaitable, Callable

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused, WsproxyError
from wsproxy.gateway.pools import Pool
from wsproxy.network.http1_connection import Http1Connection, Paused
from wsproxy.protocol import http1
from wsproxy.service.connecting import UpstreamConnection

Connect = Callable[[], Awaitable[UpstreamConnection]]


class Forwarder:
    """Forwards the requests of one client connection, one after the other."""

    def __init__(self, client: Http1Connection) -> None:
        self._client = client
        self._kept: UpstreamConnection | None = None

    async def forward(self, request: h11.Request, pool: Pool, connect: Connect, head_seconds: float) -> bool:
        """Carry ``request``, whose head has just been read, and its answer; True if the client may ask again.

        ``connect`` opens a connection to an endpoint of ``pool``. ``head_seconds`` bounds the wait for the answer's
        head once the whole request is sent; nothing bounds the bodies. When False, the caller closes the client's
        connection, with `Transport.drain_and_close`.

        Raises Refused, when the client has not got any of the final answer and is to be told (400, 501, 502, 504);
        ConnectionLost when the client went away, or when its answer was cut off and the connection is closed already.
        """
        if http1.is_bodyless(request):
            # Its end comes first, so that head and end are one write that can be made again.
            await self._client.next_event()
        upstream = self._take_kept(pool)
        reused = upstream is not None
        while True:
            if upstream is None:
                upstream = await connect()
            try:
                await _Exchange(self._client, upstream, request, head_seconds).run()
                break
            except _NoAnswer as error:
                upstream.close()
                if not (reused and http1.is_repeatable(request)):
                    raise Refused(502, "upstream_unreachable", "the upstream ended the connection") from error
                upstream, reused = None, False
            except BaseException:
                upstream.close()
                raise
        # Bytes beyond the answer would be taken for the next request's answer.
        if not upstream.http.trailing() and upstream.http.start_next_cycle():
            self._kept = upstream
        else:
            upstream.close()
        return self._client.start_next_cycle()

    def close(self) -> None:
        """Close the kept connection. Never raises."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _take_kept(self, pool: Pool) -> UpstreamConnection | None:
        kept, self._kept = self._kept, None
        if kept is not None and not (kept.pool is pool and _is_quiet(kept.http)):
            kept.close()
            return None
        return kept


def _is_quiet(kept: Http1Connection) -> bool:
    """Nothing has come on an idle connection, so it is still open as far as anyone can see."""
    try:
        return kept.transport.read_now() is None
    except ConnectionLost:
        return False


class _NoAnswer(WsproxyError):
    """The upstream's connection ended before any answer."""


class _UpstreamDeaf(WsproxyError):
    """The upstream's connection takes no more."""


class _Exchange:
    """One request and its answer.

    Two tasks: one sends the request and then watches whether the client stays, the other carries the answer. The
    first fault of either ends both; the answer's end ends both too.
    """

    def __init__(
        self, client: Http1Connection, upstream: UpstreamConnection, request: h11.Request, head_seconds: float
    ) -> None:
        """Raises Refused for a request that cannot be sent on."""
        self._client = client
        self._upstream = upstream.http
        self._request = request
        self._head = http1.upstream_request(request, upstream.base_path, upstream.authority)
        self._client_is_old = request.http_version < b"1.1"
        self._head_seconds = head_seconds
        self._head_scope = trio.CancelScope()
        self._heard = False
        self._fault: WsproxyError | None = None

    async def run(self) -> None:
        """Raises as `Forwarder.forward` does, and _NoAnswer."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._guard, self._carry_request, nursery.cancel_scope)
            await self._guard(self._carry_answer, nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        if self._fault is None:
            return
        if not isinstance(self._fault, ConnectionLost) and self._client.h11.our_state is not h11.SEND_RESPONSE:
            self._cut_off()
            raise ConnectionLost("the answer was cut off") from self._fault
        raise self._fault

    async def _guard(self, task: Callable[[], Awaitable[None]], both: trio.CancelScope) -> None:
        try:
            await task()
        except WsproxyError as error:
            if self._fault is None:
                self._fault = error
            both.cancel()

    async def _carry_request(self) -> None:
        try:
            if http1.is_bodyless(self._request):
                await self._to_upstream(self._head, h11.EndOfMessage())
            else:
                await self._to_upstream(self._head)
                await self._carry_request_body()
        except _UpstreamDeaf:
            # It may have answered before it stopped listening: the other task finds out.
            return
        finally:
            self._head_scope.deadline = trio.current_time() + self._head_seconds
        await self._watch_client()

    async def _carry_request_body(self) -> None:
        while True:
            event = await self._client.next_event()
            if isinstance(event, h11.EndOfMessage):
                await self._to_upstream(h11.EndOfMessage(headers=http1.trailers(event.headers)))
                return
            if isinstance(event, h11.Data):
                await self._to_upstream(event)

    async def _watch_client(self) -> None:
        try:
            event = await self._client.next_event()
        except Refused:
            # Bytes after the last request that this connection may carry; it ends with this answer anyway.
            return
        if isinstance(event, h11.ConnectionClosed):
            raise ConnectionLost("the client went away")
        # Paused: the client has sent its next request already, so its end cannot be seen from here.

    async def _carry_answer(self) -> None:
        with self._head_scope:
            head = await self._final_head()
        if self._head_scope.cancelled_caught:
            raise Refused(504, "upstream_timeout", "the upstream did not answer in time")
        # A client that still waits for leave to send its body will not get it, and nothing tells whether it sends.
        close = self._client.h11.they_are_waiting_for_100_continue
        await self._client.send(http1.client_response(head, close=close))
        while True:
            event = await self._from_upstream()
            if isinstance(event, h11.EndOfMessage):
                trailers = [] if self._client_is_old else http1.trailers(event.headers)
                await self._client.send(h11.EndOfMessage(headers=trailers))
                return
            if isinstance(event, h11.Data):
                await self._client.send(event)

    async def _final_head(self) -> h11.Response:
        while True:
            event = await self._from_upstream()
            if isinstance(event, h11.Response):
                return event
            # RFC 9110 §15.2: HTTP/1.0 knows no interim answers.
            if isinstance(event, h11.InformationalResponse) and not self._client_is_old:
                await self._client.send(http1.informational_response(event))

    async def _from_upstream(self) -> h11.Event | Paused:
        try:
            event = await self._upstream.next_event()
        except ConnectionLost as error:
            if not self._heard:
                raise _NoAnswer("the upstream ended the connection") from error
            raise Refused(502, "upstream_unreachable", "the upstream ended the connection") from error
        self._heard = True
        return event

    async def _to_upstream(self, *events: h11.Event) -> None:
        try:
            await self._upstream.send(*events)
        except ConnectionLost as error:
            raise _UpstreamDeaf("the upstream takes no more of the request") from error

    def _cut_off(self) -> None:
        if self._client_is_old:
            # There the end of the connection is the end of the body: only a reset tells that this is not it.
            self._client.transport.abort()
        else:
            self._client.transport.close()
