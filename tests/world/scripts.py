"""The messages of a conversation as a file that every client can read: kind T or B, length in four bytes, payload.

Must never import wsproxy. Invariant: the SHA-256 of such a file is the digest of whoever saw exactly its messages.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_WINDOW = 32_768
"""Bytes: the largest window of DEFLATE."""
_SIZES = (0, 1, 125, 126, 65_535, 65_536, 200_000)
"""Sizes at which a frame's header changes, and more than what any buffer on the way holds."""


@dataclass(frozen=True, slots=True)
class Script:
    """One conversation's messages: ``str`` are text, ``bytes`` binary."""

    path: Path
    messages: tuple[str | bytes, ...]
    digest: str


def encoded(message: str | bytes) -> bytes:
    """One message as it stands in a script, and as digests see it."""
    kind, payload = (b"T", message.encode()) if isinstance(message, str) else (b"B", message)
    return kind + len(payload).to_bytes(4, "big") + payload


def write(path: Path, count: int, seed: int) -> Script:
    """A script of ``count`` messages, the same for the same ``seed``."""
    messages = tuple(_messages(count, random.Random(seed)))
    data = b"".join(encoded(message) for message in messages)
    path.write_bytes(data)
    return Script(path, messages, hashlib.sha256(data).hexdigest())


def _messages(count: int, chance: random.Random) -> Iterator[str | bytes]:
    """Records that repeat one another: literally, in part, and from farther back than a window reaches."""
    earlier: list[str] = []
    for number in range(count):
        if number % 97 == 50:
            yield chance.randbytes(_SIZES[number // 97 % len(_SIZES)])
        elif number % 97 == 80:
            yield (_record(number, chance) * 2_000)[: _SIZES[number // 97 % len(_SIZES)]]
        elif number % 11 == 7 and earlier:
            # Of the last window or two: what a receiver with too small or too young a window cannot resolve.
            again = chance.choice(earlier[-2 * _WINDOW // 200 :])
            yield again if number % 2 else again.encode()
        else:
            record = _record(number, chance)
            earlier.append(record)
            yield record if number % 3 else record.encode()


def _record(number: int, chance: random.Random) -> str:
    name = chance.choice(("é漢🙂", "sensor", "account", "price"))
    mark = chance.randbytes(chance.choice((4, 16, 120))).hex()
    return json.dumps({"id": number, "name": name, "mark": mark, "price": chance.random()}, ensure_ascii=False)
