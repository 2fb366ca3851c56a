"""How much one client may send a second: token buckets. Sans-I/O and clock-free: the time comes with each question.

Owns: the arithmetic of rates, and what the client of one tunnel pays.
Invariants: a bucket never holds more than its burst, so no pause saves up for a flood; a clock that stands still or
goes back gives nothing.
"""

from wsproxy.errors import Violation
from wsproxy.protocol.tally import Tally

BURST_SECONDS = 2.0
"""What a client may send at once, in seconds of its rate: what a stopped upstream held up comes together, and is no
flood."""


class Bucket:
    """Tokens that come back at ``rate`` a second, up to ``burst``; full at first."""

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._then = now

    def take(self, amount: float, now: float) -> bool:
        """Take ``amount`` tokens if there are as many; else take nothing and return False."""
        self._refill(now)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def full(self, now: float) -> bool:
        """Nothing is owed: a new bucket would be the same."""
        self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        if now > self._then:
            self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
            self._then = now


def make_bucket(rate: float, seconds: float, now: float) -> Bucket | None:
    """A bucket for a configured rate, holding what comes in ``seconds``, and one token at least; None for 0: no cap."""
    return Bucket(rate, max(1.0, rate * seconds), now) if rate > 0 else None


class Toll:
    """What the client of one tunnel may send a second: messages and bytes, each with its bucket.

    A burst of `BURST_SECONDS` is allowed. Messages are counted when they have been carried, so those of one turn may
    still pass.
    """

    __slots__ = ("_bytes", "_counted", "_messages", "_received")

    def __init__(self, messages_per_second: float, bytes_per_second: float, received: Tally, now: float) -> None:
        """:param received: what the client's leg counts."""
        self._messages = make_bucket(messages_per_second, BURST_SECONDS, now)
        self._bytes = make_bucket(bytes_per_second, BURST_SECONDS, now)
        self._received = received
        self._counted = 0

    def pay_bytes(self, amount: int, now: float) -> None:
        """Raises Violation 1008."""
        if self._bytes is not None and not self._bytes.take(amount, now):
            raise Violation(1008, "too many bytes a second")

    def pay_messages(self, now: float) -> None:
        """For all that came since the last call, control frames included. Raises Violation 1008."""
        if self._messages is not None:
            received = self._received
            counted = received.text + received.binary + received.ping + received.pong
            amount, self._counted = counted - self._counted, counted
            if amount and not self._messages.take(amount, now):
                raise Violation(1008, "too many messages a second")
