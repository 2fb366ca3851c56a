"""Who leaves while nobody reads: over real sockets."""

import socket
import struct
import sys
from collections.abc import Callable

import pytest
import trio
import trio.testing

from wsproxy.network.departures import Departures
from wsproxy.network.transport import PlainTransport

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only epoll tells without reading")


def reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


def end_output(far: socket.socket) -> None:
    far.shutdown(socket.SHUT_WR)


def speak_and_close(far: socket.socket) -> None:
    far.sendall(b"early")
    far.close()


def pair() -> tuple[PlainTransport, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname(), 5)
        near, _ = server.accept()
    return PlainTransport(near), far


@pytest.mark.parametrize("leave", [socket.socket.close, reset, end_output, speak_and_close])
def test_whoever_leaves_is_told_once(leave: Callable[[socket.socket], None]) -> None:
    async def main() -> None:
        departures = Departures()
        near, far = pair()
        other, stays = pair()
        told: list[str] = []
        left = trio.Event()

        def tell() -> None:
            told.append("left")
            left.set()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(departures.serve)
                with departures.watch(near, tell) as watch, departures.watch(other, lambda: told.append("other")):
                    stays.sendall(b"early")
                    await trio.testing.wait_all_tasks_blocked()
                    assert told == []
                    leave(far)
                    await left.wait()
                    assert watch.left
                    await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert told == ["left"]
        assert other.read_now() == b"early"
        for each in (near, other):
            each.close()
        for end in (far, stays):
            end.close()
        departures.close()

    trio.run(main)


def test_nobody_is_told_after_the_watch() -> None:
    async def main() -> None:
        departures = Departures()
        near, far = pair()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(departures.serve)
                with departures.watch(near, lambda: pytest.fail("told")):
                    await trio.testing.wait_all_tasks_blocked()
                far.close()
                await near.readable()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        near.close()
        departures.close()

    trio.run(main)
