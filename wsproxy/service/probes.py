"""One probe of one instance: is it worth sending clients there?

Owns: what is asked and what counts as a good answer. Must never change a pool.
"""

import base64
import secrets

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.gateway.endpoints import Instance
from wsproxy.gateway.generation import Group
from wsproxy.network.http1_connection import Http1Connection
from wsproxy.protocol.http1 import HeaderList, join_target
from wsproxy.protocol.opening import check_response
from wsproxy.service.connecting import authority, reach

_NORMAL_CLOSURE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
"""A masked close frame with code 1000, so that a probed upstream sees an orderly end (RFC 6455 §7.1.2)."""


async def probe(group: Group, instance: Instance) -> str:
    """Ask as the upstream's ``health.mode`` says; what is wrong, or nothing if all is well."""
    health = group.pool.settings.health
    with trio.move_on_after(health.timeout_seconds):
        try:
            transport = await reach(group, instance, health.timeout_seconds, group.own_preamble)
        except Refused as refused:
            return str(refused.__cause__ or refused.detail)
        try:
            if health.mode == "tcp":
                return ""
            return await _ask(Http1Connection(transport, h11.CLIENT), instance, health.path, health.mode == "websocket")
        except Refused as refused:
            return refused.detail
        except ConnectionLost as error:
            return str(error)
        finally:
            transport.close()
    return f"no answer in {health.timeout_seconds:g} s"


async def _ask(upstream: Http1Connection, instance: Instance, path: str, websocket: bool) -> str:
    key = base64.b64encode(secrets.token_bytes(16))
    headers: HeaderList = [(b"Host", authority(instance.endpoint)), (b"User-Agent", b"wsproxy")]
    if websocket:
        headers += [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
    else:
        headers.append((b"Connection", b"close"))
    target = join_target(instance.endpoint.base_path.encode("ascii"), path.encode("ascii"))
    await upstream.send(h11.Request(method=b"GET", target=target, headers=headers), h11.EndOfMessage())
    while True:
        event = await upstream.next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101 and websocket:
            check_response(event, key, ())
            await upstream.transport.send_all(_NORMAL_CLOSURE)
            return ""
        if isinstance(event, h11.Response):
            if not websocket and 200 <= event.status_code < 400:
                return ""
            return f"answered {event.status_code}"
