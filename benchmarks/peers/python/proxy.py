"""A reverse proxy on websockets and uvloop that adds permessage-deflate for an upstream without it.

usage: python proxy.py PORT UPSTREAM_URL UPSTREAM_DEFLATE(0|1) text|binary

What its documentation advises is done: uvloop, its default compression settings, its speedups in C, and messages that
stay bytes both ways, so that no text is decoded and encoded again. Undecoded messages do not tell their kind, so it is
given: a favour to this peer.
"""

import asyncio
import sys

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Connection = ClientConnection | ServerConnection


async def carry(source: Connection, target: Connection, text: bool) -> None:
    try:
        while True:
            await target.send(await source.recv(decode=False), text=text)
    except ConnectionClosed:
        code, reason = source.close_code, source.close_reason
        if code is None or code in (1005, 1006, 1015):
            code, reason = 1001, ""
        await target.close(code, reason or "")


async def main(port: int, upstream: str, compression: str | None, text: bool) -> None:
    async def tunnel(client: ServerConnection) -> None:
        assert client.request is not None
        async with connect(upstream + client.request.path, compression=compression, proxy=None) as target:
            await asyncio.gather(carry(client, target, text), carry(target, client, text))

    async with serve(tunnel, "127.0.0.1", port, backlog=4096) as proxy:
        await proxy.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], "deflate" if sys.argv[3] == "1" else None, sys.argv[4] == "text"))
