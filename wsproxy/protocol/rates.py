"""How much one client may send a second: token buckets. Sans-I/O and clock-free: the time comes with each question.

Owns: the arithmetic of rates. Imports nothing.
Invariants: a bucket never holds more than its burst, so no pause saves up for a flood; a clock that stands still or
goes back gives nothing.
"""


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
