"""Plain HTTP through the proxy: one request and its answer at a time, streamed both ways.

Owns: the exchange between a client's and an upstream's HTTP/1.1 connection, and a session's kept upstream connection.
Must never decide where a request goes, nor answer with an error: it raises Refused.
Invariants
* Nothing is buffered beyond one read: a slow side holds the other back.
* An answer that the upstream did not end is never ended towards the client: the client sees it cut off.
* A request is sent again only if it may be, and only if a kept connection turned out to be dead before it answered.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused, WsproxyError
from wsproxy.gateway.pools import Pool
from wsproxy.network.http1_connection import Http1Connection, Paused
from wsproxy.protocol import http1
from wsproxy.service.connecting import CANNOT_SERVE, UpstreamConnection

Connect = Callable[[], Awaitable[UpstreamConnection]]
Task = Callable[[], Awaitable[None]]
Edit = Callable[[h11.Request], h11.Request]


def unedited(head: h11.Request) -> h11.Request:
    return head


class Forwarder:
    """Forwards the requests of one client connection, one after the other."""

    def __init__(self, client: Http1Connection) -> None:
        self._client = client
        self._kept: UpstreamConnection | None = None

    async def forward(
        self,
        request: h11.Request,
        pool: Pool,
        connect: Connect,
        head_seconds: float,
        edit: Edit = unedited,
        preamble: bytes = b"",
    ) -> bool:
        """Carry ``request``, whose head has just been read, and its answer; True if the client may ask again.

        ``connect`` opens a connection to an endpoint of ``pool``, which begins with ``preamble``. ``edit`` changes the
        head that goes to the upstream. ``head_seconds`` bounds the wait for the answer's head once the whole request is
        sent; nothing bounds the bodies. When False, the caller closes the client's connection, with
        `Transport.drain_and_close`.

        Raises Refused, when the client has not got any of the final answer and is to be told (400, 501, 502, 504);
        ConnectionLost when the client went away, or when its answer was cut off and the connection is closed already.
        """
        if http1.is_bodyless(request):
            # Its end comes first, so that head and end are one write that can be made again.
            await self._client.next_event()
        upstream = self._take_kept(pool, preamble)
        reused = upstream is not None
        while True:
            if upstream is None:
                upstream = await connect()
            try:
                await _Exchange(self._client, upstream, request, head_seconds, edit).run()
                break
            except _NoAnswer as error:
                if not reused:
                    upstream.failed("the upstream ended the connection")
                upstream.close()
                if not (reused and http1.is_repeatable(request)):
                    raise Refused(502, "upstream_unreachable", "the upstream ended the connection") from error
                upstream, reused = None, False
            except Refused as refused:
                if refused.status in CANNOT_SERVE:
                    upstream.failed(refused.detail)
                upstream.close()
                raise
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

    def _take_kept(self, pool: Pool, preamble: bytes) -> UpstreamConnection | None:
        kept, self._kept = self._kept, None
        if kept is not None and not (kept.pool is pool and kept.preamble == preamble and _is_quiet(kept.http)):
            kept.close()
            return None
        return kept


def _is_quiet(kept: Http1Connection) -> bool:
    """Nothing has come on an idle connection, so it is still open as far as anyone can see."""
    try:
        return kept.transport.read_now() is None
    except ConnectionLost:
        return False


async def relay_refusal(
    client: Http1Connection, upstream: Http1Connection, response: h11.Response, stall_seconds: float
) -> None:
    """An upstream's own answer to a WebSocket handshake, headers and body, instead of a 101 (RFC 6455 §4.1).

    ``stall_seconds`` bounds each wait for more of it. Raises ConnectionLost when the client left, or when its answer
    was cut off; the connection is closed then.
    """

    async def carry() -> None:
        while True:
            event: object = None
            with trio.move_on_after(stall_seconds):
                event = await upstream.next_event()
            if isinstance(event, h11.Data):
                await client.send(event)
            elif isinstance(event, h11.EndOfMessage):
                await client.send(h11.EndOfMessage(headers=http1.trailers(event.headers)))
                return
            elif event is None:
                raise ConnectionLost("the upstream stalled in its answer")

    await client.send(http1.client_response(response, close=True))
    try:
        await _together(carry, partial(watch_client, client))
    except (Refused, ConnectionLost) as error:
        client.transport.close()
        raise ConnectionLost("the answer was cut off") from error


async def watch_client(client: Http1Connection) -> None:
    """Raise ConnectionLost when a client that waits for its answer goes away.

    Its next request may arrive meanwhile; of that no more is read than a head may have, and after it nothing is seen.
    """
    try:
        event = await client.next_event()
    except Refused:
        # Bytes after the last request that this connection may carry; it ends with this answer anyway.
        return
    while event is h11.PAUSED:
        if len(client.trailing()) >= http1.HEAD_LIMIT:
            return
        data = await client.transport.receive_some()
        if not data:
            break
        client.machine.receive_data(data)
    raise ConnectionLost("the client went away")


async def _together(carry: Task, beside: Task) -> None:
    """Run both; the end of ``carry`` ends both, and so does the first WsproxyError of either, which is raised."""
    faults: list[WsproxyError] = []
    async with trio.open_nursery() as nursery:

        async def guarded(task: Task) -> None:
            try:
                await task()
            except WsproxyError as error:
                faults.append(error)
                nursery.cancel_scope.cancel()

        nursery.start_soon(guarded, beside)
        await guarded(carry)
        nursery.cancel_scope.cancel()
    if faults:
        raise faults[0]


class _NoAnswer(WsproxyError):
    """The upstream's connection ended before any answer."""


class _UpstreamDeaf(WsproxyError):
    """The upstream's connection takes no more."""


class _Exchange:
    """One request and its answer.

    Two tasks: one sends the request and then watches whether the client stays, the other carries the answer.
    """

    def __init__(
        self,
        client: Http1Connection,
        upstream: UpstreamConnection,
        request: h11.Request,
        head_seconds: float,
        edit: Edit,
    ) -> None:
        """Raises Refused for a request that cannot be sent on."""
        self._client = client
        self._connection = upstream
        self._upstream = upstream.http
        self._request = request
        self._head = edit(http1.upstream_request(request, upstream.base_path, upstream.authority))
        self._client_is_old = request.http_version < b"1.1"
        self._head_seconds = head_seconds
        self._head_scope = trio.CancelScope()
        self._head_sent = trio.Event()
        self._heard = False

    async def run(self) -> None:
        """Raises as `Forwarder.forward` does, and _NoAnswer."""
        try:
            await _together(self._carry_answer, self._carry_request)
        except ConnectionLost:
            raise
        except WsproxyError as fault:
            if self._client.machine.our_state is h11.SEND_RESPONSE:
                raise
            self._cut_off()
            raise ConnectionLost("the answer was cut off") from fault

    async def _carry_request(self) -> None:
        try:
            if http1.is_bodyless(self._request):
                await self._to_upstream(self._head, h11.EndOfMessage())
            else:
                await self._to_upstream(self._head)
                self._head_sent.set()
                await self._carry_request_body()
        except _UpstreamDeaf:
            # It may have answered before it stopped listening: the other task finds out.
            return
        finally:
            self._head_sent.set()
            self._head_scope.deadline = trio.current_time() + self._head_seconds
        await watch_client(self._client)

    async def _carry_request_body(self) -> None:
        while True:
            event = await self._client.next_event()
            if isinstance(event, h11.EndOfMessage):
                await self._to_upstream(h11.EndOfMessage(headers=http1.trailers(event.headers)))
                return
            if isinstance(event, h11.Data):
                await self._to_upstream(event)

    async def _carry_answer(self) -> None:
        # An end that came before the request was sent would make h11 refuse to send it.
        await self._head_sent.wait()
        with self._head_scope:
            head = await self._final_head()
        if self._head_scope.cancelled_caught:
            raise Refused(504, "upstream_timeout", "the upstream did not answer in time")
        self._connection.answered(head.status_code)
        # A client that still waits for leave to send its body will not get it, and nothing tells whether it sends.
        close = self._client.machine.they_are_waiting_for_100_continue
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
