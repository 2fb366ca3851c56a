"""The control socket and `wsproxy ctl`: looking, closing, draining, with one worker and with two."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.endtoend import peers
from tests.endtoend.proxy import BASE, Proxy, configured, environment, route, started, wait_for
from tests.endtoend.wire import BINARY, Frame, RawUpstream, tunnel

Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def ctl(control: Path) -> Ctl:
    def run(*arguments: str, where: tuple[str, ...] = ("--socket", str(control))) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsproxy", "ctl", *where, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment())

    return run


def base(control: Path, workers: int = 1, more: str = "") -> str:
    return f'workers = {workers}\n[control]\nsocket = "{control}"\n{more}' + BASE


@pytest.fixture(params=[1, 2], ids=["alone", "two-workers"])
def proxy(request: pytest.FixtureRequest, control: Path, plain_upstream: peers.Upstream) -> Iterator[Proxy]:
    secret = 'headers.set = { "Authorization" = "Bearer hidden" }'
    parts = [route("echo", plain_upstream.url, secret), route("other", plain_upstream.url + "/other")]
    with configured(*parts, base=base(control, request.param)) as running:
        yield running


def code_of(client: ClientConnection) -> int:
    """With which code the other side closes; nothing else may come before that."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=30)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def facts(ctl: Ctl) -> list[dict[str, object]]:
    done = ctl("--json", "list")
    assert done.returncode == 0, done.stderr
    tunnels: list[dict[str, object]] = json.loads(done.stdout)["tunnels"]
    return tunnels


def test_list(proxy: Proxy, ctl: Ctl, plain_upstream: peers.Upstream) -> None:
    with peers.client(proxy.url("/echo"), deflate=peers.CHROME) as one, peers.client(proxy.url("/other")) as two:
        for client in (one, two):
            client.send("x" * 1000)
            assert client.recv() == "x" * 1000
        by_route = {str(each["route"]): each for each in facts(ctl)}
        told = by_route["echo"]
        assert told["client"] == f"127.0.0.1:{one.local_address[1]}"
        assert told["endpoint"] == plain_upstream.url
        assert told["upstream"] == "echo"
        assert told["upstream_address"] == f"127.0.0.1:{plain_upstream.port}"
        assert told["payload_bytes_from_client"] == told["payload_bytes_to_client"] == 1000
        assert 0 < int(str(told["wire_bytes_from_client"])) < 100
        assert float(str(told["ratio"])) > 10
        assert 0 <= float(str(told["age_seconds"])) < 30
        assert str(told["client_agreement"]).startswith("permessage-deflate")
        assert told["upstream_agreement"] == "none"
        assert (told["plan_to_client"], told["plan_to_upstream"]) == ("deflate", "inflate")
        assert by_route["other"]["client_agreement"] == "none"
        table = ctl("list").stdout.splitlines()
        assert len(table) == 3
        assert table[0].startswith("ID ")
        assert any(str(told["id"]) in line and str(told["client"]) in line for line in table)


def test_close_one(proxy: Proxy, ctl: Ctl) -> None:
    with peers.client(proxy.url("/echo")) as doomed, peers.client(proxy.url("/echo")) as other:
        port = doomed.local_address[1]
        (ident,) = [str(each["id"]) for each in facts(ctl) if str(each["client"]).endswith(f":{port}")]
        assert ctl("close", ident, "--code", "4001").stdout == "closing 1\n"
        assert code_of(doomed) == 4001
        other.send("still there")
        assert other.recv() == "still there"
        wait_for("its end", lambda: proxy.metric("wsproxy_tunnels_active") == 1)
        again = ctl("close", ident)
        assert (again.returncode, again.stderr) == (1, f"wsproxy: no tunnel has the id {ident}\n")


def test_close_those_of_an_endpoint(proxy: Proxy, ctl: Ctl, plain_upstream: peers.Upstream) -> None:
    with ExitStack() as stack:
        doomed = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(6)]
        other = stack.enter_context(peers.client(proxy.url("/other")))
        assert ctl("close-endpoint", plain_upstream.url).stdout == "closing 6\n"
        assert {code_of(client) for client in doomed} == {1001}
        other.send("still there")
        assert other.recv() == "still there"
        with peers.client(proxy.url("/echo")) as newcomer:
            newcomer.send("as before")
            assert newcomer.recv() == "as before"


def test_drain_an_endpoint_and_let_it_serve_again(proxy: Proxy, ctl: Ctl, plain_upstream: peers.Upstream) -> None:
    with ExitStack() as stack:
        doomed = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(6)]
        other = stack.enter_context(peers.client(proxy.url("/other")))
        assert ctl("drain-endpoint", plain_upstream.url).stdout == "closing 6\n"
        assert {code_of(client) for client in doomed} == {1001}
        for _ in range(4):
            with pytest.raises(InvalidStatus, match="503"), peers.client(proxy.url("/echo")):
                pass
        other.send("still there")
        assert other.recv() == "still there"
        assert ctl("undrain-endpoint", plain_upstream.url).stdout == "done\n"
        for _ in range(4):
            with peers.client(proxy.url("/echo")) as newcomer:
                newcomer.send("as before")
                assert newcomer.recv() == "as before"


@pytest.mark.parametrize("command", ["close-endpoint", "drain-endpoint", "undrain-endpoint"])
def test_an_endpoint_that_nobody_has_is_told(
    proxy: Proxy, ctl: Ctl, plain_upstream: peers.Upstream, command: str
) -> None:
    nowhere = ctl(command, "ws://nowhere:1")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr == "wsproxy: no upstream has the endpoint ws://nowhere:1\n"
    near = ctl(command, plain_upstream.url + "/")
    assert near.stderr.endswith(f"(did you mean '{plain_upstream.url}'?)\n")
    assert proxy.is_ready()


def test_an_endpoint_that_is_there_and_has_no_tunnel(proxy: Proxy, ctl: Ctl, plain_upstream: peers.Upstream) -> None:
    assert proxy.is_ready()
    assert ctl("close-endpoint", plain_upstream.url).stdout == "closing 0\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_refused_drains_nothing(
    control: Path, ctl: Ctl, plain_upstream: peers.Upstream, tmp_path: Path, workers: int
) -> None:
    """Neither now nor later, when a reload brings the endpoint that was not there yet."""
    path = tmp_path / "proxy.toml"
    path.write_text(base(control, workers) + route("other", plain_upstream.url + "/other"))
    with started([str(path)]) as proxy:
        assert ctl("drain-endpoint", plain_upstream.url).returncode == 1
        assert ctl("drain-endpoint", plain_upstream.url + "/other", "--code", "1005").returncode == 1
        path.write_text(path.read_text() + route("echo", plain_upstream.url))
        proxy.signal(signal.SIGHUP)
        wait_for("the reload", lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == 1)
        for place in ("/echo", "/other") * 3:
            with peers.client(proxy.url(place)) as client:
                client.send("served")
                assert client.recv() == "served"


@pytest.mark.parametrize("command", ["close-endpoint", "drain-endpoint"])
def test_tunnels_of_an_endpoint_that_a_reload_took_away(
    control: Path, ctl: Ctl, plain_upstream: peers.Upstream, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(base(control) + route("echo", plain_upstream.url))
    with started([str(path)]) as proxy, peers.client(proxy.url("/echo")) as client:
        path.write_text(base(control) + route("other", plain_upstream.url + "/other"))
        proxy.signal(signal.SIGHUP)
        wait_for("the reload", lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == 1)
        assert ctl(command, plain_upstream.url).stdout == "closing 1\n"
        assert code_of(client) == 1001


def test_draining_an_endpoint_is_spread(control: Path, ctl: Ctl, plain_upstream: peers.Upstream) -> None:
    spread = base(control).replace("close_spread_seconds = 0", "close_spread_seconds = 1")
    with configured(route("echo", plain_upstream.url), base=spread) as proxy, ExitStack() as stack:
        doomed = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(10)]
        assert ctl("drain-endpoint", plain_upstream.url).stdout == "closing 10\n"
        began = monotonic()
        assert proxy.metric("wsproxy_tunnels_active") > 0
        assert {code_of(client) for client in doomed} == {1001}
        assert monotonic() - began < 30


def test_drain_everything(proxy: Proxy, ctl: Ctl) -> None:
    with peers.client(proxy.url("/echo")) as client:
        assert ctl("drain").stdout == "done\n"
        assert code_of(client) == 1001
    assert proxy.wait() == 0


def test_a_message_that_never_ends_is_cut(control: Path, ctl: Ctl, bare: RawUpstream) -> None:
    with (
        configured(route("bare", bare.url), base=base(control)) as proxy,
        tunnel(proxy.address, bare, "/bare") as ends,
    ):
        ends.upstream.send(Frame(BINARY, b"half of a ", fin=False))
        assert ends.client.frame().payload == b"half of a "
        (told,) = facts(ctl)
        assert ctl("close", str(told["id"])).stdout == "closing 1\n"
        assert ends.client.closed_with()[0] == 1001
        wait_for("its end", lambda: proxy.metric("wsproxy_tunnels_active") == 0)


def test_the_configuration_in_force(proxy: Proxy, ctl: Ctl, control: Path) -> None:
    shown = ctl("config")
    assert shown.returncode == 0, shown.stderr
    assert "hidden" not in shown.stdout
    document = tomllib.loads(shown.stdout)
    assert document["control"]["socket"] == str(control)
    assert document["routes"][0]["headers"]["set"] == {"Authorization": "***"}
    assert document["shutdown"]["grace_seconds"] == 2.0
    assert json.loads(ctl("--json", "config").stdout)["settings"] == document


def test_what_cannot_be_done_is_one_line(proxy: Proxy, ctl: Ctl, control: Path, tmp_path: Path) -> None:
    """The running proxy's socket is not replaced, and a socket that is not there is told."""
    assert proxy.is_ready()
    refused = ctl("close", "1-999", "--code", "1005")
    assert refused.returncode == 1
    assert re.fullmatch(r"wsproxy: 1005 is not a code .*\n", refused.stderr)
    absent = ctl("list", where=("--socket", str(tmp_path / "none.sock")))
    assert (absent.returncode, len(absent.stderr.splitlines())) == (1, 1)
    assert ctl("list", where=()).returncode == 2
    config = tmp_path / "proxy.toml"
    config.write_text(base(control) + route("echo", "ws://127.0.0.1:9"))
    assert ctl("list", where=("--config", str(config))).returncode == 0
    config.write_text(BASE + route("echo", "ws://127.0.0.1:9"))
    unset = ctl("list", where=("--config", str(config)))
    assert (unset.returncode, unset.stderr) == (2, f"wsproxy: {config}: control.socket: is not set\n")


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\n", b"[]\n", b"\xff\n", b"no end"])
def test_somebody_elses_socket_is_one_line(ctl: Ctl, control: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(control))
        other.listen()

        def serve() -> None:
            sock, _ = other.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        told = ctl("list")
        thread.join()
    assert (told.returncode, told.stdout, len(told.stderr.splitlines())) == (1, "", 1), told
    assert told.stderr.startswith(f"wsproxy: {control}: ")


def ask(control: Path, data: bytes) -> list[dict[str, object]]:
    """The answers to raw bytes, until the proxy hangs up or we have ended and it has too."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(control))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while more := sock.recv(65536):
            received += more
    return [json.loads(line) for line in received.splitlines()]


WRONG = [
    (b"", "one line of JSON"),
    (b"nonsense", "one line of JSON"),
    (b"\xff\xfe", "one line of JSON"),
    (b"[" * 50_000, "one line of JSON"),
    (b"[1]", "a JSON object"),
    (b"{}", "the command must be one of"),
    (b'{"command": ["list"]}', "the command must be one of"),
    (b'{"command": "close"}', "tunnel must be a text"),
    (b'{"command": "close", "tunnel": "1-1", "code": "x"}', "a whole number"),
    (b'{"command": "close", "tunnel": "1-1", "code": true}', "a whole number"),
    (b'{"command": "close-endpoint", "endpoint": ""}', "endpoint must be a text"),
]


def test_what_is_not_understood_gets_an_answer(proxy: Proxy, control: Path) -> None:
    answers = ask(control, b"".join(line + b"\n" for line, _ in WRONG) + b'{"command": "list"}\n')
    for (line, complaint), answer in zip(WRONG, answers, strict=False):
        assert complaint in str(answer["error"]), line
    assert answers[len(WRONG) :] == [{"tunnels": []}]
    assert proxy.is_ready()


def test_input_is_bounded(proxy: Proxy, control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(control))
        sock.sendall(b" " * 65_537)
        assert b"65536 bytes at most" in sock.recv(65536)
        assert sock.recv(1) == b""
    assert ask(control, b'{"command": "list"}\n') == [{"tunnels": []}]
    assert proxy.is_ready()


def test_the_file_is_private_replaced_when_stale_and_removed(control: Path, plain_upstream: peers.Upstream) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
    assert control.exists()
    with configured(route("echo", plain_upstream.url), base=base(control)):
        assert oct(control.stat().st_mode & 0o777) == "0o600"
        assert ask(control, b'{"command": "list"}\n') == [{"tunnels": []}]
    assert not control.exists()
