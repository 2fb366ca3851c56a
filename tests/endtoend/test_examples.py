"""Each file of config/ is run as it stands, on free ports and with upstreams of the test, and does what it says.

Variables in the files give the upstreams' addresses; `--listen` and `--metrics` take the ports that a test may use.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection
from websockets.typing import Subprotocol

from tests.endtoend.peers import CHROME, Upstream, agreement, client, echo, healthy, upstream
from tests.endtoend.proxy import DEADLINE, Proxy, environment, started, wait_for
from tests.endtoend.wire import Wire, request

CONFIG = Path(__file__).parents[2] / "config"
FREE = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")


@contextmanager
def named(*names: str, tls: ssl.SSLContext | None = None) -> Iterator[dict[str, Upstream]]:
    """Upstreams that tell their names, then echo; a plain GET of theirs is answered 200."""

    def speaking(name: str) -> Upstream:
        def conversation(connection: ServerConnection) -> None:
            connection.send(name)
            echo(connection)

        return stack.enter_context(upstream(conversation, subprotocols=("v2",), answer=healthy, tls=tls))

    with ExitStack() as stack:
        yield {name: speaking(name) for name in names}


@contextmanager
def example(file: str, *arguments: str, **variables: str) -> Iterator[Proxy]:
    with started([str(CONFIG / file), *arguments], environment(**variables)) as proxy:
        yield proxy


@contextmanager
def asking(
    proxy: Proxy, path: str, host: str, subprotocols: tuple[str, ...] = (), **headers: str
) -> Iterator[ClientConnection]:
    """A client that asks for another host than the one that it connects to."""
    with connect(
        f"ws://{host}{path}",
        sock=socket.create_connection(proxy.address, DEADLINE),
        subprotocols=[Subprotocol(each) for each in subprotocols] or None,
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        compression=None,
        proxy=None,
        ping_interval=None,
    ) as connection:
        yield connection


def first_word(connection: ClientConnection) -> str:
    word = connection.recv(DEADLINE)
    assert isinstance(word, str)
    return word


def test_sidecar() -> None:
    with named("app") as upstreams, ExitStack() as stack:
        variables = {"APP_PORT": str(upstreams["app"].port), "LOG_FORMAT": "text"}
        proxy = stack.enter_context(example("sidecar.toml", *FREE, **variables))
        connection = stack.enter_context(client(proxy.url("/"), deflate=CHROME))
        assert first_word(connection) == "app"
        assert "permessage-deflate" in agreement(connection)


def test_every_key() -> None:
    with (
        upstream() as only,
        example("every-key.toml", *FREE, "--upstream", only.url) as proxy,
        client(proxy.url("/"), deflate=CHROME) as connection,
    ):
        connection.send("hello")
        assert connection.recv(DEADLINE) == "hello"
        assert "permessage-deflate" in agreement(connection)


def test_gateway(tmp_path: Path) -> None:
    with named("feed", "feed-v2", "chat", "chat-acme") as upstreams:
        variables = {f"{name.upper().replace('-', '_')}_URL": each.url for name, each in upstreams.items()}
        with example("gateway.toml", *FREE, RUNTIME_DIRECTORY=str(tmp_path), **variables) as proxy:
            origin = "https://app.example.com"
            with asking(proxy, "/prices", "feed.example.com", ("v2",), Origin=origin) as connection:
                assert first_word(connection) == "feed-v2"
            with asking(proxy, "/prices", "eu.feed.example.com", Origin=origin) as connection:
                assert first_word(connection) == "feed"
            with asking(proxy, "/chat/rooms/1?x", "api.example.com", X_Tenant="acme") as connection:
                assert first_word(connection) == "chat-acme"
            assert upstreams["chat-acme"].requests[-1].path == "/rooms/1?x"
            with asking(proxy, "/chat/rooms/1", "api.example.com", Cookie="secret=1") as connection:
                assert first_word(connection) == "chat"
            asked = upstreams["chat"].requests[-1]
            assert asked.path == "/rooms/1"
            assert asked.headers["X-Gateway"] == "wsproxy"
            assert "Cookie" not in asked.headers
            assert _status(proxy, "/prices", "feed.example.com", Origin="https://evil.example") == 403
            assert _status(proxy, "/status/x", "api.example.com") == 404
            with asking(proxy, "/status", "anything.example.com") as connection:
                assert first_word(connection) == "chat"
            assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600


def _status(proxy: Proxy, path: str, host: str, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refused, asking(proxy, path, host, (), **headers):
        pass
    return refused.value.response.status_code


def test_legacy() -> None:
    with named("legacy") as upstreams, example("legacy.toml", *FREE, LEGACY_URL=upstreams["legacy"].url) as proxy:
        with client(proxy.url("/"), deflate=CHROME) as connection:
            assert first_word(connection) == "legacy"
            assert "permessage-deflate" in agreement(connection)
        assert "Sec-WebSocket-Extensions" not in upstreams["legacy"].requests[-1].headers


def test_balancing() -> None:
    names = ("feed_large", "feed_small", "rooms_a", "rooms_b", "push")
    with named(*names) as upstreams:
        variables = {f"{name.upper()}_URL": each.url for name, each in upstreams.items()}
        with example("balancing.toml", *FREE, **variables) as proxy, ExitStack() as standing:

            def open_one(path: str) -> str:
                return first_word(standing.enter_context(client(proxy.url(path))))

            # The probes are handshakes too: these end at once, and are asked for the path that the file says.
            wait_for("a probe", lambda: any(each.path == "/feed/health" for each in upstreams["feed_large"].requests))
            assert sorted(open_one("/feed") for _ in range(4)) == ["feed_large"] * 3 + ["feed_small"]
            assert len({open_one("/rooms") for _ in range(4)}) == 1
            assert open_one("/elsewhere") == "push"


def test_limits() -> None:
    with named("app") as upstreams, ExitStack() as stack:
        proxy = stack.enter_context(example("limits.toml", *FREE, APP_URL=upstreams["app"].url))
        with ExitStack() as standing:
            for _ in range(5):
                standing.enter_context(client(proxy.url("/")))
            with pytest.raises(InvalidStatus) as refused, client(proxy.url("/")):
                pass
            assert refused.value.response.status_code == 429
            chat = standing.enter_context(client(proxy.url("/chat")))
            assert first_word(chat) == "app"
            with suppress(ConnectionClosedError):  # the close may come before the last of them is sent
                for number in range(100):
                    chat.send(str(number))
            wait_for("the flood's end", lambda: proxy.metric("wsproxy_closes_total", route="chat", code="1008") == 1)


def _write(folder: Path, name: str, certificate: trustme.LeafCert) -> None:
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())


def test_tls(tmp_path: Path) -> None:
    public, partners, internal = trustme.CA(), trustme.CA(), trustme.CA()
    _write(tmp_path, "example.com", public.issue_cert("example.com"))
    _write(tmp_path, "example.org", public.issue_cert("example.org"))
    _write(tmp_path, "client", internal.issue_cert("gateway.internal"))
    partners.cert_pem.write_to_path(str(tmp_path / "partners-ca.pem"))
    internal.cert_pem.write_to_path(str(tmp_path / "internal-ca.pem"))
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    internal.issue_cert("app.internal").configure_cert(serving)
    internal.configure_trust(serving)
    serving.verify_mode = ssl.CERT_REQUIRED
    with named("app", tls=serving) as upstreams:
        url = f"wss://127.0.0.1:{upstreams['app'].port}"
        free = {"PUBLIC": "127.0.0.1:0", "PARTNERS": "127.0.0.1:0", "TLS": str(tmp_path), "APP_URL": url}
        with example("tls.toml", *FREE[2:], **free) as proxy:
            line = next(line for line in proxy.lines if " ready " in f" {line} ")
            ports = [int(word.rpartition(":")[2]) for word in line.split("listen=")[1].split()[0].split(",")]
            trusting = ssl.create_default_context()
            public.configure_trust(trusting)
            for host in ("example.com", "example.org"):
                assert _word_by_tls(ports[0], host, trusting) == "app"
            with (
                pytest.raises(ssl.SSLError, match="certificate required"),
                socket.create_connection(("127.0.0.1", ports[1]), DEADLINE) as sock,
                trusting.wrap_socket(sock, server_hostname="example.com") as secure,
            ):
                secure.recv(1)  # the client's part of a handshake in TLS 1.3 is over before its certificate is judged
            partners.issue_cert("partner.example").configure_cert(trusting)
            assert _word_by_tls(ports[1], "example.com", trusting) == "app"


def _word_by_tls(port: int, host: str, tls: ssl.SSLContext) -> str:
    """The upstream's first message. One thread reads and writes: Python's ssl sockets are not made for two."""
    sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
    wire = Wire(tls.wrap_socket(sock, server_hostname=host), masks=True)
    wire.sock.sendall(request("/", host))
    assert wire.head().status == 101
    word = wire.frame().payload.decode()
    wire.hang_up()
    return word
