"""An ordinary HTTP upstream on aiohttp, in a thread with a loop of its own. Must never import wsproxy."""

import asyncio
import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

LARGE = b"0123456789abcdef" * 320_000
"""Five megabytes."""


@dataclass(slots=True)
class WebUpstream:
    """Where it listens, and the requests that it got."""

    loop: asyncio.AbstractEventLoop
    port: int = 0
    seen: list[tuple[str, str, list[tuple[str, str]]]] = field(default_factory=list)
    """Method, path with query, headers."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        """Let a stream that waits go on."""
        self.loop.call_soon_threadsafe(self.go_on.set)


def _application(upstream: WebUpstream) -> web.Application:
    async def note(request: web.Request, _response: web.StreamResponse) -> None:
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        upstream.seen.append((request.method, request.path_qs, headers))

    async def page(_request: web.Request) -> web.Response:
        answer = web.Response(text="<p>hello</p>\n", content_type="text/html", headers={"X-One": "1", "ETag": '"tag"'})
        answer.headers.add("Set-Cookie", "a=1; Path=/")
        answer.headers.add("Set-Cookie", "b=2")
        return answer

    async def posted(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"X-Method": request.method})

    async def chunked(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for number in range(50):
            await answer.write(f"line {number}\n".encode() * 20)
        await answer.write_eof()
        return answer

    async def events(request: web.Request) -> web.StreamResponse:
        """Two server-sent events; the second only after `WebUpstream.release`."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await answer.prepare(request)
        await answer.write(b"id: 1\ndata: first\n\n")
        await upstream.go_on.wait()
        await answer.write(b"id: 2\ndata: second\n\n")
        await answer.write_eof()
        return answer

    async def cut(request: web.Request) -> web.StreamResponse:
        """A body that ends before its announced length."""
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"only this")
        assert request.transport is not None
        request.transport.close()
        return answer

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def packed(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"packed " * 500, mtime=0), headers={"Content-Encoding": "gzip"})

    async def nothing(_request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/web/page?from=here")

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.on_response_prepare.append(note)
    for path, answer in {
        "page": page,
        "post": posted,
        "chunked": chunked,
        "events": events,
        "cut": cut,
        "large": large,
        "packed": packed,
        "nothing": nothing,
        "elsewhere": elsewhere,
    }.items():
        application.router.add_route("*", f"/web/{path}", answer)
    return application


@contextlib.contextmanager
def web_upstream() -> Iterator[WebUpstream]:
    loop = asyncio.new_event_loop()
    upstream = WebUpstream(loop)
    runner = web.AppRunner(_application(upstream), shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        upstream.port = runner.addresses[0][1]

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        upstream.release()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
