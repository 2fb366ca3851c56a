"""A service supervisor as systemd is one: told of every state, and handing over its sockets."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.proxy import Proxy, environment, route, running, wait_for

BASE = '[metrics]\nlisten = "127.0.0.1:0"\n[shutdown]\ngrace_seconds = 2\nclose_spread_seconds = 0\n'


def activated(
    config: Path, sockets: list[socket.socket], names: str, extra: dict[str, str] | None = None
) -> AbstractContextManager[Proxy]:
    """`wsproxy run` with these sockets from descriptor 3 on, as systemd starts it: LISTEN_PID is its own pid."""
    # Only the process itself knows its pid beforehand; it puts the sockets where they belong, then becomes the proxy.
    numbers = [sock.fileno() for sock in sockets]
    program = (
        "import os, sys\n"
        f"for place, number in enumerate([os.dup(number) for number in {numbers}], 3):\n"
        "    os.set_inheritable(os.dup2(number, place), True)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'wsproxy', 'run', sys.argv[1]])\n"
    )
    command = [sys.executable, "-c", program, str(config)]
    variables = environment(LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names, **(extra or {}))
    return running(command, variables, numbers)


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_by_number_and_by_name(plain_upstream: peers.Upstream, tmp_path: Path, workers: int) -> None:
    """The addresses are bound before the proxy runs, and after it has ended: its successor takes them over."""
    config = tmp_path / "proxy.toml"
    config.write_text(
        f"workers = {workers}\n" + BASE + '[[listeners]]\nname = "one"\nbind = "fd:3"\n'
        '[[listeners]]\nname = "two"\nbind = "fd:second"\n' + route("echo", plain_upstream.url)
    )
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        for _ in range(2):
            with activated(config, [one, two], "first:second") as proxy:
                for sock in (one, two):
                    port = sock.getsockname()[1]
                    with peers.client(f"ws://127.0.0.1:{port}/echo") as client:
                        client.send("hello")
                        assert client.recv() == "hello"
                proxy.signal(signal.SIGHUP)
                wait_for("the reload", lambda: any(" reloaded " in line for line in proxy.lines))
                with peers.client(f"ws://127.0.0.1:{one.getsockname()[1]}/echo") as client:
                    client.send("again")
                    assert client.recv() == "again"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_that_was_passed_comes_and_goes_with_reloads(
    plain_upstream: peers.Upstream, tmp_path: Path, workers: int
) -> None:
    """Its number means that socket for ever, whatever was opened and closed meanwhile."""
    config = tmp_path / "proxy.toml"
    base = f"workers = {workers}\n" + BASE + route("echo", plain_upstream.url)
    passed = '[[listeners]]\nname = "passed"\nbind = "fd:3"\n'
    others = [f'[[listeners]]\nname = "{name}"\nbind = "127.0.0.1:0"\n' for name in ("one", "two", "three")]
    forms = [others[0], "".join(others), passed, others[0] + passed]
    config.write_text(base + passed)
    with socket.create_server(("127.0.0.1", 0)) as own, activated(config, [own], "own") as proxy:
        for number, form in enumerate(forms, 1):
            config.write_text(base + form)
            proxy.signal(signal.SIGHUP)
            wait_for(
                f"reload {number}: {proxy.lines[-2:]}",
                lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == number,  # noqa: B023
            )
        line = next(line for line in reversed(proxy.lines) if " reloaded " in line)
        addresses = line.partition("listen=")[2].split()[0].split(",")
        assert f"127.0.0.1:{own.getsockname()[1]}" in addresses
        for address in addresses:
            with peers.client(f"ws://{address}/echo") as client:
                client.send("hello")
                assert client.recv() == "hello"


def test_a_name_that_was_not_passed(tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(BASE + '[[listeners]]\nname = "one"\nbind = "fd:web"\n' + route("echo", "ws://127.0.0.1:9"))
    command = [sys.executable, "-m", "wsproxy", "run", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment())
    assert done.returncode == 1
    assert done.stderr == "wsproxy: cannot listen on fd:web: socket activation passed no socket of this name\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_is_told(plain_upstream: peers.Upstream, tmp_path: Path, workers: int) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(f"workers = {workers}\n" + BASE + route("echo", plain_upstream.url))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.create_server(("127.0.0.1", 0)) as own:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)

        def told() -> str:
            while (state := systemd.recv(1000).decode()) == "WATCHDOG=1":
                watched.append(state)
            return state

        watched: list[str] = []
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        config.write_text(config.read_text() + '[[listeners]]\nname = "own"\nbind = "fd:3"\n')
        with activated(config, [own], "own", variables) as proxy:
            assert told() == "READY=1"
            for _ in range(2):
                proxy.signal(signal.SIGHUP)
                assert told().startswith("RELOADING=1\nMONOTONIC_USEC=")
                assert told() == "READY=1"
                config.write_text("nonsense")
            assert proxy.metric("wsproxy_config_last_reload_successful") == 0
            while len(watched) < 3:
                watched.append(systemd.recv(1000).decode())
            os.kill(proxy.pid, signal.SIGTERM)
            assert told() == "STOPPING=1"
