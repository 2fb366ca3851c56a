"""The program that shares out new connections, as the kernel runs it."""

import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

from wsproxy.network.steering import steer

CONNECTIONS = 400

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_REUSEPORT_CBPF is Linux's own")


@pytest.fixture
def group() -> Iterator[list[socket.socket]]:
    """Three sockets that listen on one address."""
    with ExitStack() as stack:
        members: list[socket.socket] = []
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(members[0].getsockname() if members else ("127.0.0.1", 0))
            sock.listen(CONNECTIONS)
            sock.setblocking(False)
            members.append(sock)
        yield members


def accepted(group: list[socket.socket]) -> list[int]:
    """How many of some connections each member got."""
    counts = [0] * len(group)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(group[0].getsockname()))
        # Under load the last ones are in their queues a little later than connect() returns.
        limit = monotonic() + 10
        while sum(counts) < CONNECTIONS and monotonic() < limit:
            ready, _, _ = select.select(group, [], [], 1)
            for member in ready:
                member.accept()[0].close()
                counts[group.index(member)] += 1
    assert sum(counts) == CONNECTIONS
    return counts


@pytest.mark.parametrize("shares", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.0, 0.5, 0.5], [2, 1, 1], [1, 1, 1]])
def test_each_gets_its_share(group: list[socket.socket], shares: list[float]) -> None:
    steer(group[1].fileno(), shares)
    for count, share in zip(accepted(group), shares, strict=True):
        expected = CONNECTIONS * share / sum(shares)
        # Five standard deviations of a fair draw; none where the share is none or all.
        assert abs(count - expected) <= 5 * (expected * (1 - expected / CONNECTIONS)) ** 0.5


def test_shares_can_change_and_the_sockets_stay_the_callers(group: list[socket.socket]) -> None:
    for winner in (0, 1, 2, 0):
        steer(group[0].fileno(), [float(index == winner) for index in range(3)])
        assert accepted(group)[winner] == CONNECTIONS


def test_a_socket_that_cannot_be_steered_is_left_as_it_is() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        steer(sock.fileno(), [1.0, 1.0])
        assert sock.fileno() >= 0
