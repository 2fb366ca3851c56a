"""One HTTP/1.1 connection: h11 over a `Transport`, in either role.

Owns: moving bytes between the two, and saying whose fault a broken message is. Must never decide what to answer.
Invariants
* Reads happen only when h11 needs data, so a body is never buffered beyond one read.
* A cancelled `next_event` loses nothing; what a cancelled `send` left goes out with the next one.
"""

import re

import h11

from wsproxy.errors import ConnectionLost, Refused
from wsproxy.network.transport import Transport
from wsproxy.protocol.http1 import HEAD_LIMIT, check_head

Paused = type[h11.PAUSED]
_QUOTED_INPUT = re.compile(r":? (bytearray\()?b['\"].*", re.DOTALL)


class Http1Connection:
    """Events instead of bytes.

    :ivar transport: closing it is the owner's business.
    :ivar h11: the state machine, to look at its states.
    """

    __slots__ = ("_asked_head", "_role", "h11", "transport")

    def __init__(self, transport: Transport, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        """``role`` is ours: h11.SERVER towards a client, h11.CLIENT towards an upstream."""
        self.transport = transport
        self.h11 = h11.Connection(role, max_incomplete_event_size=HEAD_LIMIT)
        self._role = role
        self._asked_head = False

    async def next_event(self) -> h11.Event | Paused:
        """The next event, or h11.PAUSED once the far end's message is over and more than it has been received.

        Raises ConnectionLost when the connection ended inside a message, else Refused for a malformed one: 400, 431
        or 501 of a client, 502 of an upstream.
        """
        while True:
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                raise self._fault(error) from error
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
            self.h11.receive_data(await self.transport.receive_some(room))

    async def send(self, *events: h11.Event) -> None:
        """Send the events in one write. Raises ConnectionLost; h11.LocalProtocolError is a bug of the caller."""
        data = b"".join(self.h11.send(event) or b"" for event in events)
        # The end of a counted body has no bytes: then this must not yield, or the answer could overtake it.
        if data:
            await self.transport.send_all(data)

    async def respond(self, response: h11.Response, body: bytes) -> None:
        """Send a whole response; without the body if the request was HEAD. Raises ConnectionLost."""
        content = () if self._asked_head else (h11.Data(data=body),)
        await self.send(response, *content, h11.EndOfMessage())

    def start_next_cycle(self) -> bool:
        """Get ready for the next request; False when this connection cannot be used again."""
        if self.h11.our_state is not h11.DONE or self.h11.their_state is not h11.DONE:
            return False
        self.h11.start_next_cycle()
        return True

    def trailing(self) -> bytes:
        """What was received after the end of the message, such as the first frames after a 101."""
        return self.h11.trailing_data[0]

    def _fault(self, error: h11.RemoteProtocolError) -> ConnectionLost | Refused:
        if self.h11.trailing_data[1]:
            return ConnectionLost("the connection ended inside an HTTP message")
        if self._role is h11.CLIENT:
            return Refused(502, "rejected_by_upstream", "the upstream's answer is not valid HTTP/1.1")
        # h11 quotes the line that it could not read, and that may hold a cookie: nothing of it is repeated.
        return Refused(error.error_status_hint, "bad_request", _QUOTED_INPUT.sub("", str(error)))
