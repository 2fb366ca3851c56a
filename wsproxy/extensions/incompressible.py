"""Which messages of one direction are not worth compressing: told cheaply, and before the compressor is fed.

Owns: a look at a sample of a message, and what the direction's earlier messages say about the next one. Knows no engine
and no frame. Must never import anything.

A sample looks random if in each of its eight bit planes about half of the bits are set. Text fails that with its
highest bit, UTF-8, base64 and numbers of fixed width in others; what is compressed or encrypted passes. A sample says
nothing of repetitions, so now and then a suspect is compressed after all, and what came of it decides how far the next
ones are trusted to be what they look like.

Invariants: a verdict depends on messages and on what became of them, never on time; with the fast lane or without it
the same messages get the same verdicts.
"""

SMALLEST = 512
"""Bytes; smaller messages are not looked at."""

_SAMPLE = 256
_LOWEST_BITS = int.from_bytes(b"\x01" * _SAMPLE)
# Half of the sample, give or take three and a half standard deviations (8 bits each).
_LEAST, _MOST = _SAMPLE // 2 - 28, _SAMPLE // 2 + 28
# What does not save a sixteenth is not worth the receiver's inflating either.
_WORTH = 16
_FIRST_STRIDE, _LARGEST_STRIDE = 8, 256
_ENOUGH = 4


def looks_random(payload: bytes) -> bool:
    """Whether a sample from the middle looks like noise: 0.1 microseconds for ASCII, 1 for noise."""
    start = max(0, len(payload) - _SAMPLE) // 2
    sample = payload[start : start + _SAMPLE]
    if len(sample) < _SAMPLE or sample.isascii():
        return False
    bits = int.from_bytes(sample, "little")
    return all(_LEAST <= (bits >> plane & _LOWEST_BITS).bit_count() <= _MOST for plane in (7, 6, 5, 4, 3, 2, 1, 0))


class Verdicts:
    """What one direction learnt about its messages.

    A trial is a suspect that is compressed all the same. While trials fail, ever more suspects (8 to 256) are skipped
    between them; while they succeed, every suspect is compressed.

    :ivar on_trial: tell `compressed` what becomes of the message that was just found worth it.
    """

    __slots__ = ("_skipped_last", "_stored", "_stride", "_to_skip", "on_trial")

    def __init__(self) -> None:
        self._stride = self._to_skip = _FIRST_STRIDE
        self.on_trial = False
        self._skipped_last = False
        self._stored = 0

    def worth(self, payload: bytes, whole: bool) -> bool:
        """Whether to compress a message.

        :param payload: of the message, or its first bytes if it is not ``whole``. Too few of those say nothing, and
            what was done with the last message that was looked at is done again.
        """
        if len(payload) < SMALLEST:
            return whole or not self._skipped_last
        self._skipped_last = looks_random(payload) and not self._is_tried()
        return not self._skipped_last

    def _is_tried(self) -> bool:
        if self._to_skip:
            self._to_skip -= 1
            return False
        self.on_trial = True
        return True

    def compressed(self, taken: int, given: int) -> None:
        """A message that was found worth it had so many bytes, and has so many compressed."""
        if not self.on_trial:
            return
        self.on_trial = False
        if _saved(taken, given):
            self._stride, self._to_skip = _FIRST_STRIDE // 2, 0
        else:
            self._stride = min(2 * self._stride, _LARGEST_STRIDE)
            self._to_skip = self._stride

    def worth_again(self) -> bool:
        """Whether to compress the next message that comes compressed, before any of it is inflated.

        Its sender has tried, with its window: if the last few did not shrink there, the next one will not here.
        """
        return self._stored < _ENOUGH

    def inflated(self, head: bytes, wire: int, size: int) -> None:
        """A message came compressed: its first inflated bytes, its bytes on the wire and inflated.

        :param head: at least `SMALLEST` bytes, or all. A sender that stores text does not try, so the wire alone
            proves nothing.
        """
        if size >= SMALLEST:
            stored = not _saved(size, wire) and looks_random(head[:SMALLEST])
            self._stored = self._stored + 1 if stored else 0


def _saved(taken: int, given: int) -> bool:
    return given <= taken - taken // _WORTH
