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
# In look-ups that found nothing. One costs a microsecond, and a kept payload some of the processor's cache; a hit saves
# 5 to 30 microseconds.
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


_Entry = tuple[bytes, bytes]
"""A payload and what it was compressed to."""
_NOTHING: _Entry = (b"", b"")


class Cache:
    """The messages of one route.

    :ivar held: bytes in memory, at most ``max_bytes``.
    :ivar resting: too little was found lately; nothing is looked up or kept for a while.
    """

    __slots__ = (
        "_found",
        "_half",
        "_looked",
        "_now",
        "_old",
        "_old_bytes",
        "_rests_until",
        "_shelves",
        "_turned",
        "_young",
        "_young_bytes",
        "max_bytes",
        "resting",
    )

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._half = max_bytes // 2
        self._shelves: dict[Recipe, Shelf] = {}
        self._young: dict[bytes, _Entry] = {}
        self._old: dict[bytes, _Entry] = {}
        self._young_bytes = self._old_bytes = 0
        self._now = self._turned = self._rests_until = 0.0
        self._looked = self._found = 0
        self.resting = False

    @property
    def held(self) -> int:
        return self._young_bytes + self._old_bytes

    def shelf(self, recipe: Recipe) -> "Shelf":
        """The part of the cache for one recipe."""
        shelf = self._shelves.get(recipe)
        if shelf is None:
            shelf = self._shelves[recipe] = Shelf(self, recipe)
        return shelf

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

    def find(self, key: bytes, payload: bytes) -> _Entry | None:
        """For the shelves, which know their keys."""
        entry = self._young.get(key) or self._old.get(key)
        if entry is not None and entry[0] == payload:
            self._found += 1
            return entry
        self._looked += 1
        if self._looked >= _TRIAL:
            repeats = 0
            for shelf in self._shelves.values():
                repeats += shelf.repeats
                shelf.repeats = 0
            if self._found + repeats < _ENOUGH_HITS:
                self._rest()
            self._looked = self._found = 0
        return None

    def keep(self, key: bytes, entry: _Entry) -> bool:
        """For the shelves; whether there was room."""
        size = len(entry[0]) + len(entry[1]) + _ENTRY_BYTES
        if self.resting or size > self._half // _LARGEST_PART:
            return False
        if self._young_bytes + size > self._half:
            self._turn()
        before = self._young.get(key)
        if before is not None:
            self._young_bytes -= len(before[0]) + len(before[1]) + _ENTRY_BYTES
        self._young[key] = entry
        self._young_bytes += size
        return True

    def _turn(self) -> None:
        self._turned = self._now
        self._old, self._old_bytes = self._young, self._young_bytes
        self._young, self._young_bytes = {}, 0
        for shelf in self._shelves.values():
            shelf.forget_last()

    def _rest(self) -> None:
        self.resting = True
        self._rests_until = self._now + _REST_SECONDS
        self._turn()
        self._turn()


class Shelf:
    """What one recipe made. Ask only while its cache is not resting.

    :ivar repeats: how often the last message that was found or kept was wanted again.
    """

    __slots__ = ("_last", "_prefix", "cache", "repeats")

    def __init__(self, cache: Cache, recipe: Recipe) -> None:
        self.cache = cache
        self.repeats = 0
        self._last = _NOTHING
        # Ends where no recipe goes on, so that no other recipe's keys begin with it.
        self._prefix = f"{recipe.engine} {recipe.level} {recipe.bits} {recipe.mem_level} {recipe.strategy}\0".encode()

    def find(self, payload: bytes) -> bytes | None:
        """What this payload was compressed to, if that is known."""
        last = self._last
        if payload == last[0]:
            # A message that goes to many comes again and again before another one does.
            self.repeats += 1
            return last[1]
        entry = self.cache.find(self._key(payload), payload)
        if entry is None:
            return None
        self._last = entry
        return entry[1]

    def keep(self, payload: bytes, compressed: bytes) -> None:
        """For whoever wants the same payload next."""
        entry = (payload, compressed)
        if self.cache.keep(self._key(payload), entry):
            self._last = entry

    def forget_last(self) -> None:
        """It may be too old now; if not, it is found as any other."""
        self._last = _NOTHING

    def _key(self, payload: bytes) -> bytes:
        """Where a payload may stand: some of its bytes. Two payloads with the same key push each other out, no more."""
        return self._prefix + payload[:32] + payload[-32:] + payload[:: len(payload) // 64 + 1]
