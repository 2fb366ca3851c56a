"""The two legs of a tunnel joined: what either side sends becomes what the other side gets, closes included.

Owns the close table and nothing of sockets or clocks: bytes and the time come in, bytes and wishes go out, so that
every race is a table in a test. The caller delivers input with `receive`, `ended` and `lost`, sends what `take`
gives, and asks `wants_input` before it reads.

How a tunnel ends (RFC 6455 §7; the first cause is kept in `ending`):

============================ ================================= =======================================
what happened                that side gets                    the other side gets
============================ ================================= =======================================
a close frame                the other side's close frame      the same code and reason
a violation                  its code, then a half close       1001 an upstream, 1011 a client; 1007 to
                                                               1009: the same code
an extension failed          1011, then a half close           1011
lost without a close frame   nothing                           1001 an upstream, 1011 a client; its own
                                                               code, if it had asked to close
drain, idle, maximum age     client: the drain's code, or 1001 1001, once the client's close or end came
============================ ================================= =======================================

Invariants: at most one close frame leaves on a leg, and 1005, 1006 and 1015 never; from the first cause on a deadline
stands, after which the tunnel is over whatever the sides do; input after a side's close frame is thrown away.
"""

from enum import Enum, auto
from math import inf

from wsproxy.errors import ExtensionFault, Side, Violation
from wsproxy.protocol.ending import ABNORMAL, NO_STATUS, Ending, Initiator
from wsproxy.protocol.events import CloseFrame, LegEvent, Piece, PingFrame, PongFrame
from wsproxy.protocol.flow import HIGH_WATER, Flow
from wsproxy.protocol.keepalive import Lapse, Watch
from wsproxy.protocol.lane import Lane
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.rates import Toll
from wsproxy.protocol.tally import Direction, Tally

EVENTS_A_TURN = 256
"""Events of one side that one turn works off at most: a read full of two-byte frames must not hold up other tunnels."""

BOUNDARY_SECONDS = 30.0
"""How long a tunnel that is idle or old may still be in the midst of a message."""


class Input(Enum):
    """What becomes of the bytes that a side sends."""

    RELAYED = auto()
    DISCARDED = auto()
    """Its close frame came, or it broke a rule: read only so that our last words are not lost to a reset."""
    ENDED = auto()


class Relay:
    """One tunnel's conversation.

    :param legs: the conversations with the client and with the upstream.
    :param flows: what the client's and what the upstream's messages go through.
    :param tallies: ``tallies[side][direction]``.
    :param close_seconds: bound on a closing handshake, from its first cause to the end of both connections.
    :param watch: its limits of time; None: none but ``close_seconds``.
    :param toll: what the client may send a second; None: no limit.
    """

    __slots__ = (
        "_backlog", "_carried", "_drain_code", "_draining", "_failed", "_flows", "_input", "_lanes", "_legs",
        "_resting", "_tallies", "_toll", "_watch", "_writable", "close_seconds", "deadline", "ending", "fault",
        "steady",
    )  # fmt: skip

    def __init__(
        self,
        legs: tuple[Leg, Leg],
        flows: tuple[Flow, Flow],
        tallies: tuple[tuple[Tally, Tally], tuple[Tally, Tally]],
        close_seconds: float,
        fast_lane: bool = True,
        watch: Watch | None = None,
        toll: Toll | None = None,
    ) -> None:
        self._legs = legs
        self._flows = flows
        self._tallies = tallies
        self.close_seconds = close_seconds
        self._watch = watch
        self._toll = toll
        self._lanes = (Lane(flows[0]), Lane(flows[1])) if fast_lane else None
        self._input = [Input.RELAYED, Input.RELAYED]
        self._failed = [False, False]
        self._writable = [True, True]
        self._backlog = [False, False]
        self._draining = False
        self._carried = 0
        self._resting = True
        self._drain_code: int | None = None
        self.ending: Ending | None = None
        self.fault: tuple[Side, ExtensionFault] | None = None
        """The extension that ended the tunnel, and the leg that it is on."""
        self.steady = True
        """Nothing has begun to end and nothing waits inside: once what `take` gave is sent, both sides may be read."""
        self.deadline = inf
        """The time at which the caller gives up on both connections."""

    # --- input

    def receive(self, side: Side, data: bytes, now: float) -> None:
        """Take what arrived from ``side`` at time ``now`` (seconds)."""
        self._tallies[side][Direction.RECEIVED].wire_bytes += len(data)
        if self._input[side] is not Input.RELAYED:
            return
        if self._toll is not None and side is Side.CLIENT:
            try:
                self._toll.pay_bytes(len(data), now)
            except Violation as violation:
                self._violated(side, violation, now)
                return
        leg = self._legs[side]
        if self.steady and self._lanes is not None and (message := leg.whole_message(data)) is not None:
            self._carry(side, message, now)
        else:
            leg.feed(data)
            self.resume(side, now)

    def _carry(self, side: Side, message: tuple[int, bytes], now: float) -> None:
        """`resume` for what was one whole message, in a steady tunnel."""
        assert self._lanes is not None
        try:
            self._lanes[side].carry_one(*message)
            if self._flows[side].pending or self._legs[side.other].outbox_bytes >= HIGH_WATER:
                self._backlog[side] = True
                self.steady = False
            if self._toll is not None and side is Side.CLIENT:
                self._toll.pay_messages(now)
        except Violation as violation:
            self._violated(side, violation, now)
        except ExtensionFault as fault:
            self._faulted(side, fault, now)

    def resume(self, side: Side, now: float) -> None:
        """Go on with input of ``side`` that waited for room on the other side (`backlog`)."""
        try:
            self._backlog[side] = self._work(side, now)
            if self._toll is not None and side is Side.CLIENT:
                self._toll.pay_messages(now)
            self.steady = self.ending is None and True not in self._backlog
        except Violation as violation:
            self._violated(side, violation, now)
        except ExtensionFault as fault:
            self._faulted(side, fault, now)

    def rest(self) -> bool:
        """Give back what the next message can do without, if none was carried since the last call; whether it did.

        Pings do not count: clients that keep a quiet connection alive are no reason to keep its codecs.
        """
        carried = sum(flow.received.text + flow.received.binary for flow in self._flows)
        if carried != self._carried:
            self._carried = carried
            self._resting = False
        elif not self._resting:
            self._resting = True
            for leg, flow in zip(self._legs, self._flows, strict=True):
                leg.rest()
                flow.rest()
            return True
        return False

    def ended(self, side: Side, now: float) -> None:
        """``side`` ended its half of the connection in order. After its close frame it may still wait for ours."""
        if self._input[side] is Input.RELAYED:
            self.lost(side, now)
        self._input[side] = Input.ENDED

    def lost(self, side: Side, now: float, lapse: Lapse | None = None) -> None:
        """The connection of ``side`` is gone: nothing comes any more, and nothing can be sent.

        ``lapse``: it is given up, because a limit of time has passed.
        """
        relayed = self._input[side] is Input.RELAYED
        self._input[side] = Input.ENDED
        self._writable[side] = False
        self._backlog[side] = False
        if relayed:
            self._begin_end(side.label, ABNORMAL, lapse.value if lapse else "connection lost", now, lapse)
            if self._began(side.other):
                # It asked to close, and the connection it closed is closed: that answers it.
                self._answer_close(side.other)
            else:
                self._send_close(side.other, _gone(side.other), "connection lost")

    def drain(self, code: int, now: float) -> None:
        """Close the client with ``code`` at the next message boundary, then the upstream with 1001."""
        self._drain(Ending("proxy", code, "going away"), now)

    @property
    def look_at(self) -> float:
        """When to call `look` next."""
        return inf if self._watch is None else self._watch.look_at

    def look(self, judged: tuple[bool, bool], now: float) -> Side | None:
        """Send the pings that are due, and close what is idle or old; the side that is to be given up, if any.

        ``judged``: of each side, whether its silence means something (`Watch.look`).
        """
        if self._watch is None or self.ending is not None:
            return None
        found = self._watch.look(self._legs, judged, now)
        if found is None:
            return None
        lapse, side = found
        if side is not None:
            return side
        self._drain(Ending("proxy", 1001, lapse.value, lapse), now)
        # A message that is under way may come to its end, but no drain's grace stands behind this one.
        self.deadline = min(self.deadline, now + max(self.close_seconds, BOUNDARY_SECONDS))
        return None

    def _drain(self, ending: Ending, now: float) -> None:
        if self.ending is None:
            self.ending = ending
            self.steady = False
            self._draining = True
            self._drain_code = ending.code
            self._drain_at_boundary(now)

    def expire(self) -> None:
        """The deadline has passed: say the close frames that were still to be said. The caller sends and hangs up."""
        for side in Side:
            if self._began(side) or (self._draining and side is Side.CLIENT):
                self._answer_close(side)
            else:
                self._send_close(side, _gone(side), "going away")

    def _work(self, side: Side, now: float) -> bool:
        """Turn input into output while there is room; True when some was left."""
        leg = self._legs[side]
        flow = self._flows[side]
        sink = self._legs[side.other]
        # A drain waits for the next message's end, which the flow tells: then all goes through it as it comes.
        draining = self._drain_code is not None
        lane = self._lanes[side] if self._lanes is not None and not draining else None
        events = 0
        while events < EVENTS_A_TURN:
            events += 1
            accepts = self._accepts(side.other)
            if accepts and flow.pending:
                flow.advance()
            elif accepts and lane is not None and (carried := lane.carry(leg)):
                events += carried
            else:
                event = (leg.whole_close() if lane else None) or leg.next_event(may_wait=accepts and not draining)
                if event is None:
                    return False
                self._pass_on(side, event, flow, sink, now)
            if self._input[side] is not Input.RELAYED:
                return False
            if self._accepts(side.other) and (flow.pending or sink.outbox_bytes >= HIGH_WATER):
                return True
        return True

    def _pass_on(self, side: Side, event: LegEvent, flow: Flow, sink: Leg, now: float) -> None:
        received = self._tallies[side][Direction.RECEIVED]
        sent = self._tallies[side.other][Direction.SENT]
        match event:
            case Piece():
                if self._accepts(side.other):
                    flow.take(event)
                    if self._drain_code is not None:
                        self._drain_at_boundary(now)
            case PingFrame(payload):
                received.ping += 1
                if sink.open:
                    sent.ping += 1
                    sink.send_ping(payload)
            case PongFrame(payload):
                received.pong += 1
                if self._watch is not None and self._watch.takes_pong(side, payload, now):
                    return
                if sink.open:
                    sent.pong += 1
                    sink.send_pong(payload)
            case CloseFrame(code, reason):
                received.close += 1
                self._closed(side, code, reason, now)

    # --- closing

    def _closed(self, side: Side, code: int | None, reason: str, now: float) -> None:
        self._input[side] = Input.DISCARDED
        self._begin_end(side.label, NO_STATUS if code is None else code, reason, now)
        if self._draining:
            code, reason = 1001, "going away"
        self._send_close(side.other, code, reason)

    def _violated(self, side: Side, violation: Violation, now: float) -> None:
        code = violation.code
        self._begin_end("proxy", code, violation.reason, now)
        self._input[side] = Input.DISCARDED
        self._failed[side] = True
        self._backlog[side] = False
        self._send_close(side, code, violation.reason)
        if code == 1002:
            self._send_close(side.other, _gone(side.other), "the other side broke the protocol")
        else:
            self._send_close(side.other, code, violation.reason)

    def _faulted(self, side: Side, fault: ExtensionFault, now: float) -> None:
        """An extension failed at what `side` sent: at its own leg if it was to decode, at the other one to encode."""
        if self.fault is None:
            self.fault = (side if fault.operation == "decode" else side.other, fault)
        self._violated(side, Violation(1011, f"extension {fault.extension} failed"), now)

    def _accepts(self, side: Side) -> bool:
        """Whether data may still be written to ``side``: nothing may follow a close frame (RFC 6455 §5.5.1)."""
        return self._writable[side] and not self._legs[side].close_sent

    def _send_close(self, side: Side, code: int | None, reason: str) -> None:
        leg = self._legs[side]
        if self._accepts(side):
            leg.send_close(code, reason)
            self._tallies[side][Direction.SENT].close += 1

    def _began(self, side: Side) -> bool:
        return self.ending is not None and self.ending.initiator == side.label

    def _answer_close(self, side: Side) -> None:
        assert self.ending is not None
        self._send_close(side, _wire_code(self.ending.code), self.ending.reason)

    def _drain_at_boundary(self, now: float) -> None:
        under_way = not self._flows[Side.UPSTREAM].between_messages or self._legs[Side.UPSTREAM].is_cut()
        if self._drain_code is not None and not under_way:
            assert self.ending is not None
            self._send_close(Side.CLIENT, self._drain_code, self.ending.reason)
            self._drain_code = None
            self._begin_end("proxy", 1001, "going away", now)

    def _begin_end(self, initiator: Initiator, code: int, reason: str, now: float, lapse: Lapse | None = None) -> None:
        if self.ending is None:
            self.ending = Ending(initiator, code, reason, lapse)
        self.steady = False
        self.deadline = min(self.deadline, now + self.close_seconds)

    # --- output and wishes

    def take(self, side: Side) -> bytes:
        """What is to be sent to ``side`` now; the caller owns it from here."""
        leg = self._legs[side]
        if not leg.outbox_bytes:
            return b""
        data = leg.take_outbox()
        self._tallies[side][Direction.SENT].wire_bytes += len(data)
        return data

    @property
    def has_output(self) -> bool:
        return self._legs[0].outbox_bytes > 0 or self._legs[1].outbox_bytes > 0

    def backlog(self, side: Side) -> bool:
        """Input of ``side`` waits inside for room on the other side: call `resume`, and do not read."""
        return self._backlog[side]

    def wants_input(self, side: Side, other_side_drained: bool) -> bool:
        """Whether ``side`` may be read; ``other_side_drained``: all that `take` gave for the other side is sent."""
        match self._input[side]:
            case Input.RELAYED:
                return other_side_drained and not self._backlog[side]
            case Input.DISCARDED:
                return True
            case Input.ENDED:
                return False

    def half_close_due(self, side: Side) -> bool:
        """Nothing follows what was taken for ``side``: end our half of its connection once that is sent.

        The client's connection is ours to end first, the upstream's is not (RFC 6455 §7.1.1), unless it failed.
        """
        leg = self._legs[side]
        if not leg.close_sent:
            return False
        return self._failed[side] or (side is Side.CLIENT and leg.close_received)

    def over(self, side: Side) -> bool:
        """Nothing is left to do on the connection of ``side`` but to close it, once all that was taken is sent."""
        return self._input[side] is Input.ENDED and not self._accepts(side)


def _gone(side: Side) -> int:
    """What a side is told when the other one is no more: an upstream 1001, a client 1011."""
    return 1001 if side is Side.UPSTREAM else 1011


def _wire_code(code: int) -> int | None:
    return None if code == NO_STATUS else code
