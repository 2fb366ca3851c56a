"""What the benchmarks send: the same for every proxy and every run.

Owns: the content of messages. Pure and seeded; imports nothing of the project.
Invariants: a kind, a size and a count always give the same messages; ``sized`` messages have exactly that many bytes,
so that payload bytes are messages times size; no message is there to compress well.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from types import MappingProxyType

_PRODUCTS = {
    "BTC-USD": 64211.07, "ETH-USD": 3121.44, "SOL-USD": 148.62, "LTC-USD": 82.91, "AVAX-USD": 35.18, "LINK-EUR": 13.77,
    "ATOM-EUR": 8.12, "UNI-USD": 7.44, "DOT-USD": 6.9, "NEAR-USD": 5.66, "AAVE-EUR": 91.37, "BCH-USD": 451.26,
}  # fmt: skip
_TEXT = """
the a to of and in is it you that was for on are with as his they be at one have this from or had by not but what
some we can out other were all there when up use your how said each she which do their time if will way about
many then them write would like so these her long make thing see him two has look more day could go come did
number sound no most people my over know water than call first who may down side been now find any new work part
deploy release rollback staging ticket customer invoice meeting tomorrow dashboard latency cache queue thanks
"""
_WORDS = _TEXT.split()
_FIELDS = ("id", "login", "createdAt", "updatedAt", "title", "body", "state", "totalCount", "cursor", "url", "isDraft")


def market(rng: Random, size: int) -> bytes:
    """A market data update in JSON of exactly ``size`` bytes: trades and levels of the order book."""
    product = rng.choice(list(_PRODUCTS))
    price = _PRODUCTS[product] * rng.uniform(0.98, 1.02)
    if size < 128:
        tick = f'{{"p":"{product}","x":"{price:.2f}","q":"{rng.uniform(0.001, 9):.5f}"}}'
        return tick.ljust(size).encode()
    text = f'{{"type":"l2update","product_id":"{product}","sequence":{rng.randrange(10**9, 10**10)},'
    text += f'"time":"{_time(rng)}","changes":['
    ending = "]}"
    parts: list[str] = []
    left = size - len(text) - len(ending)
    while left > 0:
        price *= 1 + rng.gauss(0, 0.0004)
        side = rng.choice(("buy", "sell"))
        if rng.random() < 0.15 and left > 200:
            part = (
                f'{{"trade_id":{rng.randrange(10**8, 10**9)},"side":"{side}","size":"{rng.uniform(0.001, 9):.6f}",'
                f'"price":"{price:.2f}","time":"{_time(rng)}"}},'
            )
        else:
            part = f'["{side}","{price:.2f}","{rng.uniform(0.001, 99):.5f}"],'
        if len(part) > left:
            break
        parts.append(part)
        left -= len(part)
    changes = "".join(parts).removesuffix(",")
    return (text + changes + ending).ljust(size).encode()


def chat(rng: Random, size: int) -> bytes:
    """A chat message in JSON of about ``size`` bytes."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size - 150:
        words.append(rng.choice(_WORDS))
    message = {
        "type": "message",
        "channel": f"C{rng.randrange(36**6):08X}",
        "user": f"U{rng.randrange(400):05d}",
        "ts": f"{1767600000 + rng.random() * 86400:.6f}",
        "text": " ".join(words),
        "reactions": [{"name": rng.choice(("thumbsup", "eyes", "tada")), "count": rng.randrange(1, 9)}],
    }
    return json.dumps(message, separators=(",", ":")).encode()


def graphql(rng: Random, size: int) -> bytes:
    """A GraphQL subscription's result in JSON of about ``size`` bytes."""
    nodes: list[dict[str, object]] = []
    while len(json.dumps(nodes)) < size - 90:
        nodes.append({name: _value(rng, name) for name in rng.sample(_FIELDS, 6)} | {"__typename": "Issue"})
    result = {"id": str(rng.randrange(99)), "type": "next", "payload": {"data": {"issues": {"nodes": nodes}}}}
    return json.dumps(result, separators=(",", ":")).encode()


def protobuf(rng: Random, size: int) -> bytes:
    """Records as protobuf writes them, of about ``size`` bytes: tags, varints, doubles and short strings."""
    made = bytearray()
    while len(made) < size:
        record = bytearray()
        record += b"\x08" + _varint(rng.randrange(1 << 40))
        record += b"\x10" + _varint(1767600000000 + rng.randrange(1 << 27))
        name = rng.choice(_WORDS).encode()
        record += b"\x1a" + bytes([len(name)]) + name
        record += b"\x25" + rng.randbytes(4)
        record += b"\x28" + _varint(rng.randrange(5)) + b"\x30" + _varint(rng.randrange(300))
        made += b"\x0a" + _varint(len(record)) + record
    return bytes(made)


def compressed(rng: Random, size: int) -> bytes:
    """What has been compressed already, cut to ``size`` bytes."""
    return zlib.compress(graphql(rng, size * 10))[:size].ljust(size, b"\x5a")


def noise(rng: Random, size: int) -> bytes:
    """Random bytes."""
    return rng.randbytes(size)


KINDS: Mapping[str, Callable[[Random, int], bytes]] = MappingProxyType(
    {
        "market": market,
        "chat": chat,
        "graphql": graphql,
        "protobuf": protobuf,
        "compressed": compressed,
        "noise": noise,
    }
)
BINARY = frozenset({"protobuf", "compressed", "noise"})


@cache
def messages(kind: str, size: int, count: int) -> tuple[bytes, ...]:
    """``count`` messages of a kind."""
    rng = Random(f"{kind} {size}")
    return tuple(KINDS[kind](rng, size) for _ in range(count))


def _time(rng: Random) -> str:
    return f"2026-01-05T14:{rng.randrange(60):02d}:{rng.randrange(60):02d}.{rng.randrange(10**6):06d}Z"


def _value(rng: Random, name: str) -> object:
    if name.endswith("At"):
        return _time(rng)
    if name == "body":
        return " ".join(rng.choices(_WORDS, k=12))
    if name == "totalCount":
        return rng.randrange(5000)
    if name == "isDraft":
        return rng.random() < 0.5
    if name == "url":
        return f"https://git.example.com/{rng.choice(_WORDS)}/{rng.choice(_WORDS)}/issues/{rng.randrange(9999)}"
    return rng.choice(_WORDS) + f"{rng.randrange(10**6)}"


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
