"""What was compressed a moment ago, for a message that goes to many: compressed once, sent to all of them.

Owns: payloads and what became of them without context takeover, for one route of one worker. Sans-I/O: the time is a
parameter. Knows no engine and must never import one.

Entries live in two generations. A new entry goes into the young one; when that holds half of the bound, or is a second
old, it becomes the old one, and the old one is forgotten. So an entry lives two seconds at most, and forgetting costs
nothing for each entry.

Invariants: what is found was made of exactly these bytes by exactly this recipe; a cache is never shared by two routes;
it holds no more than it was allowed; where it finds too little it rests, and then costs an attribute look-up.
"""

from dataclasses import dataclass

SMALLEST = 256
"""Bytes; a smaller message costs less to compress than to look up and keep."""

_LIFE_SECONDS = 1.0
# One entry may take this part of a generation, so that one message cannot push out all others.
_LARGEST_PART = 4
# A key, a tuple and a place in a dictionary.
_ENTRY_BYTES = 400
# A look-up costs a microsecond and a kept payload some of the processor's cache, a hit saves 5 to 30.
_TRIAL = 512
_ENOUGH_HITS = _TRIAL // 8
_REST_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that compressed bytes depend on beside the payload."""

    engine: str
    level: int
    bits: int
    mem_level: int
    strategy: str


class Cache:
    """The messages of one route.

    :ivar held: bytes in memory, at most ``max_bytes``.
    """

    __slots__ = (
        "_found",
        "_half",
        "_looked",
        "_now",
        "_old",
        "_old_bytes",
        "_rests_until",
        "_turned",
        "_young",
        "_young_bytes",
        "max_bytes",
        "resting",
    )

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._half = max_bytes // 2
        self._young: dict[bytes, tuple[bytes, bytes]] = {}
        self._old: dict[bytes, tuple[bytes, bytes]] = {}
        self._young_bytes = self._old_bytes = 0
        self._now = self._turned = self._rests_until = 0.0
        self._looked = self._found = 0
        self.resting = False

    @property
    def held(self) -> int:
        return self._young_bytes + self._old_bytes

    def shelf(self, recipe: Recipe) -> "Shelf":
        """The part of the cache for one recipe."""
        return Shelf(self, recipe)

    def age(self, now: float) -> None:
        """Forget what is too old; call it about once a second.

        :param now: seconds.
        """
        self._now = now
        if self._turned + _LIFE_SECONDS <= now:
            self._turn()
        if self.resting and self._rests_until <= now:
            self.resting = False
            self._looked = self._found = 0

    def find(self, key: bytes, payload: bytes) -> bytes | None:
        entry = self._young.get(key) or self._old.get(key)
        self._looked += 1
        if entry is not None and entry[0] == payload:
            self._found += 1
            return entry[1]
        if self._looked >= _TRIAL:
            if self._found < _ENOUGH_HITS:
                self._rest()
            self._looked = self._found = 0
        return None

    def keep(self, key: bytes, payload: bytes, compressed: bytes) -> None:
        size = len(payload) + len(compressed) + _ENTRY_BYTES
        if self.resting or size > self._half // _LARGEST_PART:
            return
        if self._young_bytes + size > self._half:
            self._turn()
        before = self._young.get(key)
        if before is not None:
            self._young_bytes -= len(before[0]) + len(before[1]) + _ENTRY_BYTES
        self._young[key] = (payload, compressed)
        self._young_bytes += size

    def _turn(self) -> None:
        self._turned = self._now
        self._old, self._old_bytes = self._young, self._young_bytes
        self._young, self._young_bytes = {}, 0

    def _rest(self) -> None:
        self.resting = True
        self._rests_until = self._now + _REST_SECONDS
        self._turn()
        self._turn()


class Shelf:
    """What one recipe made."""

    __slots__ = ("_prefix", "cache")

    def __init__(self, cache: Cache, recipe: Recipe) -> None:
        self.cache = cache
        # Ends where no recipe goes on, so that no other recipe's keys begin with it.
        self._prefix = f"{recipe.engine} {recipe.level} {recipe.bits} {recipe.mem_level} {recipe.strategy}\0".encode(
            "ascii"
        )

    def key(self, payload: bytes) -> bytes:
        """Where a payload may stand: some of its bytes. Two payloads with the same key push each other out, no more."""
        return self._prefix + payload[:32] + payload[-32:] + payload[:: len(payload) // 64 + 1]
