"""Several workers: an even spread, one sum of metrics, and the death of any one of the processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.endtoend import peers
from tests.endtoend.crowd import crowd, crowd_upstream
from tests.endtoend.proxy import BASE, Proxy, configured, route, started, wait_for
from tests.endtoend.test_startup import run_to_its_end
from tests.endtoend.wire import BINARY, Frame, RawUpstream, tunnel

CONNECTIONS = 200
BATCH = 20


def base(workers: int = 2, control: Path | None = None) -> str:
    return f"workers = {workers}\n" + (f'[control]\nsocket = "{control}"\n' if control else "") + BASE


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def listed(control: Path) -> list[dict[str, object]]:
    """The live tunnels, as `wsproxy ctl` lists them."""
    command = [sys.executable, "-m", "wsproxy", "ctl", "--socket", str(control), "--json", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    tunnels: list[dict[str, object]] = json.loads(answer.stdout)["tunnels"]
    return tunnels


def by_worker(control: Path) -> Counter[str]:
    return Counter(str(each["id"]).partition("-")[0] for each in listed(control))


def received(proxy: Proxy) -> float:
    return proxy.metric("wsproxy_messages_total", leg="client", direction="received", kind="text")


def ended(proxy: Proxy) -> int:
    """Workers that ended otherwise than in order, as the log tells."""
    return len([line for line in proxy.lines if "worker ended" in line])


def exchange(client: ClientConnection, text: str) -> None:
    client.send(text)
    assert client.recv() == text


@contextlib.contextmanager
def never_falling(proxy: Proxy) -> Iterator[list[float]]:
    """Scrapes all the time, and holds each answer to the one before."""
    seen: list[float] = []
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(0.02):
            seen.append(received(proxy))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
    assert seen == sorted(seen)


def test_tunnels_are_spread_evenly(plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    """Within 60 to 40. Left to the kernel's hash, one run in 250 would not be.

    In batches, with a scrape after each: shares follow the counts twice a second and at every scrape, and then the
    odds against are a million to one.
    """
    control = tmp_path / "control.sock"
    with configured(route("echo", plain_upstream.url), base=base(control=control)) as proxy, ExitStack() as stack:
        for number in range(0, CONNECTIONS, BATCH):
            for _ in range(BATCH):
                exchange(stack.enter_context(peers.client(proxy.url("/echo"))), "hello")
            assert proxy.metric("wsproxy_tunnels_active") == number + BATCH
        spread = by_worker(control)
        print(f"{CONNECTIONS} tunnels on two workers: {dict(spread)}")
        assert sum(spread.values()) == CONNECTIONS
        assert len(spread) == 2
        assert min(spread.values()) >= CONNECTIONS * 0.4


def test_a_killed_worker_takes_only_its_own_tunnels_along(plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with configured(route("echo", plain_upstream.url), base=base(control=control)) as proxy, ExitStack() as stack:
        clients = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(40)]
        sent = 0
        for client in clients:
            exchange(client, "before")
            sent += 1
        ports = [client.local_address[1] for client in clients]
        doomed = set(ports) - clients_of(control, worker="2")
        assert 0 < len(doomed) < len(clients)
        assert received(proxy) == sent
        victim = pid_of_worker(proxy, 0)
        with never_falling(proxy) as scrapes:
            os.kill(victim, signal.SIGKILL)
            for client, port in zip(clients, ports, strict=True):
                if port in doomed:
                    with pytest.raises(ConnectionClosed):
                        client.recv(timeout=30)
                else:
                    exchange(client, "after")
                    sent += 1
            wait_for("the word of it", lambda: ended(proxy) == 1)
            for _ in range(20):
                exchange(stack.enter_context(peers.client(proxy.url("/echo"))), "newcomer")
                sent += 1
            wait_for("two workers", lambda: len(children(proxy.pid)) == 2)
            wait_for("scrapes", lambda: len(scrapes) > 20)
        assert received(proxy) == sent
        assert proxy.metric("wsproxy_worker_restarts_total", worker="0") == 1
        assert proxy.metric("wsproxy_worker_restarts_total") == 1
        wait_for("both of them serving", lambda: proxy.metric("wsproxy_workers") == 2)
        assert proxy.metric("wsproxy_tunnels_active") == len(clients) - len(doomed) + 20
        assert proxy.metric("wsproxy_tunnels_total") == len(clients) + 20
        assert victim not in children(proxy.pid)


def clients_of(control: Path, worker: str) -> set[int]:
    """The clients' ports of one worker's tunnels."""
    return {
        int(str(each["client"]).rpartition(":")[2])
        for each in listed(control)
        if str(each["id"]).startswith(worker + "-")
    }


def pid_of_worker(proxy: Proxy, place: int) -> int:
    """The process whose command line says that it has this place, once there is one."""
    found: list[int] = []

    def is_there() -> bool:
        pids = children(proxy.pid)
        found.extend(pid for pid in pids if f", {place}, " in Path(f"/proc/{pid}/cmdline").read_text())
        return bool(found)

    wait_for(f"a worker in place {place}", is_there)
    return found[0]


def test_connections_that_wait_for_a_worker_get_its_successor(plain_upstream: peers.Upstream) -> None:
    """Both are stopped, so that nobody accepts; then both are killed, with newcomers in their queues."""
    with configured(route("echo", plain_upstream.url), base=base()) as proxy, ExitStack() as stack:
        workers = children(proxy.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        waiting = [stack.enter_context(socket.create_connection(proxy.address)) for _ in range(20)]
        for sock in waiting:
            sock.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for sock in waiting:
            sock.settimeout(30)
            assert sock.recv(100).startswith(b"HTTP/1.1 404 ")


def test_a_worker_that_hangs_holds_up_neither_scrapes_nor_newcomers(plain_upstream: peers.Upstream) -> None:
    with configured(route("echo", plain_upstream.url), base=base()) as proxy, ExitStack() as stack:
        for _ in range(20):
            exchange(stack.enter_context(peers.client(proxy.url("/echo"))), "before")
        assert received(proxy) == 20
        hanging = pid_of_worker(proxy, 1)
        os.kill(hanging, signal.SIGSTOP)
        try:
            began = monotonic()
            assert received(proxy) == 20
            assert monotonic() - began < 5
            wait_for("the word of it", lambda: any("does not answer" in line for line in proxy.lines))
            for _ in range(10):
                exchange(stack.enter_context(peers.client(proxy.url("/echo"))), "newcomer")
            assert received(proxy) == 30
        finally:
            os.kill(hanging, signal.SIGCONT)
        wait_for("its answers", lambda: any("answers again" in line for line in proxy.lines))
        assert proxy.metric("wsproxy_tunnels_active") == 30


def test_workers_end_when_the_supervisor_is_killed(bare: RawUpstream, tmp_path: Path) -> None:
    """They say goodbye to their clients, and the address is free for the next one before they have ended."""
    path = tmp_path / "proxy.toml"
    path.write_text(
        'workers = 2\n[metrics]\nlisten = ""\n[shutdown]\ngrace_seconds = 30\nclose_spread_seconds = 0\n'
        '[[listeners]]\nname = "public"\nbind = "127.0.0.1:0"\n' + route("bare", bare.url)
    )
    command = [sys.executable, "-m", "wsproxy", "run", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        ready = process.stderr.readline()
        host, port = ready.partition("listen=")[2].split()[0].split(":")
        workers = children(process.pid)
        with tunnel((host, int(port)), bare, "/bare") as ends:
            ends.upstream.send(Frame(BINARY, b"half of a ", fin=False))
            assert ends.client.frame().payload == b"half of a "
            process.kill()
            process.wait()
            path.write_text(path.read_text().replace("127.0.0.1:0", f"{host}:{port}"))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                wait_for("the address to be free", lambda: _binds(probe, (host, int(port))))
            assert any(Path(f"/proc/{pid}").exists() for pid in workers)
            ends.upstream.send(Frame(0, b"message"))
            assert ends.client.frame().payload == b"message"
            assert ends.client.closed_with()[0] == 1001
            ends.client.close(1001)
            assert ends.upstream.closed_with()[0] == 1001
        wait_for("their end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def _binds(probe: socket.socket, address: tuple[str, int]) -> bool:
    try:
        probe.bind(address)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_is_one_drain(plain_upstream: peers.Upstream, number: signal.Signals) -> None:
    """As a terminal and systemd send it. Every client gets 1001, and the exit code is 0."""
    with configured(route("echo", plain_upstream.url), base=base()) as proxy, ExitStack() as stack:
        clients = [stack.enter_context(peers.client(proxy.url("/echo"))) for _ in range(10)]
        for client in clients:
            exchange(client, "hello")
        for pid in (*children(proxy.pid), proxy.pid):
            os.kill(pid, number)
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert proxy.wait() == 0
    assert not ended(proxy)


def test_a_second_signal_stops_every_worker_at_once(bare: RawUpstream) -> None:
    shutdown = base().replace("grace_seconds = 2", "grace_seconds = 3600")
    with configured(route("bare", bare.url, "timeouts.close_seconds = 3600"), base=shutdown) as proxy:
        workers = children(proxy.pid)
        with tunnel(proxy.address, bare, "/bare") as ends:
            ends.upstream.send(Frame(BINARY, b"half of a ", fin=False))
            assert ends.client.frame().payload == b"half of a "
            proxy.signal(signal.SIGTERM)
            wait_for("the drain", lambda: not proxy.is_ready())
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_an_address_in_use_is_told_once(plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    """Also when the other one there is a supervisor too, whose sockets would let ours in."""
    path = tmp_path / "second.toml"
    with configured(route("echo", plain_upstream.url), base=base()) as first:
        host, port = first.address
        path.write_text(
            base().replace('bind = "127.0.0.1:0"', f'bind = "{host}:{port}"') + route("a", "ws://127.0.0.1:9")
        )
        code, lines = run_to_its_end("run", str(path))
    assert (code, len(lines)) == (1, 1), lines
    assert f"{host}:{port}" in lines[0]
    assert "in use" in lines[0]


def test_a_worker_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    """Descriptors for the supervisor, but none for what a worker needs."""
    path = tmp_path / "proxy.toml"
    path.write_text(base() + route("a", "ws://127.0.0.1:9"))
    program = (
        "import sys, wsproxy.service.place as place\n"
        "place.sys.executable = '/nowhere/python'\n"
        "from wsproxy.cli.main import main\n"
        f"sys.exit(main(['run', {str(path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot start a worker" in done.stderr


def test_a_shared_unix_socket(plain_upstream: peers.Upstream, tmp_path: Path) -> None:
    """There is one socket for all workers, and its file is gone in the end."""
    path = tmp_path / "front.sock"
    more = f'[[listeners]]\nname = "local"\nbind = "unix:{path}"\n'
    with configured(more, route("echo", plain_upstream.url), base=base()):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as local:
                local.settimeout(30)
                local.connect(str(path))
                local.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
                assert local.recv(100).startswith(b"HTTP/1.1 404 ")
    assert not path.exists()


def test_the_sum_of_a_crowd_before_and_after_a_death() -> None:
    """Two hundred clients that talk; what they had back is what the metrics say, a worker's death between them."""
    with crowd_upstream() as url, configured(route("echo", url), base=base()) as proxy:
        echoes = 0
        for deaths in range(2):
            with crowd(proxy.url("/echo"), 100, pause=0.2) as clients:
                report = clients.stop()
            assert report.faults == []
            echoes += report.echoes
            proxy.settled()
            assert received(proxy) == echoes
            assert proxy.metric("wsproxy_closes_total", code="1000") == proxy.metric("wsproxy_tunnels_total")
            os.kill(children(proxy.pid)[0], signal.SIGKILL)
            wait_for("the word of it", lambda: ended(proxy) == deaths + 1)  # noqa: B023
            wait_for("a successor", lambda: len(children(proxy.pid)) == 2)
            assert received(proxy) == echoes


def test_workers_by_flag_and_auto(plain_upstream: peers.Upstream) -> None:
    flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--upstream", plain_upstream.url, "--workers"]
    with started([*flags, "3"]) as proxy:
        assert len(children(proxy.pid)) == 3
    cores = len(os.sched_getaffinity(0))
    with started([*flags, "auto"]) as proxy:
        assert len(children(proxy.pid)) <= (cores if cores > 1 else 0)


def test_a_worker_that_dies_again_and_again_is_given_more_and_more_time(plain_upstream: peers.Upstream) -> None:
    """The other one serves meanwhile; and once it may live, it does."""
    with configured(route("echo", plain_upstream.url), base=base()) as proxy:
        deaths = 5
        for number in range(deaths):
            os.kill(pid_of_worker(proxy, 1), signal.SIGKILL)
            wait_for("the word of it", lambda: ended(proxy) == number + 1)  # noqa: B023
            with peers.client(proxy.url("/echo")) as client:
                exchange(client, "served")
        pauses = [float(line.rpartition("restart_in_seconds=")[2]) for line in proxy.lines if "worker ended" in line]
        assert pauses == [0.1, 0.2, 0.5, 1.0, 2.0]
        wait_for("both of them serving", lambda: proxy.metric("wsproxy_workers") == 2)
        assert proxy.metric("wsproxy_worker_restarts_total", worker="1") == deaths


def test_a_worker_that_hangs_is_no_obstacle_to_the_end(plain_upstream: peers.Upstream) -> None:
    """It is killed soon after the grace, and nothing of it is left."""
    with configured(route("echo", plain_upstream.url), base=base()) as proxy:
        workers = children(proxy.pid)
        os.kill(workers[0], signal.SIGSTOP)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
