"""The read-only listener: carries the pages of `telemetry.pages` over HTTP/1.1.

Owns: one connection's loop. Answers nothing by itself, changes nothing.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.network.transport import Transport
from wsproxy.protocol import http1
from wsproxy.telemetry.pages import Page

REQUEST_SECONDS = 30.0
"""From one answer to the end of the next; bounds idle connections too."""
LINGER_SECONDS = 1.0

Answer = Callable[[bytes, bytes, bytes], Awaitable[Page]]
"""The page for a method, a target and an Accept header's value."""


async def serve_pages(transport: Transport, answer: Answer) -> None:
    """Answer one client's requests until it is done; the transport is closed afterwards."""
    connection = Http1Connection(transport, h11.SERVER)
    try:
        reusable = True
        while reusable:
            reusable = False
            with trio.move_on_after(REQUEST_SECONDS):
                reusable = await _serve_one(connection, answer)
        await transport.drain_and_close(LINGER_SECONDS)
    except ConnectionLost:
        return  # a scraper that went away: nothing of ours depends on it
    finally:
        transport.close()


async def _serve_one(connection: Http1Connection, answer: Answer) -> bool:
    try:
        request = await connection.next_event()
        if not isinstance(request, h11.Request):
            return False
        http1.check_framing(request)
        bodyless = http1.is_bodyless(request)
        if bodyless:
            await connection.next_event()  # the request's end
    except Refused as refused:
        if connection.machine.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await connection.respond(*http1.error_response(refused.status, refused.detail))
        return False
    accept = http1.header(request.headers, b"accept") or b""
    page = await answer(request.method, request.target, accept)
    # A page is asked for without a body; after one that came with it, the connection ends.
    headers = list(page.headers) if bodyless else [*page.headers, (b"Connection", b"close")]
    phrase = HTTPStatus(page.status).phrase.encode("ascii")
    await connection.respond(h11.Response(status_code=page.status, headers=headers, reason=phrase), page.body)
    return bodyless and connection.start_next_cycle()
