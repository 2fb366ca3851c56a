"""Each operation on a session's sockets goes wrong in turn, in every way, on either side: nothing is left behind.

A conversation is had again and again with the trouble at the first, the second, the third operation, until it comes to
its end before the trouble is due. Wherever it hits, the session ends within its deadlines, descriptors, counters and
the pool's places are as before, and there is one line in the log. What a socket may do at any time does not even
disturb the conversation.
"""

import gc
import logging
import signal
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType

import pytest
import trio

from tests.faults.ends import answer_requests, ask, echo_messages, talk
from tests.faults.rig import Conversation, Rig, TlsFiles, write_tls_files
from tests.faults.sockets import DIALLED, HARMLESS, Plan, Trouble
from wsproxy.errors import Side

CONVERSATIONS = {
    "tunnel": Conversation(talk, echo_messages, is_http=False),
    "http": Conversation(ask, answer_requests, is_http=True),
}
AT_ONCE = 8
"""Conversations that are had side by side: most of their time is spent waiting for deadlines."""

FROZEN_SECONDS = 240


@pytest.fixture
def tls_files(tmp_path: Path) -> TlsFiles:
    return write_tls_files(tmp_path)


@pytest.fixture(autouse=True)
def never_frozen() -> Iterator[None]:
    """A loop that never waits would keep trio's own deadlines from ending the test."""

    def freed(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("the worker does not come back to its loop")

    before = signal.signal(signal.SIGALRM, freed)
    signal.alarm(FROZEN_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def descriptors_come_back() -> Iterator[None]:
    gc.collect()  # what tests before this one left to the collector is not ours
    before = _descriptors()
    yield
    assert _descriptors() == before


def _descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()} if sys.platform == "linux" else set()


async def _have(rigs: list[Rig]) -> None:
    async with trio.open_nursery() as nursery:
        for rig in rigs:
            nursery.start_soon(rig.run)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("side", Side, ids=lambda side: side.label)
@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.name.lower())
def test_every_operation(
    conversation: str,
    tls: bool,
    side: Side,
    trouble: Trouble,
    tls_files: TlsFiles,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    if trouble is Trouble.STALL:
        request.getfixturevalue("short_deadlines")
    monkeypatch.setattr("wsproxy.network.dial.socket", DIALLED)
    caplog.set_level(logging.DEBUG, "wsproxy")
    make = partial(Rig, CONVERSATIONS[conversation], tls=tls_files if tls else None)
    for start in count(1, AT_ONCE):
        rigs = [make(Plan(trouble, side, at)) for at in range(start, start + AT_ONCE)]
        caplog.clear()
        trio.run(_have, rigs)
        for rig in rigs:
            rig.check(caplog.records)
            disturbed = rig.plan.fired.is_set() or trouble is Trouble.STALL
            assert rig.satisfied or (disturbed and trouble not in HARMLESS), (
                f"{rig.plan}: the client did not get what it asked for"
            )
        if not all(rig.plan.fired.is_set() for rig in rigs):
            return
