"""What time does to a tunnel: the proxy's own pings, silence, idleness, age. Sans-I/O; the time is a parameter.

Owns: when a ping is due, whose pong is whose, and when a tunnel has lapsed. Whoever sweeps asks `Watch.look` when
`look_at` has come: nothing here is called for a message, the tallies say what moved. Must never close anything.
Invariants
* Only a pong that carries this leg's own random token is taken from the ends; all others are theirs.
* A side that is not read, or that has not taken all that waits for it, is not judged by its silence.
* Everything is seen within a second, or an eighth of the span it is about, whichever is longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf

from wsproxy.errors import Side
from wsproxy.protocol.leg import Leg
from wsproxy.protocol.tally import Direction, Tally

TOKEN_BYTES = 8
_LOOK_SECONDS = 1.0
_LOOKS = 8


class Lapse(Enum):
    """Which limit of time ended a tunnel; the value is the reason that is told."""

    PING = "ping timeout"
    WRITE_STALL = "took nothing"
    IDLE = "idle timeout"
    MAX_AGE = "maximum age"

    @property
    def label(self) -> str:
        """The ``reason`` label of the counter."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Spans:
    """A tunnel's limits of time, in seconds; 0: none.

    :ivar max_age: already shortened by this tunnel's share of the jitter.
    """

    ping_interval: float
    ping_timeout: float
    idle: float
    max_age: float

    @property
    def shortest(self) -> float:
        """The shortest of those that are set, `inf` if none is."""
        timeout = self.ping_timeout if self.ping_interval else 0.0
        return min(filter(None, (self.ping_interval, timeout, self.idle, self.max_age)), default=inf)


class _Pulse:
    """The proxy's own pings on one leg."""

    __slots__ = ("_number", "_pinged", "_received", "_silent_since", "_token", "_waits")

    def __init__(self, token: bytes, now: float) -> None:
        self._token = token
        self._number = 0
        self._received = 0
        self._silent_since = now
        self._pinged = now
        self._waits = False

    def is_silent(self, received: int, judged: bool) -> bool:
        """Nothing came since the last look; ``received`` is what has come so far, in bytes."""
        silent = judged and received == self._received
        self._received = received
        return silent

    def beat(self, silent: bool, spans: Spans, now: float) -> bytes | Lapse | None:
        """The payload of a ping to send, or that this side is lost, or nothing to do."""
        if not silent:
            self._silent_since = now
            self._waits = False
        elif self._waits:
            return Lapse.PING if now >= self._pinged + spans.ping_timeout else None
        elif now >= self._silent_since + spans.ping_interval:
            self._number += 1
            self._pinged = now
            self._waits = True
            return self._payload()
        return None

    def owns(self, payload: bytes) -> bool:
        return payload.startswith(self._token)

    def round_trip(self, payload: bytes, now: float) -> float | None:
        """Seconds since the ping that this pong answers; None for a late one."""
        return now - self._pinged if payload == self._payload() else None

    def _payload(self) -> bytes:
        return self._token + self._number.to_bytes(4)


class Watch:
    """One tunnel's clocks.

    :ivar look_at: when to call `look` next; `inf` where no limit is set.
    """

    __slots__ = (
        "_active_since",
        "_born",
        "_carried",
        "_make_token",
        "_on_round_trip",
        "_pulses",
        "_spans",
        "_step",
        "_tallies",
        "look_at",
    )

    def __init__(
        self,
        spans: Spans,
        tallies: tuple[tuple[Tally, Tally], tuple[Tally, Tally]],
        make_token: Callable[[Side], bytes],
        now: float,
        on_round_trip: Callable[[Side, float], None],
    ) -> None:
        """
        :param tallies: ``tallies[side][direction]``, the relay's.
        :param make_token: gives random bytes that begin the payloads of our pings on a leg; not before the first look,
            which short tunnels do not live to see.
        :param on_round_trip: called with the seconds from a ping to its pong.
        """
        self._spans = spans
        self._tallies = tallies
        self._make_token = make_token
        self._pulses: tuple[_Pulse, _Pulse] | None = None
        self._born = self._active_since = now
        self._carried = 0
        self._on_round_trip = on_round_trip
        self._step = max(_LOOK_SECONDS, spans.shortest / _LOOKS)
        self.look_at = now + self._step

    def look(self, legs: tuple[Leg, Leg], judged: tuple[bool, bool], now: float) -> tuple[Lapse, Side | None] | None:
        """Ping where it is due; which limit has been passed, and which side is lost over it, if any.

        :param judged: of each side, whether its silence means something: it is read, and has taken all there is.
        """
        self.look_at = now + self._step
        spans = self._spans
        if spans.max_age and now >= self._born + spans.max_age:
            return Lapse.MAX_AGE, None
        if spans.idle and self._is_idle(now):
            return Lapse.IDLE, None
        if spans.ping_interval:
            if self._pulses is None:
                client, upstream = (_Pulse(self._make_token(side), self._born) for side in Side)
                self._pulses = client, upstream
            for side in Side:
                pulse = self._pulses[side]
                silent = pulse.is_silent(self._tallies[side][Direction.RECEIVED].wire_bytes, judged[side])
                beat = pulse.beat(silent, spans, now)
                if isinstance(beat, Lapse):
                    return beat, side
                if beat is not None and legs[side].open:
                    legs[side].send_ping(beat)
                    self._tallies[side][Direction.SENT].ping += 1
        return None

    def takes_pong(self, side: Side, payload: bytes, now: float) -> bool:
        """Whether a pong of ``side`` answers one of our pings, so that it is not for the other side."""
        if self._pulses is None or not (pulse := self._pulses[side]).owns(payload):
            return False
        seconds = pulse.round_trip(payload, now)
        if seconds is not None:
            self._on_round_trip(side, seconds)
        return True

    def _is_idle(self, now: float) -> bool:
        carried = sum(received.text + received.binary + received.payload_bytes for received, _ in self._tallies)
        if carried != self._carried:
            self._carried = carried
            self._active_since = now
        return now >= self._active_since + self._spans.idle
