"""One HTTP/1.1 connection: h11 over a `Transport`, in either role.

Owns: moving bytes between the two, and saying whose fault a broken message is. Must never decide what to answer.
A handshake as plain as most is read and written without h11 (`protocol.plain_heads`); h11 is made when anything else
comes, and is then told what came before.
Invariants
* Reads happen only when h11 needs data, so a body is never buffered beyond one read.
* A cancelled `next_event` loses nothing; what a cancelled `send` left goes out with the next one.
"""

import re

import h11
import trio

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.network.transport import Transport
from wsproxy.protocol.http1 import HEAD_LIMIT, check_head
from wsproxy.protocol.opening import ClientAnswer, UpstreamRequest
from wsproxy.protocol.plain_heads import PlainRequest, PlainSwitch, read_request, read_switch

Paused = type[h11.PAUSED]
_QUOTED_INPUT = re.compile(r":? (bytearray\()?b['\"].*", re.DOTALL)


class Http1Connection:
    """Events instead of bytes.

    :ivar transport: closing it is the owner's business.
    """

    __slots__ = ("_asked_head", "_machine", "_plain", "_rest", "_role", "transport")

    def __init__(self, transport: Transport, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        """``role`` is ours: h11.SERVER towards a client, h11.CLIENT towards an upstream."""
        self.transport = transport
        self._machine: h11.Connection | None = None
        self._role = role
        self._asked_head = False
        # A head that was read without h11, and what came behind it.
        self._plain = b""
        self._rest = b""

    @property
    def machine(self) -> h11.Connection:
        """The state machine, to look at its states."""
        if self._machine is None:
            self._machine = h11.Connection(self._role, max_incomplete_event_size=HEAD_LIMIT)
            if self._plain:
                self._machine.receive_data(self._plain + self._rest)
                self._machine.next_event()  # the request, which has been given out
                self._machine.next_event()  # and its end
        return self._machine

    @property
    def fresh(self) -> bool:
        """Nothing has been read on it yet."""
        return self._machine is None and not self._plain

    def take_handshake(self) -> PlainRequest | None:
        """The request for a WebSocket that has come as the first thing on this connection, end included.

        None if it has not come, or not all of it, or anything else: `next_event` gives that. Raises ConnectionLost.
        """
        if not self.fresh:
            return None
        data = self.transport.read_now(HEAD_LIMIT + 1)
        if data is None:
            return None
        found = read_request(data)
        if found is None:
            self.machine.receive_data(data)
            return None
        request, self._rest = found
        self._plain = data[: len(data) - len(self._rest)]
        return request

    async def end_of_request(self) -> None:
        """Read the end of a request without a body."""
        if self._machine is not None:
            await self.next_event()

    async def answer_handshake(self, answer: ClientAnswer, seconds: float) -> None:
        """Send a 101, after which no more HTTP is spoken. Raises ConnectionLost, also when ``seconds`` have passed."""
        if not self.transport.write_now(answer.encoded()):
            with trio.move_on_after(seconds):
                await self.transport.send_all(b"")
                return
            raise ConnectionLost("the client does not take its answer")

    async def handshake(self, request: UpstreamRequest) -> PlainSwitch | h11.Event | Paused:
        """Send a handshake as the first thing on this connection, and wait for what comes: as `next_event`."""
        if not self.transport.write_now(request.encoded()):
            await self.transport.send_all(b"")
        await self.transport.readable()
        data = self.transport.read_now(HEAD_LIMIT + 1)
        found = None if data is None else read_switch(data)
        if found is not None:
            switch, self._rest = found
            return switch
        self.machine.send(request.event())
        self.machine.send(h11.EndOfMessage())
        if data is not None:
            self.machine.receive_data(data)
        return await self.next_event()

    async def next_event(self) -> h11.Event | Paused:
        """The next event, or h11.PAUSED once the far end's message is over and more than it has been received.

        Raises ConnectionLost when the connection ended inside a message, else Refused for a malformed one: 400, 431
        or 501 of a client, 502 of an upstream.
        """
        while True:
            try:
                event = self.machine.next_event()
            except h11.RemoteProtocolError as error:
                raise self._fault(error) from None
            if isinstance(event, h11.Request):
                self._asked_head = event.method == b"HEAD"
            if isinstance(event, h11.ConnectionClosed) and self._role is h11.CLIENT:
                # h11 gives this for ever, and nobody who waits for an answer could do anything else with it.
                raise ConnectionLost("the upstream ended the connection")
            if isinstance(event, h11.Event):
                check_head(event, from_client=self._role is h11.SERVER)
                return event
            if event is h11.PAUSED:
                return h11.PAUSED
            # No more than one byte over the limit: h11 measures only what is not complete yet.
            room = HEAD_LIMIT + 1 - len(self.trailing())
            self.machine.receive_data(await self.transport.receive_some(room))

    async def send(self, *events: h11.Event) -> None:
        """Send the events in one write. Raises ConnectionLost; h11.LocalProtocolError is a bug of the caller."""
        data = b"".join(self.machine.send(event) or b"" for event in events)
        # The end of a counted body has no bytes: then this must not yield, or the answer could overtake it.
        if data:
            await self.transport.send_all(data)

    async def respond(self, response: h11.Response, body: bytes) -> None:
        """Send a whole response; without the body if the request was HEAD. Raises ConnectionLost."""
        content = () if self._asked_head else (h11.Data(data=body),)
        await self.send(response, *content, h11.EndOfMessage())

    def start_next_cycle(self) -> bool:
        """Get ready for the next request; False when this connection cannot be used again."""
        machine = self.machine
        if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
            return False
        machine.start_next_cycle()
        return True

    def trailing(self) -> bytes:
        """What was received after the end of the message, such as the first frames after a 101."""
        return self._rest if self._machine is None else self._machine.trailing_data[0]

    def _fault(self, error: h11.RemoteProtocolError) -> ConnectionLost | Refused:
        """Whose fault it is.

        h11 quotes the line that it could not read, and that may hold a cookie or a token: nothing of it is repeated, to
        nobody and in no log.
        """
        if self.machine.trailing_data[1]:
            return ConnectionLost("the connection ended inside an HTTP message")
        told = _QUOTED_INPUT.sub("", str(error))
        if self._role is h11.CLIENT:
            return Refused(502, "rejected_by_upstream", f"the upstream's answer is not valid HTTP/1.1: {told}")
        return Refused(error.error_status_hint, "bad_request", told)
