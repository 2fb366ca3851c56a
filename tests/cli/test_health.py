"""`wsproxy health`: what a container's health check is told, by a running proxy and where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import run
from tests.endtoend import peers
from tests.endtoend.proxy import route, sidecar, wait_for


def test_a_proxy_that_is_ready() -> None:
    with peers.upstream() as upstream, sidecar(upstream.url) as proxy:
        host, port = proxy.metrics_address
        done = run("health", WSPROXY_UPSTREAM=upstream.url, WSPROXY_METRICS=f"{host}:{port}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def test_the_address_of_everything_is_asked_on_this_machine() -> None:
    with peers.upstream() as upstream, sidecar(upstream.url) as proxy:
        done = run("health", "--metrics", f"0.0.0.0:{proxy.metrics_address[1]}", WSPROXY_UPSTREAM=upstream.url)
        assert done.returncode == 0, done.stderr


def test_a_unix_socket_named_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(
        f'metrics.listen = "unix:{tmp_path}/pages"\nlisteners = [{{ name = "public", bind = "127.0.0.1:0" }}]\n'
        + route("app", "ws://127.0.0.1:9")
    )
    with subprocess.Popen([sys.executable, "-m", "wsproxy", "run", str(file)], stderr=subprocess.PIPE) as proxy:
        try:
            wait_for("the pages' socket", (tmp_path / "pages").exists)
            wait_for("readiness", lambda: run("health", str(file)).stdout == "ready\n")
            file.write_text('workers = "${WSPROXY_NO_SUCH_VARIABLE}"\n' + file.read_text())
            assert run("health", str(file)).stdout == "ready\n", "the proxy goes on, and so does its check"
        finally:
            proxy.terminate()
    assert proxy.returncode == 0
    assert run("health", str(file)).returncode == 1
    file.write_text("metrics.listen = 9464\n")
    assert run("health", str(file)).stderr.startswith(f"wsproxy: {file}: metrics.listen: ")


@pytest.mark.parametrize(
    ("metrics", "code", "says"),
    [
        ("127.0.0.1:1", 1, "127.0.0.1:1 does not answer"),
        ("fd:3", 1, "known to the proxy's own process alone"),
        ("", 2, "turned off"),
    ],
)
def test_nobody_answers(metrics: str, code: int, says: str) -> None:
    done = run("health", WSPROXY_UPSTREAM="ws://127.0.0.1:9", WSPROXY_METRICS=metrics)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
