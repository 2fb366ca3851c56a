"""The switchboard over real socket pairs: bytes, backpressure, ends of every kind, and nothing left behind."""

import os
import socket
import struct
from collections.abc import Callable

import pytest
import trio
import trio.testing

from tests.network.rig import (
    CLOSE_1000,
    CLOSE_1000_FROM_UPSTREAM,
    FaultySending,
    Rig,
    goes_on,
    text_from_client,
    text_from_upstream,
    with_board,
)
from tests.protocol.joined import KEPT, make_relay
from wsproxy.errors import Side
from wsproxy.network import switchboard as board_module
from wsproxy.network.poller import READ, WRITE, Poller, SelectorsPoller, make_poller
from wsproxy.network.switchboard import Switchboard
from wsproxy.protocol.ending import Ending
from wsproxy.protocol.relay import Relay


def test_messages_and_closes_cross() -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        client, upstream = rig.ends
        nursery.start_soon(rig.carry)
        await client.send(text_from_client(b"up"))
        assert await rig.read_frame(Side.UPSTREAM) == b"up"
        await upstream.send(text_from_upstream(b"down"))
        assert await rig.read_frame(Side.CLIENT) == b"down"
        await client.send(CLOSE_1000)
        assert await rig.read_frame(Side.UPSTREAM) == struct.pack("!H", 1000)
        await upstream.send(CLOSE_1000_FROM_UPSTREAM)
        assert await rig.read_frame(Side.CLIENT) == struct.pack("!H", 1000)
        assert await client.recv(1) == b"", "the proxy ends the client's connection first"
        client.close()
        upstream.close()
        await rig.over.wait()
        assert rig.relay.ending == Ending("client", 1000, "")

    with_board(test)


def test_what_came_with_the_handshakes_is_not_lost() -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        nursery.start_soon(rig.carry, text_from_client(b"early up"), text_from_upstream(b"early down"))
        assert await rig.read_frame(Side.UPSTREAM) == b"early up"
        assert await rig.read_frame(Side.CLIENT) == b"early down"
        for end in rig.ends:
            end.close()
        await rig.over.wait()

    with_board(test)


def test_a_side_that_does_not_read_holds_the_other_back_and_loses_nothing() -> None:
    message = os.urandom(1024 * 1024)

    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        relay, _plans, tallies = make_relay(KEPT, None)
        rig = Rig(board, relay)
        client, upstream = rig.ends
        nursery.start_soon(rig.carry)
        sent = 0

        async def push() -> None:
            nonlocal sent
            stream = trio.SocketStream(upstream)
            for _ in range(16):
                await stream.send_all(text_from_upstream(message).replace(b"\x81", b"\x82", 1))
                sent += 1

        async with trio.open_nursery() as pushing:
            pushing.start_soon(push)
            received = -1
            while received != tallies[Side.UPSTREAM][0].wire_bytes:
                received = tallies[Side.UPSTREAM][0].wire_bytes
                await trio.testing.wait_all_tasks_blocked(0.05)
            assert rig.tunnel.ends[Side.CLIENT].transport.pending
            assert received < 2 * len(message), "the upstream is not read while the client does not read"
            assert sent < 16
            while sent < 16 or tallies[Side.CLIENT][1].binary < 16:
                await client.recv(1 << 20)
        client.close()
        upstream.close()
        await rig.over.wait()

    with_board(test)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("reset", [True, False])
def test_a_lost_side_ends_the_tunnel_with_a_close_for_the_other(side: Side, reset: bool) -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        nursery.start_soon(rig.carry)
        await rig.ends[side.other].send(
            text_from_client(b"unread") if side is Side.UPSTREAM else text_from_upstream(b"unread")
        )
        if not reset:
            await rig.read_frame(side)
        else:
            await trio.testing.wait_all_tasks_blocked(0.01)
        rig.ends[side].close()  # with unread input that is a reset
        expected = 1001 if side is Side.CLIENT else 1011
        assert (await rig.read_frame(side.other))[:2] == struct.pack("!H", expected)
        rig.ends[side.other].close()
        await rig.over.wait()
        assert rig.relay.ending == Ending(side.label, 1006, "connection lost")

    with_board(test)


def test_a_side_that_never_answers_a_close_is_left_at_the_deadline() -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        relay = make_relay(None, None)[0]
        rig = Rig(board, relay)
        nursery.start_soon(rig.carry)
        await rig.ends[0].send(CLOSE_1000)
        await rig.read_frame(Side.UPSTREAM)
        relay.deadline = trio.current_time()
        await rig.over.wait()
        assert await rig.read_frame(Side.CLIENT) == struct.pack("!H", 1000), "its close is answered all the same"
        for end in rig.ends:
            end.close()

    with_board(test)


def test_drain_closes_both_sides() -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        nursery.start_soon(rig.carry)
        await trio.testing.wait_all_tasks_blocked()
        board.drain(rig.tunnel, 1001)
        assert (await rig.read_frame(Side.CLIENT))[:2] == struct.pack("!H", 1001)
        await rig.ends[0].send(CLOSE_1000)
        assert (await rig.read_frame(Side.UPSTREAM))[:2] == struct.pack("!H", 1001)
        for end in rig.ends:
            end.close()
        await rig.over.wait()

    with_board(test)


class FaultyReading(Relay):
    """A relay with a bug."""

    __slots__ = ()

    def receive(self, side: Side, data: bytes, now: float) -> None:
        raise RuntimeError("a bug")


@pytest.mark.parametrize("fault", [FaultyReading, FaultySending])
def test_a_fault_in_one_relay_ends_that_tunnel_alone(fault: type[Relay]) -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        faulty, sound = (Rig(board, make_relay(None, None)[0]) for _ in range(2))
        faulty.relay.__class__ = fault

        async def expect_failure() -> None:
            with pytest.raises(RuntimeError, match="a bug"):
                await faulty.carry()

        nursery.start_soon(expect_failure)
        nursery.start_soon(sound.carry)
        await faulty.ends[0].send(text_from_client(b"boom"))
        assert await faulty.ends[1].recv(1) == b""
        await goes_on(sound, faulty)

    with_board(test)


def test_cancelling_a_tunnel_closes_both_connections() -> None:
    async def test(board: Switchboard, nursery: trio.Nursery) -> None:
        rig = Rig(board, make_relay(None, None)[0])
        nursery.start_soon(rig.carry)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked(0.01)
            for end in rig.ends:
                assert await end.recv(1) == b""
                end.close()

    with_board(test)


@pytest.mark.parametrize("make", [make_poller, SelectorsPoller])
def test_pollers_tell_what_is_wanted(make: Callable[[], Poller]) -> None:
    poller = make()
    one, other = socket.socketpair()
    try:
        poller.register(one.fileno(), 0)
        other.send(b"x")
        assert poller.poll() == []
        poller.modify(one.fileno(), READ | WRITE)
        assert poller.poll() == [(one.fileno(), READ | WRITE)]
        poller.modify(one.fileno(), READ)
        assert poller.poll() == [(one.fileno(), READ)]
        assert poller.fileno() >= 0
        poller.unregister(one.fileno())
        assert poller.poll() == []
    finally:
        poller.close()
        one.close()
        other.close()


def test_the_board_works_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "make_poller", SelectorsPoller)
    test_messages_and_closes_cross()


def test_the_board_works_as_an_ordinary_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "trios_descriptor", lambda: None)
    test_messages_and_closes_cross()
    test_a_side_that_does_not_read_holds_the_other_back_and_loses_nothing()
    test_drain_closes_both_sides()
