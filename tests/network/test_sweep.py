"""The sweep: quiet tunnels rest, and what it finds concerns one tunnel alone."""

import random
import time

import pytest
import trio
import trio.testing

from tests.network.rig import Rig, goes_on, text_from_upstream, with_board
from tests.protocol.joined import KEPT, make_relay
from wsproxy.errors import Side
from wsproxy.network import quiet
from wsproxy.network import switchboard as board_module
from wsproxy.network.switchboard import Switchboard
from wsproxy.protocol.relay import Relay


def test_quiet_tunnels_rest_and_their_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(quiet, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(quiet, "RESTS_WORTH_TRIMMING", 1)

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        relay, _, _ = make_relay(KEPT, None)
        rig = Rig(board, relay)
        nursery.start_soon(rig.carry)
        await rig.ends[Side.UPSTREAM].send(text_from_upstream(b"down"))
        await rig.read_frame(Side.CLIENT)
        encoder = relay._flows[Side.UPSTREAM].encoder
        assert encoder is not None
        await trimmed.wait()
        assert encoder.memory == 0
        for end in rig.ends:
            end.close()

    trimmed = trio.Event()
    with_board(test, trimmed.set)


def test_a_sweep_takes_its_time_and_no_more_on_a_busy_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty slices, of which several become due during each pass of the loop: they need no pass each."""
    monkeypatch.setattr(board_module, "SWEPT_A_TURN", 1)
    monkeypatch.setattr(board_module, "SWEEP_SECONDS", 0.1)
    tunnels = 60

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rigs = [Rig(board, make_relay(None, None)[0]) for _ in range(tunnels)]
        for rig in rigs:
            nursery.start_soon(rig.carry)
        while len(board._tunnels) < tunnels:
            await trio.lowlevel.checkpoint()
        for rig in rigs:
            rig.relay.deadline = trio.current_time()
        passes = 0
        while not all(rig.over.is_set() for rig in rigs):
            time.sleep(0.02)  # noqa: ASYNC251 — a busy worker
            await trio.lowlevel.checkpoint()
            passes += 1
        assert passes < tunnels / 2
        for rig in rigs:
            for end in rig.ends:
                end.close()

    with_board(test)


def test_a_sweep_sees_every_tunnel_while_others_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "SWEPT_A_TURN", 3)
    monkeypatch.setattr(board_module, "SWEEP_SECONDS", 0.05)
    source = random.Random(5)

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rigs: list[Rig] = []
        for _ in range(150):
            rig = Rig(board, make_relay(None, None)[0])
            rigs.append(rig)
            nursery.start_soon(rig.carry)
            for old in source.sample(rigs, min(len(rigs), 2)):
                # By its deadline, or by itself: both ends gone.
                if source.random() < 0.5:
                    old.relay.deadline = 0.0
                else:
                    for end in old.ends:
                        end.close()
            if source.random() < 0.3:
                await trio.sleep(0.005)
        for rig in rigs:
            rig.relay.deadline = 0.0
        for rig in rigs:
            await rig.over.wait()
            for end in rig.ends:
                end.close()
        assert not board._tunnels
        assert not board._ends
        assert not board._unsent

    with_board(test)


class FaultyResting(Relay):
    """A relay with a bug that only the sweep meets."""

    __slots__ = ()

    def rest(self) -> bool:
        raise RuntimeError("a bug")


def test_a_fault_in_a_sweep_ends_that_tunnel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "SWEEP_SECONDS", 0.01)

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        faulty, sound = (Rig(board, make_relay(None, None)[0]) for _ in range(2))
        faulty.relay.__class__ = FaultyResting
        nursery.start_soon(sound.carry)
        with pytest.raises(RuntimeError, match="a bug"):
            await faulty.carry()
        await goes_on(sound, faulty)

    with_board(test)
