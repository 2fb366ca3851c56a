"""A round of turns: what is relayed together has left at its end, whatever becomes of single ends."""

import contextlib
import os
import random
import socket
import struct

import pytest
import trio
import trio.testing

from tests.network.rig import (
    FaultySending,
    Rig,
    text_from_client,
    text_from_upstream,
    with_board,
)
from tests.protocol.joined import KEPT, make_relay
from wsproxy.errors import Side
from wsproxy.network import poller as poller_module
from wsproxy.network import switchboard as board_module
from wsproxy.network.switchboard import Switchboard


def test_what_one_round_of_turns_says_has_left_at_its_end() -> None:
    """More of them than are sent together."""

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rigs = [Rig(board, make_relay(None, None)[0]) for _ in range(2 * board_module.SENT_TOGETHER + 1)]
        for rig in rigs:
            nursery.start_soon(rig.carry)
        await trio.testing.wait_all_tasks_blocked()
        # Without a checkpoint from here on, so that the board takes only the turn that is called for.
        for number, rig in enumerate(rigs):
            os.write(rig.ends[number % 2].fileno(), (text_from_upstream if number % 2 else text_from_client)(b"each"))
        board._serve_ready(0)
        arrived = [os.read(rig.ends[1 - number % 2].fileno(), 100) for number, rig in enumerate(rigs)]
        assert all(len(frame) == 6 + 4 * (1 - number % 2) for number, frame in enumerate(arrived))
        for rig in rigs:
            for end in rig.ends:
                end.close()

    with_board(test)


def test_both_ends_that_go_at_once_do_not_put_the_board_to_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's event comes after its hanging up, and is nobody else's: there is no sweep to wake the board."""
    monkeypatch.setattr(board_module, "SWEEP_SECONDS", 60.0)

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        nursery.start_soon(rig.carry)
        await trio.testing.wait_all_tasks_blocked()
        for end in rig.ends:
            end.close()
        await rig.over.wait()

    with_board(test)


@pytest.mark.parametrize("seed", range(8))
def test_ends_that_fail_before_they_are_sent_to_keep_nothing_from_the_others(seed: int) -> None:
    """Some are gone, some full, some meet a bug, between the read of one side and the sending to the other."""
    source = random.Random(seed)
    fates = source.choices(["sound", "both", "gone", "left", "full", "bug"], k=3 * board_module.SENT_TOGETHER)
    large = struct.pack("!BBH", 0x81, 126, 60_000) + b"z" * 60_000

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rigs = [Rig(board, make_relay(None, None)[0]) for _ in fates]

        async def expect_failure(rig: Rig) -> None:
            with pytest.raises(RuntimeError, match="a bug"):
                await rig.carry()

        for rig, fate in zip(rigs, fates, strict=True):
            nursery.start_soon(expect_failure if fate == "bug" else Rig.carry, rig)
        await trio.testing.wait_all_tasks_blocked()
        # Without a checkpoint from here on, so that the board takes only the turn that is called for.
        for rig, fate in zip(rigs, fates, strict=True):
            client, upstream = rig.ends
            if fate == "bug":
                rig.relay.__class__ = FaultySending
            os.write(upstream.fileno(), large if fate == "full" else text_from_upstream(b"down"))
            if fate == "both":
                os.write(client.fileno(), text_from_client(b"up"))
            elif fate == "gone":
                client.close()
            elif fate == "left":
                client.shutdown(socket.SHUT_WR)
        board._serve_ready(0)
        assert not board._unsent
        for rig, fate in zip(rigs, fates, strict=True):
            client, upstream = rig.ends
            if fate in ("sound", "both", "left"):
                assert os.read(client.fileno(), 6) == text_from_upstream(b"down")
            if fate == "both":
                assert len(os.read(upstream.fileno(), 100)) == 2 + 4 + 2
            if fate in ("gone", "left"):
                assert struct.pack("!H", 1001) == (await rig.read_frame(Side.UPSTREAM))[:2]
            if fate == "full":
                assert rig.tunnel.ends[Side.CLIENT].transport.pending
                assert await rig.read_exactly(Side.CLIENT, len(large)) == large
        for rig in rigs:
            for end in rig.ends:
                end.close()

    with_board(test)


def test_a_flooding_tunnel_gets_one_read_while_every_quiet_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many tunnels as one poll tells of: within three turns each has had its own."""
    monkeypatch.setattr(poller_module, "MAX_EVENTS", 32)
    quiet, payload = 64, b"x" * 100
    read = bytearray()

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        relay, _plans, tallies = make_relay(KEPT, None)
        flood = Rig(board, relay)
        rigs = [Rig(board, make_relay(None, None)[0]) for _ in range(quiet)]
        for rig in (flood, *rigs):
            nursery.start_soon(rig.carry)
        await trio.testing.wait_all_tasks_blocked()
        # Without a checkpoint from here on, so that the board takes only the turns that are called for.
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(flood.ends[Side.UPSTREAM].fileno(), text_from_upstream(payload) * 500)
        for rig in rigs:
            os.write(rig.ends[Side.UPSTREAM].fileno(), text_from_upstream(payload))
        for _ in range(3):
            board._serve_ready(0)
            with contextlib.suppress(BlockingIOError):
                read.extend(os.read(flood.ends[Side.CLIENT].fileno(), 1 << 20))
        arrived = [rig.relay._tallies[Side.UPSTREAM][0].text for rig in rigs]
        assert arrived == [1] * quiet
        assert 0 < tallies[Side.UPSTREAM][0].wire_bytes <= 3 * board_module.READ_BYTES
        for rig in (flood, *rigs):
            for end in rig.ends:
                end.close()
        for rig in (flood, *rigs):
            await rig.over.wait()

    with_board(test)
    assert read
