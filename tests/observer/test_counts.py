"""The observer itself: what it reads of streams that others made."""

import pytest

from tests.endtoend.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, deflate, frame_bytes
from tests.observer.counts import KINDS, count

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def of(*frames: Frame, masked: bool = False, cut: int = 0, takeover: bool = True) -> dict[str, int]:
    stream = b"".join(frame_bytes(frame, masked=masked) for frame in frames)
    stream = stream[: len(stream) - cut]
    counted = count(HEAD + stream, takeover)
    assert counted.pop("wire") == len(stream)
    return {name: number for name, number in counted.items() if number}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_message_of_every_length(masked: bool, size: int) -> None:
    expected = {"binary": 1, "payload": size} if size else {"binary": 1}
    assert of(Frame(BINARY, b"x" * size), masked=masked) == expected


def test_control_frames_between_fragments() -> None:
    fragments = (Frame(TEXT, b"one", fin=False), Frame(PING, b"?"), Frame(CONTINUATION, b"two"), Frame(CLOSE, b""))
    assert of(*fragments, masked=True) == {"text": 1, "ping": 1, "close": 1, "payload": 6}


def test_of_what_broke_off_the_whole_frames_count() -> None:
    assert of(Frame(BINARY, b"x" * 100), cut=40) == {}
    assert of(Frame(BINARY, b"one", fin=False), Frame(CONTINUATION, b"two"), cut=1) == {"payload": 3}


def test_windows_are_kept_or_not() -> None:
    message = Frame(BINARY, deflate(b"x" * 500), rsv1=True)
    assert of(message, message, takeover=False) == {"binary": 2, "payload": 1000}
    assert set(KINDS) >= {"binary"}
