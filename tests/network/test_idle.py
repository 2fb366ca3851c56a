"""The board's turns where trio would wait: trio's own I/O, deadlines and tasks come to no harm, nor does a fault."""

import socket
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from wsproxy.network.idle import take_turns, trios_descriptor
from wsproxy.network.poller import READ, Poller, make_poller

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the switchboard is an ordinary task")


class Board:
    """Turns over one socket: counts the turns, and reads what is there."""

    def __init__(self, descriptor: int) -> None:
        self.poller: Poller = make_poller()
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.turns = 0
        self.got = b""
        self.on_data: Callable[[], None] = lambda: None
        self._descriptor = descriptor

    def feed_itself(self) -> None:
        """Each turn makes the next one ready."""
        self.far.send(b"x")

    def turn(self, seconds: float) -> bool:
        self.turns += 1
        ready = [fd for fd, _ in self.poller.poll(seconds)]
        if self.near.fileno() in ready:
            self.got += self.near.recv(100)
            self.on_data()
        return self._descriptor in ready


def with_turns(test: Callable[[Board], Awaitable[None]]) -> Board:
    found: list[Board] = []

    async def main() -> None:
        descriptor = trios_descriptor()
        assert descriptor is not None, "this trio hides its descriptor: the switchboard falls back to a slower task"
        board = Board(descriptor)
        found.append(board)
        board.poller.register(board.near.fileno(), READ)
        try:
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take_turns, board.poller, descriptor, board.turn)
                    await test(board)
                    nursery.cancel_scope.cancel()
            assert trios_descriptor() == descriptor, "given back"
        finally:
            board.poller.close()
            board.far.close()
            board.near.close()

    trio.run(main)
    return found[0]


def test_data_is_served_while_every_task_waits_and_wakes_tasks_that_it_concerns() -> None:
    async def test(board: Board) -> None:
        for number in range(20):
            served = trio.Event()
            board.on_data = served.set
            await trio.to_thread.run_sync(board.far.send, bytes([number]))
            await served.wait()

    assert with_turns(test).got == bytes(range(20))


def test_deadlines_are_kept_without_any_io() -> None:
    async def test(board: Board) -> None:
        for _ in range(5):
            start = trio.current_time()
            await trio.sleep(0.03)
            # Twice the sleep would be trio waiting once more after the board had.
            assert 0.03 <= trio.current_time() - start < 1
        with trio.move_on_after(0.05) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught

    assert with_turns(test).turns < 200, "it waits, and does not spin"


def test_deadlines_are_kept_under_steady_data() -> None:
    async def test(board: Board) -> None:
        board.on_data = board.feed_itself
        board.far.send(b"x")
        start = trio.current_time()
        await trio.sleep(0.1)
        assert trio.current_time() - start < 5
        board.on_data = lambda: None

    assert len(with_turns(test).got) > 100


def test_trios_own_io_is_served_under_steady_data() -> None:
    async def test(board: Board) -> None:
        board.on_data = board.feed_itself
        board.far.send(b"x")
        one, two = trio.socket.socketpair()
        for _ in range(10):
            await one.send(b"ping")
            assert await two.recv(10) == b"ping"
        board.on_data = lambda: None
        one.close()
        two.close()

    with_turns(test)


def test_data_is_served_while_trio_is_busy() -> None:
    async def test(board: Board) -> None:
        board.far.send(b"now")
        while board.got != b"now":
            await trio.lowlevel.checkpoint()

    with_turns(test)


def test_tasks_that_are_idle_are_seen_to_be() -> None:
    async def test(board: Board) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked(0.02)

    with_turns(test)


def test_a_fault_of_a_turn_is_raised_and_not_logged_away() -> None:
    def broken() -> None:
        raise OSError("a bug")

    async def test(board: Board) -> None:
        board.on_data = broken
        board.far.send(b"x")
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        with_turns(test)
    assert caught.group_contains(OSError, match="a bug")


def test_a_second_loop_of_the_same_run_is_told_to_be_a_task() -> None:
    async def test(board: Board) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert trios_descriptor() is None

    with_turns(test)
