"""What the legacy backend and the echo clients send: JSON as real services send it, without end.

Owns: the feeds' content and pace. Pure: no clock, no I/O. Must never import trio.
Invariants
* The same random source gives the same messages: times in them are simulated, so that runs compare.
* Every message of a feed has ``seq``, which counts from 1 without a gap.
* Nothing is there to compress well: prices walk, ids are random, sizes and kinds vary.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from wsproxy.demo.phrases import say

_OPENING_BELL = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)

_PRODUCTS = {
    "BTC-USD": 64_211.07, "ETH-USD": 3_121.44, "SOL-USD": 148.62, "XRP-USD": 0.5213, "ADA-EUR": 0.4127,
    "LTC-USD": 82.91, "LINK-EUR": 13.774, "AVAX-USD": 35.18, "DOT-USD": 6.9034, "UNI-USD": 7.4415,
    "ATOM-EUR": 8.1172, "NEAR-USD": 5.6629, "FIL-USD": 5.8871, "ARB-USD": 1.0148, "OP-USD": 2.5263,
    "AAVE-EUR": 91.37, "ALGO-USD": 0.1794, "XLM-EUR": 0.1033, "ETC-USD": 27.45, "BCH-USD": 451.26,
}  # fmt: skip
_PEOPLE = (
    "Marta Lindqvist", "Tomás Oliveira", "Yuki Tanaka", "Zoë van Dijk", "Ahmed Rashidi", "Priya Raman", "Jonas Köhler",
    "Chiara Bellini", "Oluwaseun Adeyemi", "Anna Kowalczyk", "Liam O'Connor", "Nguyễn Thị Lan", "Sofía Herrera",
    "Mehmet Yıldız", "Grace Kim", "Pavel Novák", "Isabelle Roy", "Daniel Osei",
)  # fmt: skip
_ROOMS = ("general", "on-call", "release-planning", "lunch", "customer-care", "design-review")
_REACTIONS = ("👍", "🎉", "😂", "❤️", "👀", "🙏", "🚀")


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of traffic.

    :ivar messages: the JSON texts that a random source leads to.
    :ivar pause_seconds: the mean time from one message to the next on one connection.
    """

    messages: Callable[[Random], Iterator[str]]
    pause_seconds: float

    def pause(self, rng: Random) -> float:
        """Seconds until the next message: traffic comes in bursts, not by a metronome."""
        return rng.expovariate(1 / self.pause_seconds)


class _Book:
    """The order book of one product: its price walks, and the levels around it change."""

    def __init__(self, product: str, price: float, rng: Random) -> None:
        self.product = product
        self.trade_id = rng.randrange(10_000_000, 900_000_000)
        self._rng = rng
        self._price = self._open = self._high = self._low = price * rng.uniform(0.97, 1.03)
        self._volume = rng.uniform(1e3, 1e6)
        self._digits = 2 if price > 20 else 4
        self._lot = max(0.001, 400 / price)

    def walk(self) -> None:
        self._price *= 1 + self._rng.gauss(0, 0.0004)
        self._high = max(self._high, self._price)
        self._low = min(self._low, self._price)

    def depth(self) -> dict[str, object]:
        return {"bids": self._levels(-1), "asks": self._levels(1)}

    def matches(self, at: Callable[[], str]) -> dict[str, object]:
        return {"matches": [self._match(at()) for _ in range(self._rng.choice((1, 1, 2, 2, 3, 4)))]}

    def ticker(self) -> dict[str, object]:
        spread = self._price * self._rng.uniform(0.00002, 0.0003)
        return {
            "price": self._text(self._price),
            "open_24h": self._text(self._open),
            "high_24h": self._text(self._high),
            "low_24h": self._text(self._low),
            "volume_24h": f"{self._volume:.8f}",
            "best_bid": self._text(self._price - spread),
            "best_bid_size": self._size(),
            "best_ask": self._text(self._price + spread),
            "best_ask_size": self._size(),
            "trade_id": self.trade_id,
        }

    def _levels(self, sign: int) -> list[list[str]]:
        price = self._price
        levels = []
        for _ in range(self._rng.randint(3, 18)):
            price += sign * self._price * self._rng.expovariate(8000)
            levels.append([self._text(price), self._size()])
        return levels

    def _match(self, at: str) -> dict[str, object]:
        self.walk()
        self.trade_id += self._rng.randint(1, 3)
        size = self._rng.expovariate(1 / self._lot)
        self._volume += size
        return {
            "trade_id": self.trade_id,
            "maker_order_id": _uuid(self._rng),
            "taker_order_id": _uuid(self._rng),
            "time": at,
            "size": f"{size:.8f}",
            "price": self._text(self._price),
            "side": self._rng.choice(("buy", "sell")),
        }

    def _text(self, price: float) -> str:
        return f"{price:.{self._digits}f}"

    def _size(self) -> str:
        return f"{self._rng.expovariate(1 / self._lot):.{self._rng.choice((2, 4, 8))}f}"


def market(rng: Random) -> Iterator[str]:
    """Order books, trades and tickers of a few products, some 300 to 1,500 bytes each."""
    watched = rng.sample(sorted(_PRODUCTS), 6)
    books = [_Book(product, _PRODUCTS[product], rng) for product in watched]
    clock = _Clock(rng, mean_seconds=0.01)
    seq = 0
    while True:
        seq += 1
        book = rng.choice(books)
        book.walk()
        kind = rng.choices(("l2update", "match", "ticker"), (60, 25, 15))[0]
        head = {"type": kind, "seq": seq, "product_id": book.product, "time": clock.read()}
        if kind == "l2update":
            body = book.depth()
        elif kind == "match":
            body = book.matches(clock.read)
        else:
            body = book.ticker()
        yield _json({**head, **body})


def chat(rng: Random) -> Iterator[str]:
    """Messages, reactions and presence of a few people in a few rooms."""
    people = {f"u_{rng.getrandbits(40):010x}": name for name in rng.sample(_PEOPLE, 9)}
    rooms = {f"r_{rng.getrandbits(32):08x}": name for name in rng.sample(_ROOMS, 3)}
    clock = _Clock(rng, mean_seconds=4.0)
    said = [_uuid(rng)]
    seq = 0
    while True:
        seq += 1
        author, room = rng.choice(list(people)), rng.choice(list(rooms))
        kind = rng.choices(("message", "reaction", "presence"), (75, 17, 8))[0]
        event: dict[str, object] = {"type": kind, "seq": seq, "sent_at": clock.read()}
        if kind == "message":
            said = [*said[-30:], _uuid(rng)]
            event |= {
                "id": said[-1],
                "room": {"id": room, "name": rooms[room]},
                "author": {
                    "id": author,
                    "name": people[author],
                    "avatar": f"https://chat.example.com/avatars/{author}/64.webp",
                },
                "reply_to": rng.choice(said) if rng.random() < 0.2 else None,
                "edited": rng.random() < 0.05,
                "text": say(rng),
            }
        elif kind == "reaction":
            event |= {"message_id": rng.choice(said), "user_id": author, "emoji": rng.choice(_REACTIONS)}
        else:
            event |= {"user_id": author, "status": rng.choice(("active", "away", "typing", "offline")), "room_id": room}
        yield _json(event)


def orders(rng: Random) -> Iterator[str]:
    """What a trading client would send, a few large batches among small orders; the echo clients send these."""
    seq = 0
    while True:
        seq += 1
        batch = [_order(rng) for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 25)))]
        yield _json({"op": "place", "seq": seq, "request_id": _uuid(rng), "orders": batch})


def _order(rng: Random) -> dict[str, object]:
    product = rng.choice(list(_PRODUCTS))
    return {
        "client_order_id": _uuid(rng),
        "product_id": product,
        "side": rng.choice(("buy", "sell")),
        "type": rng.choice(("limit", "limit", "limit", "stop")),
        "price": f"{_PRODUCTS[product] * rng.uniform(0.9, 1.1):.4f}",
        "size": f"{rng.expovariate(0.5):.6f}",
        "time_in_force": rng.choice(("GTC", "GTC", "IOC", "FOK")),
        "post_only": rng.random() < 0.3,
    }


class _Clock:
    """Simulated time: it goes on by a random step at each reading."""

    def __init__(self, rng: Random, mean_seconds: float) -> None:
        self._rng = rng
        self._rate = 1 / mean_seconds
        self._now = _OPENING_BELL

    def read(self) -> str:
        self._now += timedelta(seconds=self._rng.expovariate(self._rate))
        return self._now.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


FEEDS = {"market": Feed(market, pause_seconds=0.01), "chat": Feed(chat, pause_seconds=0.05)}
"""What the backend pushes, by the last segment of the path."""
ORDERS = Feed(orders, pause_seconds=0.04)
"""What one echo client sends."""
