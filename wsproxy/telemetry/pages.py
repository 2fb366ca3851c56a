"""The read-only HTTP pages: /metrics, /livez, /readyz, and at / the dashboard with its /numbers.json.

Owns: what each page answers. Must never import trio, h11 or sockets: `service/` carries the answer.
Invariants: nothing here changes anything; no page shows a client's data.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wsproxy.telemetry import board
from wsproxy.telemetry.counters import Pause
from wsproxy.telemetry.exposition import content_type, render
from wsproxy.telemetry.snapshot import Snapshot

Take = Callable[[], Awaitable[Snapshot]]
"""Takes a snapshot of everything that the pages tell of: one worker's, or that of all of them."""

_PLAIN = "text/plain; charset=utf-8"
_DASHBOARD = (
    (b"Content-Security-Policy", board.POLICY.encode()),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. The headers hold Content-Length, also where the body is left out for HEAD (RFC 9110 §9.3.2)."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


async def respond(method: bytes, target: bytes, accept: bytes, take: Take, pause: Pause, ready: bool) -> Page:
    """Answer one request.

    :param target: the request target; a query is ignored.
    :param accept: the value of the Accept header, empty if there is none.
    :param pause: lets tunnels go on in the midst of a long answer.
    :param ready: every listener accepts, somebody serves, and no drain has begun.
    """
    if method not in (b"GET", b"HEAD"):
        return _page(405, "only GET and HEAD\n", _PLAIN, ((b"Allow", b"GET, HEAD"),))
    match target.partition(b"?")[0]:
        case b"/metrics":
            page = await _metrics(accept.decode("latin-1"), take, pause)
        case b"/livez":
            page = _page(200, "alive\n", _PLAIN)
        case b"/readyz":
            page = _page(200, "ready\n", _PLAIN) if ready else _page(503, "not ready\n", _PLAIN)
        case b"/numbers.json":
            page = _page(200, board.numbers(await take(), time.monotonic()), "application/json")
        case path:
            page = _dashboard(path)
    return Page(page.status, page.headers, b"") if method == b"HEAD" else page


def _dashboard(path: bytes) -> Page:
    found = board.file(path)
    return (
        _page(404, "no such page\n", _PLAIN)
        if found is None
        else _page(200, found.content, found.content_type, _DASHBOARD)
    )


async def _metrics(accept: str, take: Take, pause: Pause) -> Page:
    pieces = []
    for piece in render(await take(), accept):
        pieces.append(piece)
        await pause()
    return _page(200, b"".join(pieces), content_type(accept))


def _page(status: int, body: bytes | str, content_type: str, extra: tuple[tuple[bytes, bytes], ...] = ()) -> Page:
    content = body.encode() if isinstance(body, str) else body
    headers = (
        (b"Content-Type", content_type.encode()),
        (b"Content-Length", str(len(content)).encode()),
        (b"Cache-Control", b"no-store"),
        *extra,
    )
    return Page(status, headers, content)
