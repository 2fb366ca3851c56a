"""TLS to clients and to upstreams, judged by websockets, curl, openssl and Python's own ssl.

Certificates by name, client certificates and what upstreams hear of them, versions, slow handshakes, large messages,
orderly ends, renewal.
"""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import WebSocketException
from websockets.sync.server import ServerConnection

from tests.endtoend import peers
from tests.endtoend.proxy import BASE, Proxy, configured, environment, route, wait_for
from tests.endtoend.tls_ends import SecureClient, secure_client
from tests.endtoend.wire import CLOSE, TEXT, Frame, Wire, frame_bytes, request

CA, CLIENTS = trustme.CA(), trustme.CA()


def issue(folder: Path, name: str, ca: trustme.CA = CA) -> tuple[Path, Path]:
    """A certificate for ``name`` and its key, in files."""
    leaf = ca.issue_cert(name)
    cert, key = folder / f"{name.replace('*', 'any')}.pem", folder / f"{name.replace('*', 'any')}.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return cert, key


def tls_listener(folder: Path, *names: str, more: str = "") -> str:
    """The lines that make the listener of `BASE` speak TLS."""
    tables = [f'{{ cert = "{cert}", key = "{key}" }}' for cert, key in (issue(folder, name) for name in names)]
    return f"[listeners.tls]\ncertificates = [{', '.join(tables)}]\n{more}\n"


def trusting(*, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(client)
    if alpn:
        client.set_alpn_protocols(list(alpn))
    return client


def talk(
    proxy: Proxy, tls: ssl.SSLContext, name: str = "a.example", headers: Sequence[tuple[str, str]] = ()
) -> contextlib.AbstractContextManager[SecureClient]:
    return secure_client(proxy.address, "/feed", tls, name, headers)


@contextlib.contextmanager
def shaken(proxy: Proxy, tls: ssl.SSLContext, name: str = "a.example") -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(proxy.address, 15) as sock,
        tls.wrap_socket(sock, server_hostname=name) as secure,
    ):
        yield secure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def proxy(folder: Path, plain_upstream: peers.Upstream) -> Iterator[Proxy]:
    """Three certificates, no client certificates."""
    listener = tls_listener(folder, "a.example", "*.wild.example", "exact.wild.example")
    with configured(listener, route("feed", plain_upstream.url)) as running:
        yield running


@pytest.mark.parametrize("name", ["a.example", "x.wild.example", "exact.wild.example"])
def test_the_name_chooses_the_certificate(proxy: Proxy, name: str) -> None:
    with talk(proxy, trusting(), name) as connection:
        connection.send("hello")
        assert connection.recv(15) == "hello"
    with shaken(proxy, trusting(), name) as secure:
        found = secure.getpeercert()
        assert found is not None
        exact = name if not name.startswith("x.") else "*.wild.example"
        assert found["subjectAltName"] == (("DNS", exact),)


def test_other_names_get_the_first_certificate(proxy: Proxy) -> None:
    with pytest.raises(ssl.SSLCertVerificationError), shaken(proxy, trusting(), "other.example"):
        pass
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.address[1]}", "-noservername"]
    found = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    show = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    shown = subprocess.run(show, input=found.stdout, capture_output=True, check=False)
    assert b"DNS:a.example" in shown.stdout, found.stdout


def test_http_1_1_is_what_alpn_gives(proxy: Proxy) -> None:
    with shaken(proxy, trusting(alpn=("h2", "http/1.1"))) as secure:
        assert secure.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(proxy: Proxy, flag: str) -> None:
    before = proxy.metric("wsproxy_connections_refused_total", reason="tls")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.address[1]}", flag, "-cipher", "ALL:@SECLEVEL=0"]
    found = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    assert found.returncode != 0
    assert b"protocol version" in found.stderr, found.stderr
    wait_for("the counter", lambda: proxy.metric("wsproxy_connections_refused_total", reason="tls") == before + 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_messages_cross_both_ways(proxy: Proxy, version: ssl.TLSVersion) -> None:
    tls = trusting()
    tls.minimum_version = tls.maximum_version = version
    message = os.urandom(1 << 20)
    with talk(proxy, tls) as connection:
        for _ in range(3):
            connection.send(message)
            assert connection.recv(30) == message


def test_a_close_ends_tls_in_order(proxy: Proxy) -> None:
    host, port = proxy.address
    with shaken(proxy, trusting()) as secure:
        secure.sendall(request("/feed", f"{host}:{port}"))
        wire = Wire(secure, masks=True)
        assert wire.head().status == 101
        secure.sendall(frame_bytes(Frame(CLOSE, b"\x03\xe8"), masked=True))
        assert wire.closed_with() == (1000, "")
        # b"" and not an SSLEOFError: close_notify came.
        assert secure.recv(1) == b""


def test_curl_gets_plain_http(proxy: Proxy, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: what it gets by TLS was not tried")
    ca = str(folder / "ca.pem")
    CA.cert_pem.write_to_path(ca)
    port = proxy.address[1]
    command = [
        "curl",
        "-sS",
        "--cacert",
        ca,
        "--resolve",
        f"a.example:{port}:127.0.0.1",
        f"https://a.example:{port}/none",
    ]
    found = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert found.stdout.startswith(b"404 ")


def test_plain_text_on_a_tls_listener_is_turned_away(proxy: Proxy) -> None:
    with socket.create_connection(proxy.address, 15) as sock:
        sock.sendall(b"GET /feed HTTP/1.1\r\nHost: a.example\r\n\r\n")
        while sock.recv(4096):
            pass
    wait_for("the line", lambda: any("turned away" in line and "reason=tls" in line for line in proxy.lines))


def test_whoever_only_looks_is_no_failure(tmp_path: Path, plain_upstream: peers.Upstream) -> None:
    """Its own proxy: what ends late for another test would be taken for this one's."""
    with configured(tls_listener(tmp_path, "a.example"), route("feed", plain_upstream.url)) as proxy:
        with socket.create_connection(proxy.address, 15):
            wait_for("the session", lambda: proxy.metric("wsproxy_sessions_active") == 1)
        wait_for("the session's end", lambda: proxy.metric("wsproxy_sessions_active") == 0)
        assert proxy.metric("wsproxy_connections_refused_total") == 0
    assert not [line for line in proxy.lines if "turned away" in line]


def test_a_slow_handshake_ends_at_its_deadline_and_holds_up_nobody(proxy: Proxy) -> None:
    begun = time.monotonic()
    with socket.create_connection(proxy.address, 30) as slow:
        slow.sendall(b"\x16\x03\x01")
        with talk(proxy, trusting()) as connection:
            connection.send("meanwhile")
            assert connection.recv(15) == "meanwhile"
        assert slow.recv(100) == b""
    assert 8 < time.monotonic() - begun < 25
    assert proxy.metric("wsproxy_connections_refused_total", listener="public", reason="timeout") == 1


def test_clients_with_certificates(folder: Path, plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    client_ca = folder / "clients.pem"
    CLIENTS.cert_pem.write_to_path(str(client_ca))
    listener = tls_listener(tmp_path, "a.example", more=f'client_ca = "{client_ca}"')
    with configured(listener, route("feed", plain_upstream.url)) as proxy:
        known = trusting()
        leaf = CLIENTS.issue_cert("alice@example.org", common_name="Alice, Ünique", organization_name="Example")
        leaf.configure_cert(known)
        plain_upstream.requests.clear()
        lie = [("X-Client-Cert-Subject", "CN=root"), ("X_Client_Cert_Fingerprint", "00"), ("x-client-cert-more", "1")]
        with talk(proxy, known, headers=lie) as connection:
            connection.send("hello")
            assert connection.recv(15) == "hello"
        told = {name.lower(): value for name, value in plain_upstream.requests[-1].headers.raw_items()}
        der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
        digest = subprocess.run(
            ["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True
        ).stdout.split()[0]
        assert told["x-client-cert-fingerprint"] == digest.decode()
        assert told["x-client-cert-subject"].startswith("CN=Alice\\, \\C3\\9Cnique")
        assert told["x-client-cert-san"] == "email:alice@example.org"
        assert [name for name in told if "cert" in name.replace("_", "-")] == [
            "x-client-cert-subject",
            "x-client-cert-san",
            "x-client-cert-fingerprint",
        ]
        stranger = trusting()
        trustme.CA().issue_cert("mallory@example.org").configure_cert(stranger)
        for tls in (stranger, trusting()):
            with pytest.raises((OSError, EOFError, WebSocketException)), talk(proxy, tls):
                pass
        wait_for("the counter", lambda: proxy.metric("wsproxy_connections_refused_total", reason="tls") == 2)
        assert len(plain_upstream.requests) == 1


@contextlib.contextmanager
def demanding_upstream(tmp_path: Path) -> Iterator[peers.Upstream]:
    """An upstream that wants a certificate of its clients."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("inside.example").configure_cert(tls)
    CLIENTS.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    with peers.upstream(tls=tls) as upstream:
        yield upstream


def test_an_upstream_with_its_own_ca_name_and_our_certificate(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(ca))
    cert, key = issue(tmp_path, "proxy.example", CLIENTS)
    with demanding_upstream(tmp_path) as upstream:
        url = f"wss://127.0.0.1:{upstream.port}"
        tls = f'[upstreams.{{0}}.tls]\nca = "{ca}"\nserver_name = "inside.example"\n'
        own = f'client_cert = "{cert}"\nclient_key = "{key}"\n'
        parts = [
            route("known", url) + tls.format("known") + own,
            route("unknown", url) + tls.format("unknown"),
            route("misnamed", url) + tls.format("misnamed").replace("inside", "other") + own,
        ]
        with configured(*parts) as proxy:
            message = os.urandom(1 << 20)
            with peers.client(proxy.url("/known")) as connection:
                connection.send(message)
                assert connection.recv(30) == message
            for path in ("/unknown", "/misnamed"):
                with pytest.raises(Exception, match="HTTP 502"), peers.client(proxy.url(path)):
                    pass


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_no_use_end_the_start_with_one_line(tmp_path: Path, workers: int) -> None:
    cert, key = issue(tmp_path, "a.example")
    for given_cert, given_key, words in [
        (tmp_path / "missing.pem", key, "no such file"),
        (key, key, "cannot use"),
        (cert, issue(tmp_path, "b.example")[1], "key values mismatch"),
    ]:
        path = tmp_path / "proxy.toml"
        listener = f'[listeners.tls]\ncertificates = [{{ cert = "{given_cert}", key = "{given_key}" }}]\n'
        path.write_text(f"workers = {workers}\n" + BASE + listener + route("feed", "ws://127.0.0.1:9"))
        command = [sys.executable, "-m", "wsproxy", "run", str(path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)
        assert ended.returncode == 1, ended
        assert words in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_renewed_certificates_are_shown_after_a_reload_and_tunnels_stay(
    tmp_path: Path, plain_upstream: peers.Upstream
) -> None:
    with configured(tls_listener(tmp_path, "a.example"), route("feed", plain_upstream.url)) as proxy:

        def shown() -> bytes:
            with shaken(proxy, trusting()) as secure:
                der = secure.getpeercert(binary_form=True)
                assert der is not None
                return der

        before = shown()
        assert shown() == before
        with talk(proxy, trusting()) as connection:
            issue(tmp_path, "a.example")
            proxy.signal(signal.SIGHUP)
            wait_for("the renewed certificate", lambda: shown() != before)
            connection.send("still here")
            assert connection.recv(15) == "still here"
            renewed = shown()
            (tmp_path / "a.example.key").write_text("no key")
            proxy.signal(signal.SIGHUP)
            wait_for("its refusal", lambda: proxy.metric("wsproxy_config_last_reload_successful") == 0)
            assert shown() == renewed
            connection.send("and here")
            assert connection.recv(15) == "and here"


def test_a_drain_does_not_wait_for_what_has_not_begun(tmp_path: Path, plain_upstream: peers.Upstream) -> None:
    base = BASE.replace("grace_seconds = 2", "grace_seconds = 9")
    with configured(tls_listener(tmp_path, "a.example"), route("feed", plain_upstream.url), base=base) as proxy:
        with socket.create_connection(proxy.address, 15) as slow:
            slow.sendall(b"\x16\x03\x01")
            wait_for("the session", lambda: proxy.metric("wsproxy_sessions_active") == 1)
            begun = time.monotonic()
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
            assert time.monotonic() - begun < 6
        assert not [line for line in proxy.lines if "turned away" in line]


def test_a_client_over_tls_that_takes_nothing_or_says_nothing(tmp_path: Path) -> None:
    timeouts = ["write_stall_seconds = 2", "ping_interval_seconds = 1", "ping_timeout_seconds = 2"]
    lines = [f"timeouts.{line}" for line in timeouts]

    def flood(connection: ServerConnection) -> None:
        if connection.recv(15) == "flood":
            while True:
                connection.send(bytes(65_536))
        connection.recv(60)

    with (
        peers.upstream(flood) as upstream,
        configured(tls_listener(tmp_path, "a.example"), route("feed", upstream.url, *lines)) as proxy,
    ):
        for word, reason in (("flood", "write_stall"), ("silence", "ping")):
            with shaken(proxy, trusting()) as secure:
                secure.sendall(request("/feed", "feed"))
                assert Wire(secure, masks=True).head().status == 101
                secure.sendall(frame_bytes(Frame(TEXT, word.encode()), masked=True))
                wait_for(
                    "the tunnel's end",
                    lambda: proxy.metric("wsproxy_tunnel_timeouts_total", reason=reason) == 1,  # noqa: B023
                )
        assert proxy.metric("wsproxy_tunnel_timeouts_total") == 2


def test_many_clients_at_once(proxy: Proxy) -> None:
    """Tunnels over TLS share the loop that plain ones are in."""
    faults: list[Exception] = []

    def one(number: int) -> None:
        try:
            with talk(proxy, trusting()) as connection:
                for count in range(20):
                    connection.send(f"{number} {count} " + "x" * 1000 * count)
                    assert connection.recv(30) == f"{number} {count} " + "x" * 1000 * count
        except Exception as fault:  # noqa: BLE001 — told by the test
            faults.append(fault)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
