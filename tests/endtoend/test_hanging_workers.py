"""Workers that hang: they are noticed, waited for, and in the end killed and started again."""

import json
import os
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
import trustme
from websockets.exceptions import ConnectionClosed

from tests.endtoend import peers
from tests.endtoend.proxy import configured, route, started, wait_for
from tests.endtoend.test_workers import (
    base,
    by_worker,
    children,
    clients_of,
    ended,
    exchange,
    never_falling,
    pid_of_worker,
    received,
)
from tests.endtoend.wire import knock


def test_while_no_worker_answers_nobody_is_told_that_it_is_ready(plain_upstream: peers.Upstream) -> None:
    with configured(route("echo", plain_upstream.url), base=base()) as proxy:
        workers = children(proxy.pid)
        assert proxy.is_ready()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_for("readyz to be 503", lambda: not proxy.is_ready())
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        wait_for("readyz to be 200", proxy.is_ready)
        with peers.client(proxy.url("/echo")) as client:
            exchange(client, "served")


def test_a_worker_that_is_busy_for_seconds_is_waited_for_by_a_list(
    plain_upstream: peers.Upstream, tmp_path: Path
) -> None:
    control = tmp_path / "control.sock"
    with configured(route("echo", plain_upstream.url), base=base(control=control)) as proxy, ExitStack() as stack:
        for _ in range(20):
            exchange(stack.enter_context(peers.client(proxy.url("/echo"))), "hello")
        busy = pid_of_worker(proxy, 1)
        os.kill(busy, signal.SIGSTOP)
        free = threading.Timer(2.0, os.kill, (busy, signal.SIGCONT))
        free.start()
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(str(control))
                sock.sendall(b'{"command": "list"}\n')
                with sock.makefile() as answers:
                    tunnels = json.loads(answers.readline())["tunnels"]
        finally:
            free.join()
        assert Counter(str(each["id"]).partition("-")[0] for each in tunnels) == by_worker(control)
        assert len(tunnels) == 20


def test_a_worker_that_hangs_for_long_is_killed_and_started_again(
    tmp_path: Path, plain_upstream: peers.Upstream
) -> None:
    """After twenty seconds. A reload that came meanwhile goes through, newcomers in its queue get its successor, the
    other worker's tunnels and all counters go on."""
    control, path = tmp_path / "control.sock", tmp_path / "proxy.toml"
    path.write_text(base(control=control) + route("echo", plain_upstream.url))
    with started([str(path)]) as proxy, ExitStack() as stack:
        clients = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(20)]
        for client in clients:
            exchange(client, "before")
        ports = [client.local_address[1] for client in clients]
        kept = clients_of(control, worker="1")
        assert 0 < len(kept) < 20
        assert received(proxy) == 20
        with never_falling(proxy):
            hanging = pid_of_worker(proxy, 1)
            os.kill(hanging, signal.SIGSTOP)
            path.write_text(path.read_text() + route("other", plain_upstream.url))
            began = monotonic()
            proxy.signal(signal.SIGHUP)
            wait_for("the kill", lambda: any("worker killed" in line for line in proxy.lines), 60)
            assert monotonic() - began > 10
            wait_for("the reload", lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == 1)
            wait_for("both of them serving", lambda: proxy.metric("wsproxy_workers") == 2, 60)
            for client, port in zip(clients, ports, strict=True):
                if port in kept:
                    exchange(client, "after")
                else:
                    with pytest.raises(ConnectionClosed):
                        client.recv(timeout=30)
            for _ in range(20):
                exchange(stack.enter_context(peers.client(proxy.url("/other"))), "newcomer")
        assert received(proxy) == 20 + len(kept) + 20
        assert proxy.metric("wsproxy_worker_restarts_total", worker="1") == 1
        assert proxy.metric("wsproxy_worker_restarts_total") == 1
        assert proxy.metric("wsproxy_config_reloads_total", result="failure") == 0
        assert not Path(f"/proc/{hanging}").exists()


def test_workers_that_prepare_for_long_do_their_work_meanwhile(tmp_path: Path, plain_upstream: peers.Upstream) -> None:
    """A reload that waits for a disk: a named pipe, from which the first reader gets a CA, and the workers do not."""
    path, pipe = tmp_path / "proxy.toml", tmp_path / "ca.pem"
    os.mkfifo(pipe)
    path.write_text(base() + route("echo", plain_upstream.url))
    with started([str(path)]) as proxy, peers.client(proxy.url("/echo")) as client:
        path.write_text(path.read_text() + route("secure", "wss://127.0.0.1:9") + f'tls.ca = "{pipe}"\n')
        proxy.signal(signal.SIGHUP)
        feed(proxy.pid, pipe, trustme.CA().cert_pem.bytes())
        began, sent = monotonic(), 0
        while monotonic() < began + 5:
            exchange(client, "meanwhile")
            sent += 1
            assert received(proxy) == sent
        assert not [line for line in proxy.lines if "does not answer" in line]
        assert proxy.metric("wsproxy_config_reloads_total") == 0
        with pipe.open("wb"):
            pass  # an empty file
        wait_for("its end", lambda: proxy.metric("wsproxy_config_reloads_total", result="failure") == 1)
        exchange(client, "still there")


def test_a_worker_that_dies_while_it_prepares_leaves_a_successor_that_serves(
    tmp_path: Path, plain_upstream: peers.Upstream
) -> None:
    """The successor is there before the reload is done, and is asked to prepare for itself."""
    path, pipe = tmp_path / "proxy.toml", tmp_path / "ca.pem"
    os.mkfifo(pipe)
    authority = trustme.CA().cert_pem.bytes()
    path.write_text(base() + route("echo", plain_upstream.url))
    with started([str(path)]) as proxy:
        path.write_text(path.read_text() + route("secure", "wss://127.0.0.1:9") + f'tls.ca = "{pipe}"\n')
        proxy.signal(signal.SIGHUP)
        feed(proxy.pid, pipe, authority)
        doomed, other = (pid_of_worker(proxy, place) for place in (1, 0))
        with pipe.open("wb") as held:  # once a worker reads, which gets nothing yet
            os.kill(doomed, signal.SIGKILL)
            wait_for("its successor", lambda: doomed not in children(proxy.pid) and len(children(proxy.pid)) == 2)
            wait_for("the other one to read", lambda: reads(other, pipe))
            held.write(authority)
        wait_for("the other one to have read", lambda: not reads(other, pipe))
        feed(pid_of_worker(proxy, 1), pipe, authority)
        wait_for("the reload", lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == 1)
        wait_for("both of them serving", lambda: proxy.metric("wsproxy_workers") == 2)
        assert ended(proxy) == 1
        with peers.client(proxy.url("/echo")) as client:
            exchange(client, "served")


@pytest.mark.parametrize("command", ["drain-endpoint", "undrain-endpoint"])
def test_an_order_while_a_worker_is_being_started_is_for_that_one_too(
    tmp_path: Path, plain_upstream: peers.Upstream, command: str
) -> None:
    """A dead worker's successor reads its CA from a pipe, so that there is time for it."""
    control, path, ca = (tmp_path / name for name in ("control.sock", "proxy.toml", "ca.pem"))
    authority = trustme.CA().cert_pem.bytes()
    ca.write_bytes(authority)
    secure = route("secure", "wss://127.0.0.1:9") + f'tls.ca = "{ca}"\n'
    path.write_text(base(control=control) + route("echo", plain_upstream.url) + secure)
    with started([str(path)]) as proxy:
        if command == "undrain-endpoint":
            order(control, "drain-endpoint", plain_upstream.url)
        doomed = pid_of_worker(proxy, 1)
        ca.unlink()
        os.mkfifo(ca)
        os.kill(doomed, signal.SIGKILL)
        with ca.open("wb") as held:
            order(control, command, plain_upstream.url)
            held.write(authority)
        wait_for("both of them serving", lambda: proxy.metric("wsproxy_workers") == 2)
        expected = 503 if command == "drain-endpoint" else 101
        for _ in range(20):
            wire = knock(proxy.address, "/echo")
            assert wire.head().status == expected
            wire.hang_up()


def order(control: Path, command: str, endpoint: str) -> None:
    """What `wsproxy ctl` does; the answer must not be an error."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(control))
        sock.sendall(json.dumps({"command": command, "endpoint": endpoint}).encode() + b"\n")
        with sock.makefile() as answers:
            assert "error" not in json.loads(answers.readline())


def feed(pid: int, pipe: Path, content: bytes) -> None:
    """Let that process read the pipe to its end."""
    with pipe.open("wb") as held:
        wait_for("the reader", lambda: reads(pid, pipe))
        held.write(content)
    wait_for("the reader's end", lambda: not reads(pid, pipe))


def reads(pid: int, pipe: Path) -> bool:
    """That process has the pipe open."""
    return any(os.path.realpath(each) == str(pipe) for each in Path(f"/proc/{pid}/fd").iterdir())
