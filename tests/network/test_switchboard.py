"""The switchboard over real socket pairs: bytes, backpressure, ends of every kind, and nothing left behind."""

import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.protocol.joined import KEPT, make_relay
from wsproxy.errors import Side
from wsproxy.network import poller as poller_module
from wsproxy.network import quiet
from wsproxy.network import switchboard as board_module
from wsproxy.network.ends import Tunnel
from wsproxy.network.poller import READ, WRITE, Poller, SelectorsPoller, make_poller
from wsproxy.network.switchboard import Switchboard
from wsproxy.network.transport import PlainTransport
from wsproxy.protocol.ending import Ending
from wsproxy.protocol.relay import Relay

CLOSE_1000 = bytes([0x88, 0x82, 0, 0, 0, 0]) + struct.pack("!H", 1000)
CLOSE_1000_FROM_UPSTREAM = bytes([0x88, 0x02]) + struct.pack("!H", 1000)


def text_from_client(payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def text_from_upstream(payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes([0x81, len(payload)]) + payload
    return b"\x81\x7f" + struct.pack("!Q", len(payload)) + payload


class Rig:
    """One tunnel on a running board; ``ends`` are the far ends of its two connections."""

    def __init__(self, board: Switchboard, relay: Relay) -> None:
        client, near_client = _pair()
        upstream, near_upstream = _pair()
        self.ends = (trio.socket.from_stdlib_socket(client), trio.socket.from_stdlib_socket(upstream))
        self.relay = relay
        self.tunnel = Tunnel(relay, PlainTransport(near_client), PlainTransport(near_upstream))
        self.board = board
        self.over = trio.Event()

    async def carry(self, client: bytes = b"", upstream: bytes = b"") -> None:
        await self.board.carry(self.tunnel, (client, upstream))
        self.over.set()

    async def read_frame(self, side: Side) -> bytes:
        """The payload of the next frame that arrives at ``side``; of at most 125 bytes."""
        head = await self.read_exactly(side, 2)
        key = await self.read_exactly(side, 4) if head[1] & 0x80 else bytes(4)
        payload = await self.read_exactly(side, head[1] & 0x7F)
        return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))

    async def read_exactly(self, side: Side, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await self.ends[side].recv(count - len(data))
            assert more, "the connection ended"
            data += more
        return data


def _pair() -> tuple[socket.socket, socket.socket]:
    far, near = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    return far, near


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def with_board(
    test: Callable[[Switchboard, trio.Nursery], Awaitable[None]], trim: Callable[[], None] = lambda: None
) -> None:
    """Run ``test`` beside a serving board; afterwards no descriptor is left."""

    async def main() -> None:
        board = Switchboard()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(board.serve)
                nursery.start_soon(board.sweep, trim)
                async with trio.open_nursery() as inner:
                    await test(board, inner)
                nursery.cancel_scope.cancel()
        board.close()

    before = descriptors()
    trio.run(main)
    assert descriptors() == before


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


class FaultySending(Relay):
    """A relay with another bug."""

    __slots__ = ()

    def take(self, side: Side) -> bytes:
        if self.has_output:
            raise RuntimeError("a bug")
        return b""


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
        await sound.ends[0].send(text_from_client(b"still here"))
        assert await sound.read_frame(Side.UPSTREAM) == b"still here"
        for end in (*faulty.ends, *sound.ends):
            end.close()
        await sound.over.wait()

    with_board(test)


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
        await sound.ends[0].send(text_from_client(b"still here"))
        assert await sound.read_frame(Side.UPSTREAM) == b"still here"
        for end in (*faulty.ends, *sound.ends):
            end.close()
        await sound.over.wait()

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
