"""Reaching endpoints over real sockets: names, Unix sockets, verified TLS, and what each failure is called."""

import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from wsproxy.errors import CannotStart, Refused
from wsproxy.network.dial import dial
from wsproxy.network.tls import make_upstream_tls
from wsproxy.network.transport import PlainTransport
from wsproxy.settings.endpoints import parse_endpoint
from wsproxy.settings.tree import UpstreamTls

_CA = trustme.CA()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(10):
            await test()

    trio.run(bounded)


def check_refused(caught: pytest.ExceptionInfo[Refused], status: int, result: str) -> None:
    assert (caught.value.status, caught.value.result) == (status, result)


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(_CA.cert_pem.bytes())
    return str(path)


def serve_tls_once(server: socket.socket, name: str) -> threading.Thread:
    """An independent TLS end: echoes one message in capitals, then closes in the proper way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CA.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])

    def serve() -> None:
        sock, _ = server.accept()
        try:
            with context.wrap_socket(sock, server_side=True) as tls:
                tls.sendall(tls.recv(100).upper() + f" {tls.selected_alpn_protocol()}".encode())
                tls.unwrap()
        except ssl.SSLError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_tcp_by_name(localhost: str) -> None:
    async def main() -> None:
        # Only on IPv4: where the name has an IPv6 address too, that one refuses and the other is tried.
        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = parse_endpoint(f"ws://{localhost}:{server.getsockname()[1]}")
            transport = await dial(endpoint, None, "", 5)
            far, _ = server.accept()
            await transport.send_all(b"hello")
            assert far.recv(10) == b"hello"
            assert transport.peer == f"127.0.0.1:{server.getsockname()[1]}"
            assert far.getpeername()[0] == "127.0.0.1"
            transport.close()
            far.close()

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_literal_is_dialled_without_resolving(host: str) -> None:
    """No thread is asked, and over the loopback nothing is waited for."""

    async def main() -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as server:
            place = f"[{host}]" if ":" in host else host
            endpoint = parse_endpoint(f"ws://{place}:{server.getsockname()[1]}")
            threads = threading.active_count()
            transport = await dial(endpoint, None, "", 5)
            assert threading.active_count() == threads
            far, _ = server.accept()
            await transport.send_all(b"hello")
            assert far.recv(10) == b"hello"
            assert transport.peer == f"{place}:{server.getsockname()[1]}"
            transport.close()
            far.close()

    run(main)


def test_a_literal_that_does_not_accept_is_a_504_and_is_waited_for() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            endpoint = parse_endpoint(f"ws://127.0.0.1:{server.getsockname()[1]}")
            filling = []
            with pytest.raises(Refused) as caught:
                for _ in range(16):
                    filling.append(await dial(endpoint, None, "", 0.1))
            check_refused(caught, 504, "upstream_timeout")
            later: list[object] = []

            async def dial_patiently() -> None:
                later.append(await dial(endpoint, None, "", 8))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(dial_patiently)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not later
                for _ in filling:
                    server.accept()[0].close()
            assert isinstance(later[0], PlainTransport)
            for each in [*filling, later[0]]:
                each.close()

    run(main)


def test_refused_is_a_502() -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            endpoint = parse_endpoint(f"ws://127.0.0.1:{unused.getsockname()[1]}")
            with pytest.raises(Refused) as caught:
                await dial(endpoint, None, "", 5)
        check_refused(caught, 502, "upstream_unreachable")
        assert isinstance(caught.value.__cause__, OSError)
        # The client is not told where the upstream is.
        assert "127" not in caught.value.detail

    run(main)


def test_no_answer_to_the_tls_handshake_is_a_504(ca_file: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = parse_endpoint(f"wss://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(Refused) as caught:
                await dial(endpoint, make_upstream_tls(UpstreamTls(ca=ca_file)), "", 0.05)
            far, _ = silent.accept()
            # It has been closed.
            while far.recv(65536):
                pass
            far.close()
        check_refused(caught, 504, "upstream_timeout")

    run(main)


def test_unix(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a.sock"
        with pytest.raises(Refused) as caught:
            await dial(parse_endpoint(f"unix:{path}"), None, "", 5)
        check_refused(caught, 502, "upstream_unreachable")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            transport = await dial(parse_endpoint(f"unix:{path}"), None, "", 5)
            far, _ = server.accept()
            await transport.send_all(b"hello")
            assert far.recv(10) == b"hello"
            transport.close()
            far.close()

    run(main)


def test_unix_with_a_full_backlog_waits_for_a_place(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "a.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(0)
            first = await dial(parse_endpoint(f"unix:{path}"), None, "", 5)
            with pytest.raises(Refused) as caught:
                await dial(parse_endpoint(f"unix:{path}"), None, "", 0.05)
            check_refused(caught, 504, "upstream_timeout")
            async with trio.open_nursery() as nursery:

                async def second() -> None:
                    (await dial(parse_endpoint(f"unix:{path}"), None, "", 5)).close()

                nursery.start_soon(second)
                await trio.testing.wait_all_tasks_blocked()
                server.accept()[0].close()
            first.close()

    run(main)


@pytest.mark.parametrize(
    ("certificate", "server_name"),
    [("127.0.0.1", ""), ("feed.test", "feed.test")],
)
def test_tls_is_verified(ca_file: str, certificate: str, server_name: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = serve_tls_once(server, certificate)
            endpoint = parse_endpoint(f"wss://127.0.0.1:{server.getsockname()[1]}")
            transport = await dial(endpoint, make_upstream_tls(UpstreamTls(ca=ca_file)), server_name, 5)
            await transport.send_all(b"hello")
            assert await transport.receive_some() == b"HELLO http/1.1"
            assert await transport.receive_some() == b""
            await transport.drain_and_close(5)
            await trio.to_thread.run_sync(thread.join)

    run(main)


@pytest.mark.parametrize(
    ("certificate", "server_name", "trusted"),
    [("other.test", "feed.test", True), ("127.0.0.1", "", False), ("127.0.0.1", ".no-name", True)],
)
def test_tls_that_does_not_verify_is_a_502(ca_file: str, certificate: str, server_name: str, trusted: bool) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = serve_tls_once(server, certificate)
            endpoint = parse_endpoint(f"wss://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(Refused) as caught:
                await dial(endpoint, make_upstream_tls(UpstreamTls(ca=ca_file if trusted else "")), server_name, 5)
            check_refused(caught, 502, "upstream_unreachable")
            assert "TLS" in str(caught.value.__cause__)
            await trio.to_thread.run_sync(thread.join)

    run(main)


def test_a_ca_that_is_of_no_use(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(CannotStart) as caught:
        make_upstream_tls(UpstreamTls(ca=str(missing)))
    assert str(caught.value) == f"cannot use {missing} as a CA: no such file or directory"
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    with pytest.raises(CannotStart) as caught:
        make_upstream_tls(UpstreamTls(ca=str(garbage)))
    assert str(caught.value) == f"cannot use {garbage} as a CA: it holds no valid certificates in PEM"
