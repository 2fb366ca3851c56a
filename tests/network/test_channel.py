"""Messages and descriptors between processes: whole, in order, without waiting, and none left open."""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from wsproxy.errors import ConnectionLost
from wsproxy.network.channel import Channel, channel_from, make_channel


def run(test: Callable[[Channel, Channel, trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            ours, descriptor = make_channel()
            theirs = channel_from(descriptor)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.write)
                await test(ours, theirs, nursery)
                nursery.cancel_scope.cancel()
            ours.close()
            theirs.close()

    before = open_descriptors()
    trio.run(main)
    assert open_descriptors() == before


def open_descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir() if each.exists()}


def test_values_of_all_sizes_in_order() -> None:
    async def test(ours: Channel, theirs: Channel, _: trio.Nursery) -> None:
        values: list[object] = [1, "text", {"a": (1, 2.5, None)}, b"x" * 5_000_000, []]
        for value in values:
            ours.post(value)
        assert [await theirs.receive() for _ in values] == [(value, []) for value in values]
        await ours.flush()
        assert ours.unsent == 0

    run(test)


@pytest.mark.parametrize("count", [1, 3, 450])
def test_descriptors_travel_with_their_message(count: int) -> None:
    """More than one sendmsg(2) takes: 253 on Linux."""

    async def test(ours: Channel, theirs: Channel, _: trio.Nursery) -> None:
        read, write = os.pipe()
        ours.post("before")
        ours.post("with", [write] * count)
        os.close(write)
        ours.post("after")
        assert await theirs.receive() == ("before", [])
        message, descriptors = await theirs.receive()
        assert (message, len(descriptors)) == ("with", count)
        assert await theirs.receive() == ("after", [])
        os.write(descriptors[-1], b"through")
        assert os.read(read, 100) == b"through"
        for each in (*descriptors, read):
            os.close(each)

    run(test)


def test_posting_to_one_that_does_not_read_never_waits() -> None:
    async def test(ours: Channel, theirs: Channel, _: trio.Nursery) -> None:
        read, write = os.pipe()
        for number in range(50):
            ours.post((number, b"x" * 100_000), [write])
        await trio.testing.wait_all_tasks_blocked()
        assert ours.unsent > 0
        os.close(write)
        os.close(read)
        # The copies of what was not sent are closed with the channel, which `run` checks.

    run(test)


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0\0\0\x05\0\0\0\0abc", b"\0\0\0\x05\0\0\0\x02"])
def test_an_end_within_a_message_is_a_loss(sent: bytes) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(sent)
        channel = Channel(theirs)
        with trio.fail_after(10), pytest.raises(ConnectionLost):
            await channel.receive()
        channel.close()

    trio.run(main)


def test_writing_to_one_that_is_gone_is_a_loss() -> None:
    async def main() -> None:
        ours, descriptor = make_channel()
        os.close(descriptor)
        ours.post("hello")
        with trio.fail_after(10), pytest.raises(ConnectionLost):
            await ours.write()
        ours.close()

    trio.run(main)
