"""Both transports over real sockets: backpressure, endings, and what cancellation leaves."""

import socket

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.network.pairs import PAIRS, MakePair, plain_pair, read_exactly, read_to_end, run, tcp_pair
from wsproxy.errors import ConnectionLost
from wsproxy.network.transport import PlainTransport, address_text


@PAIRS
def test_reads_what_there_is_and_says_when_there_is_nothing(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        assert far.read_now() is None
        assert near.write_now(b"one")
        assert await far.receive_some() == b"one"
        assert far.read_now() is None
        near.shutdown_write()
        assert await far.receive_some() == b""
        assert far.read_now() == b""
        await far.send_all(b"the other way is still open")
        assert await near.receive_some() == b"the other way is still open"
        near.close()
        far.close()

    run(main)


@PAIRS
def test_what_the_kernel_does_not_take_stays_pending_and_goes_out_in_order(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        large = bytes(range(256)) * 65536
        assert not near.write_now(large)
        assert near.pending > 0
        assert not near.flush_now()
        assert not near.write_now(b"after it")
        near.shutdown_write()
        received = bytearray()
        while (data := far.read_now()) != b"":
            received += data or b""
            near.flush_now()
            await trio.lowlevel.checkpoint()
        assert bytes(received) == large + b"after it"
        assert near.pending == 0
        near.close()
        far.close()

    run(main)


@PAIRS
def test_send_all_waits_for_the_far_end(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        large = b"x" * 8_000_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, large)
            assert await read_exactly(far, len(large)) == large
        near.close()
        far.close()

    run(main)


@PAIRS
def test_a_far_end_that_takes_nothing_is_lost_and_a_slow_one_is_not(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        near.write_stall_seconds = 60
        assert near.takes_some(0.0)
        assert not near.write_now(bytes(8_000_000))
        assert near.takes_some(1000.0), "what waited before does not count"
        assert near.takes_some(1059.0)
        pending = near.pending
        while near.pending == pending:
            far.read_now()
            assert near.takes_some(1059.5)
            await trio.lowlevel.checkpoint()
        assert near.takes_some(1119.0)
        assert not near.takes_some(1120.0)
        while not near.flush_now():
            far.read_now()
            await trio.lowlevel.checkpoint()
        assert near.takes_some(2000.0), "nothing waits any more"
        near.close()
        far.close()

    run(main)


@PAIRS
def test_send_all_does_not_wait_for_ever(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        near.write_stall_seconds = 0.1
        with pytest.raises(ConnectionLost, match="takes nothing"):
            await near.send_all(bytes(8_000_000))
        near.close()
        with pytest.raises(ConnectionLost):
            await read_to_end(far)
        far.close()

    run(main)


@PAIRS
@settings(max_examples=20, deadline=None)
@given(
    writes=st.lists(st.integers(0, 200_000), max_size=8),
    limits=st.lists(st.integers(1, 100_000), min_size=1, max_size=4),
)
def test_any_writes_and_any_read_limits_give_the_same_bytes(
    make_pair: MakePair, writes: list[int], limits: list[int]
) -> None:
    async def main() -> None:
        near, far = await make_pair()
        # So many reads at most that they are done in time on a busy machine, too.
        most = 1000 * min(limits)
        sizes = [min(size, most) for size in writes]
        sent = b"".join(bytes([index]) * size for index, size in enumerate(sizes))

        async def send() -> None:
            for index, size in enumerate(sizes):
                await near.send_all(bytes([index]) * size)
            near.shutdown_write()

        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            turn = 0
            while data := await far.receive_some(limits[turn % len(limits)]):
                assert len(data) <= limits[turn % len(limits)]
                received += data
                turn += 1
        assert bytes(received) == sent
        near.close()
        far.close()

    run(main)


@PAIRS
def test_a_cancelled_receive_loses_nothing(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        with trio.move_on_after(0.01) as scope:
            await far.receive_some()
        assert scope.cancelled_caught
        await near.send_all(b"late")
        assert await far.receive_some() == b"late"
        near.close()
        far.close()

    run(main)


@PAIRS
def test_what_a_cancelled_send_left_goes_first(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send_all, b"x" * 16_000_000)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert near.pending
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, b"y")
            assert await read_exactly(far, 16_000_001) == b"x" * 16_000_000 + b"y"
        near.close()
        far.close()

    run(main)


@PAIRS
def test_a_reset_is_a_loss_for_reading_and_writing(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        near.abort()
        with pytest.raises(ConnectionLost, match="reset"):
            await far.receive_some()
        with pytest.raises(ConnectionLost):
            far.write_now(b"anyone?")
        far.close()

    run(main)


@PAIRS
def test_close_wakes_who_waits_and_can_be_repeated(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ConnectionLost, match="closed"):
                    await far.receive_some()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            far.close()
        far.close()
        far.abort()
        assert far.fileno() == -1
        with pytest.raises(ConnectionLost):
            far.read_now()
        with pytest.raises(ConnectionLost):
            far.write_now(b"x")
        near.close()

    run(main)


@PAIRS
def test_drain_and_close_lets_the_far_end_read_everything(make_pair: MakePair) -> None:
    async def main() -> None:
        near, far = await make_pair()
        upload = b"u" * 3_000_000
        async with trio.open_nursery() as nursery:

            async def client() -> None:
                # It reads nothing before it has sent everything: a reset would destroy the answer.
                await near.send_all(upload)
                near.shutdown_write()
                assert await read_to_end(near) == b"refused"
                near.close()

            nursery.start_soon(client)
            await read_exactly(far, 10)
            await far.send_all(b"refused")
            await far.drain_and_close(5)
        assert far.fileno() == -1

    run(main)


def test_drain_and_close_gives_up_in_time() -> None:
    async def main() -> None:
        near, far = await plain_pair()
        await far.drain_and_close(0.01)
        assert far.fileno() == -1
        assert await near.receive_some() == b""
        near.close()

    run(main)


def test_works_outside_of_trio() -> None:
    near, far = socket.socketpair()
    transport = PlainTransport(near)
    assert transport.write_now(b"x")
    assert far.recv(10) == b"x"
    transport.close()
    far.close()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/a.sock", "unix:/run/a.sock"),
        ("", "unix:"),
        (b"\0abstract", "unix:@abstract"),
    ],
)
def test_addresses_as_text(address: object, text: str) -> None:
    assert address_text(address) == text


def test_the_peer_is_named() -> None:
    near, far = tcp_pair()
    transport = PlainTransport(near)
    assert transport.peer == address_text(far.getsockname())
    transport.close()
    far.close()
