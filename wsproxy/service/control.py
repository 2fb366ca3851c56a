"""The control socket: who may open it may look at tunnels, close them, and drain.

Owns: the protocol, a JSON object a line each way (docs/control.md), and what each command means. Any process of
the same user can connect: the file's mode is the only lock, so nothing here shows a secret or runs anything.
Invariants: input is bounded, and a request that is not understood changes nothing and gets an answer that says why.
"""

import json
from collections.abc import Callable
from typing import Protocol

import trio

from wsproxy.errors import ConnectionLost
from wsproxy.network.transport import Transport
from wsproxy.service.orders import Answer, CloseTunnels, DrainEndpoint, ListTunnels, Order
from wsproxy.settings.problems import did_you_mean
from wsproxy.settings.process import parse_close_code
from wsproxy.settings.tree import Settings

LINE_BYTES = 65_536
REQUEST_SECONDS = 60.0
"""From one answer to the end of the next request."""
CONNECTIONS = 32
"""At once; a further one is closed."""

Object = dict[str, object]
_COMMANDS = ("list", "close", "close-endpoint", "drain-endpoint", "undrain-endpoint", "drain", "config")


class Asked(Protocol):
    """Whoever serves."""

    async def ask(self, order: Order) -> list[Answer]: ...


class _Wrong(Exception):
    """A request that cannot be done; the text is for whoever sent it."""


class Control:
    """Answers requests.

    :param settings: gives the configuration in force.
    :param drain: begins the drain of everything.
    """

    def __init__(self, crew: Asked, settings: Callable[[], Settings], drain: Callable[[], None]) -> None:
        self._crew = crew
        self._settings = settings
        self._drain = drain
        self._open = 0

    async def serve(self, transport: Transport) -> None:
        """Answer one connection's requests, one after the other; the transport is closed afterwards."""
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                await self._serve_lines(transport)
        except ConnectionLost:
            return
        finally:
            self._open -= 1
            transport.close()

    async def _serve_lines(self, transport: Transport) -> None:
        received = b""
        while True:
            with trio.move_on_after(REQUEST_SECONDS) as waiting:
                while b"\n" not in received and len(received) <= LINE_BYTES:
                    data = await transport.receive_some()
                    if not data:
                        return
                    received += data
            if waiting.cancelled_caught:
                return
            line, end, received = received.partition(b"\n")
            answer = (
                await self._answer(line) if end else {"error": f"a request is a line of {LINE_BYTES} bytes at most"}
            )
            with trio.move_on_after(REQUEST_SECONDS):
                await transport.send_all(json.dumps(answer).encode() + b"\n")
            if not end:
                return

    async def _answer(self, line: bytes) -> Object:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise _Wrong("a request is a JSON object")
            return await self._do(request)
        except (ValueError, RecursionError):
            return {"error": "a request is one line of JSON"}
        except _Wrong as wrong:
            return {"error": str(wrong)}

    async def _do(self, request: Object) -> Object:
        match request.get("command"):
            case "list":
                lists = [each for each in await self._crew.ask(ListTunnels()) if isinstance(each, list)]
                return {"tunnels": [tunnel for each in lists for tunnel in each]}
            case "close":
                return await self._close(CloseTunnels(_text(request, "tunnel"), "", self._code(request), 0.0))
            case "close-endpoint":
                return await self._close(CloseTunnels("", _text(request, "endpoint"), self._code(request), 0.0))
            case "drain-endpoint":
                endpoint, spread = _text(request, "endpoint"), self._settings().shutdown.close_spread_seconds
                order = CloseTunnels("", endpoint, self._code(request), spread)
                if endpoint in self._endpoints():
                    await self._crew.ask(DrainEndpoint(endpoint, draining=True))
                return await self._close(order)
            case "undrain-endpoint":
                endpoint = _text(request, "endpoint")
                if endpoint not in self._endpoints():
                    raise self._no_endpoint(endpoint)
                await self._crew.ask(DrainEndpoint(endpoint, draining=False))
                return {}
            case "drain":
                self._drain()
                return {}
            case "config":
                from wsproxy.settings.show import as_document

                return {"settings": as_document(self._settings())}
            case _:
                raise _Wrong(f"the command must be one of {', '.join(_COMMANDS)}")

    def _endpoints(self) -> list[str]:
        """The URLs in the configuration in force."""
        return [each.url for upstream in self._settings().upstreams.values() for each in upstream.endpoints]

    def _no_endpoint(self, endpoint: str) -> _Wrong:
        return _Wrong(f"no upstream has the endpoint {endpoint}{did_you_mean(endpoint, self._endpoints())}")

    def _code(self, request: Object) -> int:
        code = request.get("code", self._settings().shutdown.close_code)
        if type(code) is not int:
            raise _Wrong("the code must be a whole number")
        try:
            parse_close_code(code)
        except ValueError as error:
            raise _Wrong(str(error)) from error
        return code

    async def _close(self, order: CloseTunnels) -> Object:
        counts = await self._crew.ask(order)
        closed = sum(count for count in counts if isinstance(count, int))
        if order.tunnel and not closed:
            raise _Wrong(f"no tunnel has the id {order.tunnel}")
        # One that a reload took away may have tunnels still.
        if order.endpoint and not closed and order.endpoint not in self._endpoints():
            raise self._no_endpoint(order.endpoint)
        return {"closing": closed}


def _text(request: Object, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{name} must be a text")
    return value
