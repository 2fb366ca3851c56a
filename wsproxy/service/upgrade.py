"""From a client's opening handshake to two 101s: route, dial, negotiate, answer (RFC 6455 §4, RFC 7692 §7.1).

Owns: the order of these steps. The upstream is always asked first: only it knows whether it will answer 101, which
subprotocol it chooses and, where frames are to pass through, which windows.
Invariant: until the client's 101 is sent, every fault is Refused or the upstream's own answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import h11
import trio

from wsproxy.errors import ConnectionLost, ExtensionFault, Refused, Side
from wsproxy.extensions.base import NegotiationError
from wsproxy.extensions.chain import Report
from wsproxy.extensions.header import ExtensionHeaderError, ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.negotiation import (
    Candidate,
    Deflate,
    LegAgreement,
    accept_all,
    confirm_all,
    deflate_of,
    offer_all,
)
from wsproxy.extensions.permessage_deflate import mirror, offer
from wsproxy.gateway.extending import RouteLegs
from wsproxy.gateway.generation import Generation
from wsproxy.gateway.routing import Wanted, check_origin, rewritten
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.protocol.forwarded import Introduction, Requester
from wsproxy.protocol.http1 import RequestHead
from wsproxy.protocol.opening import (
    ClientRequest,
    UpstreamAnswer,
    UpstreamRequest,
    check_request,
    check_response,
    client_response,
    upstream_request,
)
from wsproxy.protocol.plain_heads import PlainSwitch
from wsproxy.service.codecs import Share
from wsproxy.service.connecting import Attempts, UpstreamConnection
from wsproxy.service.forward import relay_refusal
from wsproxy.service.proxy import Proxy
from wsproxy.service.tunnel import Opened, run_tunnel
from wsproxy.settings.tree import Compression, Route
from wsproxy.telemetry.access_log import HandshakeRefused, log_handshake_refused
from wsproxy.telemetry.counters import RouteCounters

_RETRY_AFTER_SECONDS = b"5"
"""For a client that comes while this process drains: another one will be there by then."""

_Answer = PlainSwitch | h11.Response | h11.InformationalResponse


def going_away() -> Refused:
    """What a newcomer is told while this process drains (RFC 9110 §15.6.4)."""
    return Refused(503, "draining", "this proxy is going away", ((b"Retry-After", _RETRY_AFTER_SECONDS),))


class _Unanswered(Refused):
    """An upstream's connection ended before its answer: another one may be asked."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the client asked of us, and we of the upstream."""

    opening: ClientRequest
    offers: tuple[ExtensionItem, ...]
    legs: RouteLegs
    candidates: list[Candidate]
    offered: tuple[ExtensionItem, ...]
    key: bytes


class Attempt:
    """One client's request for a tunnel.

    :ivar route: set once it is known, for whoever counts the outcome.
    :ivar trace_id: likewise, for whoever logs it.
    """

    def __init__(self, proxy: Proxy, client: Http1Connection, introduction: Introduction, requester: Requester) -> None:
        self._proxy = proxy
        self._client = client
        self._introduction = introduction
        self._requester = requester
        self.route: Route | None = None
        self.trace_id: str | None = None

    async def run(self, request: RequestHead) -> None:
        """Answer ``request`` and, if that is a 101, carry the tunnel to its end.

        Afterwards the connection is closed, or, if the upstream answered otherwise, perhaps fit for another request.

        :raises Refused: nothing has been sent to the client yet.
        :raises ConnectionLost: the client is gone.
        """
        proxy = self._proxy
        opening = check_request(request)
        self.trace_id = opening.trace_id
        if proxy.draining:
            raise going_away()
        # All of one generation: the next one may come while this waits, and may not have this route.
        generation = proxy.generation
        matched = generation.router.match(Wanted(opening.host, opening.target, request.headers, opening.subprotocols))
        self.route = matched
        now = trio.current_time()
        proxy.admission.check_handshake(generation.settings.limits, self._requester.address, now)
        leave = proxy.admission.take_tunnel(matched, self._requester.address, now)
        try:
            with proxy.codecs.afford(matched) as share:
                self.route = share.route
                await self._enter(opening, generation, share)
        finally:
            leave()

    async def _enter(self, opening: ClientRequest, generation: Generation, share: Share) -> None:
        proxy, route = self._proxy, share.route
        counters = proxy.counters.routes[route.name]
        self._client.transport.write_stall_seconds = route.timeouts.write_stall_seconds
        check_origin(route, opening.origin)
        try:
            offers = parse_extensions(opening.extensions)
        except ExtensionHeaderError as error:
            raise Refused(400, "bad_request", f"Sec-WebSocket-Extensions: {error}") from error
        await self._client.end_of_request()  # check_request saw that it has no body
        group = generation.groups[route.upstream]
        legs = generation.extensions[route.name]
        candidates = legs[Side.UPSTREAM].with_deflate(_ask(route.compression, offers))
        offered = offer_all(candidates, self._report(Side.UPSTREAM))
        changes = generation.changes[route.name]
        asking = replace(
            opening,
            target=rewritten(route, opening.target) if route.replace_prefix else opening.target,
            host=changes.host(opening.host),
            headers=tuple(changes.apply(self._introduction.introduce(opening.host, opening.headers))),
        )
        preamble = self._introduction.preamble(group.proxy_protocol, self._requester)
        attempts = Attempts(group, self._requester.address, route.timeouts, preamble)
        upstream: UpstreamConnection | None = None
        try:
            with (
                trio.CancelScope() as patience,
                proxy.departures.watch(self._client.transport, patience.cancel) as watch,
            ):
                extension = _header(offered)
                upstream, key, response = await _ask_upstream(
                    attempts, asking, extension, patience, route.timeouts.handshake_seconds
                )
            if watch.left:
                raise ConnectionLost("the client left before it was answered")
            if patience.cancelled_caught:
                raise Refused(504, "upstream_timeout", "the upstream did not answer in time")
            assert upstream is not None  # the scope was left in order
            asked = _Asked(opening, offers, legs, candidates, offered, key)
            await self._answer(upstream, response, asked, share, counters)
        finally:
            if upstream is not None:
                upstream.close()

    async def _answer(
        self,
        upstream: UpstreamConnection,
        response: _Answer,
        asked: _Asked,
        share: Share,
        counters: RouteCounters,
    ) -> None:
        opening, route = asked.opening, share.route
        if isinstance(response, h11.Response):
            upstream.answered(response.status_code)
            self._count("rejected_by_upstream")
            log_handshake_refused(
                HandshakeRefused(
                    client=self._client.transport.peer,
                    route=route.name,
                    host=opening.host.decode("latin-1"),
                    target=opening.target.decode("latin-1"),
                    status=response.status_code,
                    result="rejected_by_upstream",
                    detail="the upstream's own answer",
                    trace_id=opening.trace_id,
                )
            )
            await relay_refusal(self._client, upstream.http, response, route.timeouts.handshake_seconds)
            return
        if self._proxy.draining:
            raise going_away()
        try:
            answer = check_response(response, asked.key, opening.subprotocols)
            upstream_agreement = _confirm(asked, answer)
        except Refused as refused:
            upstream.failed(refused.detail)
            raise
        except ExtensionFault as fault:
            self._report(Side.UPSTREAM)(fault)
            raise Refused(500, "rejected_by_upstream", f"extension {fault.extension} failed") from fault
        upstream.answered(101)
        deflate = _settle(route.compression, upstream_agreement)
        report = self._report(Side.CLIENT)
        client_agreement, items = accept_all(asked.legs[Side.CLIENT].with_deflate(deflate), asked.offers, report)
        ours = client_response(opening, answer, _header(items))
        await self._client.answer_handshake(ours, route.timeouts.handshake_seconds)
        self._count("accepted")
        agreements = (client_agreement, upstream_agreement)
        opened = Opened(share, counters, upstream.instance, self._client, upstream.http, agreements, opening.trace_id)
        await run_tunnel(self._proxy, opened)

    def _report(self, side: Side) -> Report:
        """What is done about an extension of that leg that fails in the negotiation."""
        assert self.route is not None and self.trace_id is not None
        return partial(self._proxy.extension_failed, self.route.name, side, trace_id=self.trace_id)

    def _count(self, result: str) -> None:
        assert self.route is not None
        self._proxy.counters.handshakes[self.route.name, result] += 1


def _header(items: Sequence[ExtensionItem]) -> bytes | None:
    return b", ".join(map(format_extension, items)) if items else None


def _ask(compression: Compression, offers: tuple[ExtensionItem, ...]) -> Deflate | None:
    """permessage-deflate as it is offered to the upstream."""
    leg = compression.upstream
    if not leg.enabled:
        return None
    if compression.mode == "passthrough" and compression.client.enabled:
        item = mirror(offers, leg.policy.as_forgetful_as(compression.client.policy))
    else:
        item = offer(leg.policy)
    return Deflate(leg.policy, leg.deflate_options, asking=item)


async def _ask_upstream(
    attempts: Attempts, asking: ClientRequest, extension: bytes | None, patience: trio.CancelScope, seconds: float
) -> tuple[UpstreamConnection, bytes, _Answer]:
    """The first instance that answers our handshake: the open connection, the handshake's key and the answer.

    ``patience`` gets the deadline of each exchange, ``seconds`` after its begin. Raises Refused.
    """
    while True:
        upstream = await attempts.connect()
        try:
            ours = upstream_request(asking, upstream.base_path, extension)
            patience.deadline = trio.current_time() + seconds
            return upstream, ours.key, await _exchange(upstream.http, ours)
        except _Unanswered as refused:
            attempts.failed(upstream, refused)
            patience.deadline = math.inf
        except BaseException as error:
            if trio.current_time() >= patience.deadline or (isinstance(error, Refused) and error.status == 502):
                upstream.failed("no answer in time" if isinstance(error, trio.Cancelled) else str(error))
            upstream.close()
            raise


async def _exchange(upstream: Http1Connection, request: UpstreamRequest) -> _Answer:
    """Send our handshake and wait for its answer, whatever that is."""
    try:
        event = await upstream.handshake(request)
        while True:
            if isinstance(event, PlainSwitch | h11.Response):
                return event
            # 100 to 199 other than 101 may come before the answer (RFC 9110 §15.2).
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return event
            event = await upstream.next_event()
    except ConnectionLost as error:
        raise _Unanswered(502, "rejected_by_upstream", "the upstream closed before it answered") from error


def _confirm(asked: _Asked, answer: UpstreamAnswer) -> LegAgreement:
    """Read what the upstream answered to our offers. Raises Refused 502, or ExtensionFault."""
    try:
        return confirm_all(asked.candidates, asked.offered, parse_extensions(answer.extensions))
    except (ExtensionHeaderError, NegotiationError) as error:
        raise Refused(502, "rejected_by_upstream", f"the upstream's Sec-WebSocket-Extensions: {error}") from error


def _settle(compression: Compression, upstream: LegAgreement) -> Deflate | None:
    """permessage-deflate as it is agreed on with the client."""
    leg = compression.client
    if not leg.enabled:
        return None
    match = None if compression.mode == "recompress" else deflate_of(upstream)
    return Deflate(leg.policy, leg.deflate_options, match=match)
