"""Starting: the ready line with the real ports, and one clear line with the right exit code where it cannot."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.conversations import converse
from tests.endtoend.proxy import BASE, environment, route, sidecar, started
from tests.endtoend.wire import Wire, request

UPSTREAM = "ws://127.0.0.1:9"


def run_to_its_end(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """Exit code and standard error of a command that is expected to end by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment() if env is None else env,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def test_a_listen_address_in_use(taken: str) -> None:
    code, lines = run_to_its_end("run", "--listen", taken, "--metrics", "127.0.0.1:0", "--upstream", UPSTREAM)
    assert (code, len(lines)) == (1, 1), lines
    assert taken in lines[0]
    assert "in use" in lines[0]


def test_a_metrics_address_in_use(taken: str) -> None:
    code, lines = run_to_its_end("run", "--listen", "127.0.0.1:0", "--metrics", taken, "--upstream", UPSTREAM)
    assert (code, len(lines)) == (1, 1), lines
    assert taken in lines[0]
    assert "in use" in lines[0]


@pytest.mark.parametrize(("command", "wide"), [("run", "0.0.0.0"), ("check", "0.0.0.0"), ("check", "[::]")])
def test_addresses_that_overlap_are_told_before_anything_listens(tmp_path: Path, command: str, wide: str) -> None:
    path = tmp_path / "proxy.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    narrow = "[::1]" if wide == "[::]" else "127.0.0.1"
    base = f'[metrics]\nlisten = "{wide}:{port}"\n[[listeners]]\nname = "public"\nbind = "{narrow}:{port}"\n'
    path.write_text(base + route("a", UPSTREAM))
    code, lines = run_to_its_end(command, str(path))
    assert (code, len(lines)) == (2, 1), lines
    told = f"{path}: metrics.listen: '{wide}:{port}' overlaps with listeners[0].bind, '{narrow}:{port}'"
    assert lines[0].endswith(told)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run",), "upstream"),
        (("run", "--upstream", "ftp://x"), "--upstream"),
        (("run", "--upstream", UPSTREAM, "--listen", "nonsense"), "--listen"),
        (("run", "--upstream", UPSTREAM, "--lisen", "127.0.0.1:0"), "--lisen"),
        (("run", "/nowhere/proxy.toml"), "/nowhere/proxy.toml"),
        (("check", "/nowhere/proxy.toml"), "/nowhere/proxy.toml"),
        (("fly",), "fly"),
        ((), "COMMAND"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], named: str) -> None:
    code, lines = run_to_its_end(*arguments)
    assert (code, len(lines)) == (2, 1), lines
    assert named in lines[0]


def test_a_bad_environment_names_the_variable() -> None:
    code, lines = run_to_its_end("run", env=environment(WSPROXY_UPSTREAM=UPSTREAM, WSPROXY_LISTEN="nonsense"))
    assert (code, len(lines)) == (2, 1), lines
    assert "WSPROXY_LISTEN" in lines[0]


@pytest.mark.parametrize("command", ["run", "check"])
def test_every_problem_of_a_file_has_its_line(tmp_path: Path, command: str) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(
        BASE
        + route("a", "ws://127.0.0.1:9", 'compression.mode = "fast"', "limits.max_mesage_bytes = 5")
        + '[[routes]]\nname = "b"\nupstream = "nobody"\n'
        + "[log]\nlevel = 3\n"
    )
    code, lines = run_to_its_end(command, str(path))
    assert code == 2
    for where in ("routes[0].compression.mode", "routes[0].limits.max_mesage_bytes", "routes[1].upstream", "log.level"):
        assert len([line for line in lines if f"{path}: {where}: " in line]) == 1, lines
    assert len(lines) == 4
    assert any("max_message_bytes" in line for line in lines)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text("[[routes]\n")
    code, lines = run_to_its_end("run", str(path))
    assert (code, len(lines)) == (2, 1), lines
    assert str(path) in lines[0]


def test_check_is_silent_about_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(BASE + route("a", UPSTREAM))
    assert run_to_its_end("check", str(path)) == (0, [])


def test_the_ready_line_has_the_real_ports(plain_upstream: peers.Upstream) -> None:
    with sidecar(plain_upstream.url) as proxy:
        assert 0 not in (proxy.address[1], proxy.metrics_address[1])
        assert len([line for line in proxy.lines if re.search(r"\bready\b", line)]) == 1
        assert converse(proxy.url("/"), peers.CHROME, [10])
        assert proxy.page("/livez") == "alive\n"
        assert proxy.is_ready()


def test_the_environment_stands_in_for_flags(plain_upstream: peers.Upstream) -> None:
    variables = environment(
        WSPROXY_LISTEN="127.0.0.1:0",
        WSPROXY_METRICS="127.0.0.1:0",
        WSPROXY_UPSTREAM=plain_upstream.url,
        WSPROXY_LOG_FORMAT="json",
    )
    with started([], variables) as proxy:
        assert converse(proxy.url("/"), peers.CHROME, [10])
        proxy.settled()
        events = [json.loads(line)["event"] for line in proxy.lines]
        assert events[0] == "ready"


def test_a_unix_socket(tmp_path: Path, plain_upstream: peers.Upstream) -> None:
    """In front of the proxy and behind it: one proxy listens on the socket, another one has it as its upstream."""
    path = tmp_path / "front.sock"
    config = tmp_path / "proxy.toml"
    more = f'[[listeners]]\nname = "local"\nbind = "unix:{path}"\n'
    config.write_text(BASE + more + route("echo", plain_upstream.url))
    with started([str(config)]), sidecar(f"unix:{path}") as outer:
        with socket.socket(socket.AF_UNIX) as local:
            local.connect(str(path))
            wire = Wire(local, masks=True)
            wire.sock.sendall(request("/echo", "localhost"))
            assert wire.head().status == 101
        assert converse(outer.url("/echo"), peers.CHROME, [10, 100_000])
    assert not path.exists()
