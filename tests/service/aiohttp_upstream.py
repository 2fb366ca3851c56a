"""An upstream that knows nothing of us: aiohttp. Run as a program; prints its port, serves until its stdin ends."""

import asyncio
import hashlib
import sys

from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    assert request.transport is not None
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "host": request.headers.get("Host"),
            "headers": sorted(name.lower() for name in request.headers),
            "connection": request.transport.get_extra_info("peername")[1],
        },
        headers={"X-Upstream": "aiohttp"},
    )


async def digest(request: web.Request) -> web.Response:
    found = hashlib.sha256()
    size = 0
    async for part in request.content.iter_any():
        found.update(part)
        size += len(part)
    return web.json_response({"size": size, "sha256": found.hexdigest()})


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.query["parts"])):
        await response.write(bytes([number % 256]) * 10_000)
    await response.write_eof()
    return response


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]))


async def main() -> None:
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/base/echo", echo)
    application.router.add_route("*", "/digest", digest)
    application.router.add_route("*", "/stream", stream)
    application.router.add_route("*", "/status/{code}", status)
    application.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    print(address[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
