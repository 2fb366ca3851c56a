"""Listening on every kind of address, refusing to clearly, and surviving exhaustion."""

import errno
import os
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from wsproxy.errors import CannotStart, ConnectionLost
from wsproxy.network.listen import ListeningSocket, open_listeners, share_out
from wsproxy.network.transport import PlainTransport
from wsproxy.settings.addresses import FdAddress, TcpAddress, UnixAddress


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(10):
            await test()

    trio.run(bounded)


def not_exhausted(error: OSError) -> None:
    raise AssertionError(error)


def port_of(listening: ListeningSocket) -> int:
    return int(listening.address.rpartition(":")[2])


def connect_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return sock


async def check_accepts(listening: ListeningSocket, client: socket.socket) -> None:
    with client:
        (transport,) = await listening.accept_some(not_exhausted)
        client.sendall(b"hello")
        assert await transport.receive_some() == b"hello"
        transport.close()


def test_each_worker_has_a_socket_of_its_own() -> None:
    async def main() -> None:
        group = await open_listeners(TcpAddress("127.0.0.1", 0), slots=3)
        assert [each.slot for each in group] == [0, 1, 2]
        assert len({each.address for each in group}) == 1
        for winner in (2, 0, 1):
            share_out(group, [float(slot == winner) for slot in range(3)])
            await check_accepts(group[winner], socket.create_connection(("127.0.0.1", port_of(group[0]))))
        for each in group:
            each.close()

    run(main)


def test_a_group_keeps_others_out_and_stays_out_itself() -> None:
    """SO_REUSEPORT alone would let two groups of one user share an address, and neither would know."""

    async def main() -> None:
        group = await open_listeners(TcpAddress("127.0.0.1", 0), slots=2)
        address = TcpAddress("127.0.0.1", port_of(group[0]))
        for slots in (0, 2):
            with pytest.raises(CannotStart, match="in use"):
                await open_listeners(address, slots=slots)
        for each in group:
            each.close()
        again = await open_listeners(address, slots=2)
        for each in again:
            each.close()

    run(main)


def test_workers_share_a_socket_that_cannot_be_doubled(tmp_path: Path) -> None:
    async def main() -> None:
        (alone,) = await open_listeners(UnixAddress(str(tmp_path / "a.sock")), slots=2)
        assert alone.slot is None
        alone.close()

    run(main)


def test_tcp_tells_its_real_port() -> None:
    async def main() -> None:
        (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))
        assert listening.address.startswith("127.0.0.1:")
        assert port_of(listening) > 0
        await check_accepts(listening, socket.create_connection(("127.0.0.1", port_of(listening))))
        listening.close()
        listening.close()

    run(main)


def test_a_name_listens_on_all_its_addresses(localhost: str) -> None:
    async def main() -> None:
        listeners = await open_listeners(TcpAddress(localhost, 0))
        found = {address[4][0] for address in socket.getaddrinfo(localhost, 0, type=socket.SOCK_STREAM)}
        assert {listening.address.rpartition(":")[0].strip("[]") for listening in listeners} <= found
        for listening in listeners:
            host = listening.address.rpartition(":")[0].strip("[]")
            await check_accepts(listening, socket.create_connection((host, port_of(listening))))
            listening.close()

    run(main)


def test_ipv6_stays_out_of_ipv4() -> None:
    async def main() -> None:
        try:
            (six,) = await open_listeners(TcpAddress("::", 0))
        except CannotStart:
            pytest.skip("no IPv6 here")
        assert six.address.startswith("[::]:")
        (four,) = await open_listeners(TcpAddress("0.0.0.0", port_of(six)))
        six.close()
        four.close()

    run(main)


def test_all_waiting_connections_come_in_batches() -> None:
    async def main() -> None:
        (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))
        place = ("127.0.0.1", port_of(listening))
        clients = [socket.create_connection(place) for _ in range(100)]
        accepted: list[PlainTransport] = []
        batches = 0
        while len(accepted) < 100:
            accepted += await listening.accept_some(not_exhausted)
            batches += 1
        assert {transport.peer for transport in accepted} == {"{}:{}".format(*each.getsockname()) for each in clients}
        assert batches < 100
        for transport in accepted:
            transport.close()
        for client in clients:
            client.close()
        listening.close()

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connections_are_tuned(host: str) -> None:
    """Without a system call for each, where they inherit what the listening socket has."""

    async def main() -> None:
        (listening,) = await open_listeners(TcpAddress(host, 0))
        with socket.create_connection((host, port_of(listening))):
            (transport,) = await listening.accept_some(not_exhausted)
            with socket.socket(fileno=os.dup(transport.fileno())) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            transport.close()
        listening.close()

    run(main)


def test_closing_ends_the_waiting() -> None:
    async def main() -> None:
        (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ConnectionLost):
                    await listening.accept_some(not_exhausted)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            listening.close()

    run(main)


def test_tcp_refusals_are_one_clear_line() -> None:
    async def main() -> None:
        (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))
        with pytest.raises(CannotStart) as caught:
            await open_listeners(TcpAddress("127.0.0.1", port_of(listening)))
        assert str(caught.value) == f"cannot listen on {listening.address}: address already in use"
        with pytest.raises(CannotStart) as caught:
            # TEST-NET-3 (RFC 5737) is no machine's own.
            await open_listeners(TcpAddress("203.0.113.1", 8080))
        assert str(caught.value) == "cannot listen on 203.0.113.1:8080: cannot assign requested address"
        listening.close()

    run(main)


def test_unix_has_its_mode_and_removes_its_file(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a.sock"
        (listening,) = await open_listeners(UnixAddress(str(path)), 0o640)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert listening.address == f"unix:{path}"
        await check_accepts(listening, connect_unix(path))
        listening.close()
        assert not path.exists()

    run(main)


def test_unix_replaces_what_nothing_answers_on(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        (listening,) = await open_listeners(UnixAddress(str(path)))
        await check_accepts(listening, connect_unix(path))
        listening.close()

    run(main)


def test_unix_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a.sock"
        (first,) = await open_listeners(UnixAddress(str(path)))
        with pytest.raises(CannotStart) as caught:
            await open_listeners(UnixAddress(str(path)))
        assert str(caught.value) == f"cannot listen on unix:{path}: address already in use"
        path.unlink()
        (second,) = await open_listeners(UnixAddress(str(path)))
        first.close()
        await check_accepts(second, connect_unix(path))
        second.close()

        path.write_text("precious")
        with pytest.raises(CannotStart, match="not a socket"):
            await open_listeners(UnixAddress(str(path)))
        assert path.read_text() == "precious"
        with pytest.raises(CannotStart, match="no such file or directory"):
            await open_listeners(UnixAddress(str(tmp_path / "none" / "a.sock")))

    run(main)


def test_fd_is_a_listening_socket_that_stays_open_for_the_next_time() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as given:
            place = given.getsockname()
            for _ in range(2):
                (listening,) = await open_listeners(FdAddress(given.fileno()))
                assert listening.address == "{}:{}".format(*place)
                await check_accepts(listening, socket.create_connection(place))
                listening.close()

    run(main)


def test_fd_refuses_everything_else(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as deaf, (tmp_path / "file").open("w") as file:
            with pytest.raises(CannotStart, match=f"fd:{deaf.fileno()}: not a listening stream socket"):
                await open_listeners(FdAddress(deaf.fileno()))
            # It has not been taken away.
            deaf.listen()
            with pytest.raises(CannotStart, match="socket operation on non-socket"):
                await open_listeners(FdAddress(file.fileno()))
            closed = os.dup(file.fileno())
            os.close(closed)
            with pytest.raises(CannotStart, match="bad file descriptor"):
                await open_listeners(FdAddress(closed))

    run(main)


_EXHAUSTED = """
    import errno, resource, socket, trio
    from wsproxy.network.listen import open_listeners
    from wsproxy.settings.addresses import TcpAddress

    async def main():
        (listening,) = await open_listeners(TcpAddress("127.0.0.1", 0))
        place = ("127.0.0.1", int(listening.address.rpartition(":")[2]))
        clients = [socket.create_connection(place) for _ in range(10)]
        highest = max(each.fileno() for each in clients)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, highest + 4))
        accepted, told = [], []
        with trio.fail_after(10):
            while not told:
                async with trio.open_nursery() as nursery:
                    def exhausted(error):
                        told.append(error.errno)
                        nursery.cancel_scope.cancel()
                    accepted += await listening.accept_some(exhausted)
            assert told == [errno.EMFILE], told
            assert 0 < len(accepted) < 10, len(accepted)
            taken = len(accepted)
            while taken < 10:
                for each in accepted:
                    each.close()
                accepted = await listening.accept_some(told.append)
                taken += len(accepted)
        print("all", taken)

    trio.run(main)
"""


def test_running_out_of_descriptors_only_pauses() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_EXHAUSTED)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == ("all 10\n", 0), done.stderr


def test_the_pause_is_not_a_spin() -> None:
    """While nothing can be accepted, the callback is told once for each pause, not all the time."""

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    told: list[float] = []

    async def main() -> None:
        sock = Exhausted(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        listening = ListeningSocket(sock)
        client = socket.create_connection(sock.getsockname())
        with trio.CancelScope() as scope:

            def exhausted(_: OSError) -> None:
                told.append(trio.current_time())
                if len(told) == 3:
                    scope.cancel()

            await listening.accept_some(exhausted)
        client.close()
        listening.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    assert len(set(told)) == 3
