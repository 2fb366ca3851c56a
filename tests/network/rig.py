"""A switchboard under test: tunnels over real socket pairs, and the far ends of their connections."""

import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trio.testing

from wsproxy.errors import Side
from wsproxy.network.ends import Tunnel
from wsproxy.network.switchboard import Switchboard
from wsproxy.network.transport import PlainTransport
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


class FaultySending(Relay):
    """A relay with another bug."""

    __slots__ = ()

    def take(self, side: Side) -> bytes:
        if self.has_output:
            raise RuntimeError("a bug")
        return b""


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


async def goes_on(sound: Rig, *others: Rig) -> None:
    """Whatever became of the others, ``sound`` carries; then all far ends go, and it is over."""
    await sound.ends[0].send(text_from_client(b"still here"))
    assert await sound.read_frame(Side.UPSTREAM) == b"still here"
    for rig in (sound, *others):
        for end in rig.ends:
            end.close()
    await sound.over.wait()
