"""The image is built and run: a sidecar by environment alone, a gateway by a mounted file, nobody's account."""

import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from websockets.sync.client import connect

from tests.endtoend import peers
from tests.endtoend.proxy import Proxy
from tests.hostile.inputs import cpu_seconds
from tests.shipping import image
from tests.shipping.image import Store

NAME = "wsproxy-under-test"
BASE = "base"
ADDRESSES = {"WSPROXY_LISTEN": "127.0.0.1:0", "WSPROXY_METRICS": "127.0.0.1:0"}
FILE = "/etc/wsproxy/wsproxy.toml"
"""The image's own, for a sidecar; a gateway's takes its place."""
GATEWAY = """
[metrics]
listen = "127.0.0.1:0"
[[listeners]]
name = "public"
bind = "127.0.0.1:0"
[[routes]]
name = "chat"
upstream = "chat"
path_prefix = "/chat"
[upstreams.chat]
endpoints = ["{url}"]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if why := image.missing():
        pytest.skip(f"no container image can be made here: {why}")
    made = image.make_store(tmp_path_factory.mktemp("containers"))
    made.base(image.make_base(), BASE)
    made.build(f"localhost/{BASE}", NAME)
    yield made
    made.run("rmi", "--all", "--force")


def talk(proxy: Proxy, path: str = "/") -> None:
    """A conversation whose messages come back, compressed on the client's leg."""
    with connect(proxy.url(path)) as client:
        for number in range(50):
            client.send(text := json.dumps({"number": number, "text": "the same words again and again"}))
            assert client.recv() == text
    proxy.settled()
    assert proxy.metric("wsproxy_compression_ratio", leg="client", direction="sent") > 1.5


def test_a_sidecar_needs_its_upstream_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        peers.upstream() as upstream,
        image.container(store, NAME, {"WSPROXY_UPSTREAM": upstream.url} | ADDRESSES) as name,
    ):
        began = monotonic()
        with image.proxy(store, name) as proxy:
            ready, cpu = monotonic() - began, cpu_seconds(proxy.pid)
            talk(proxy)
            status = Path(f"/proc/{proxy.pid}/status").read_text()
            assert "Uid:\t65532\t65532" in status
            with capsys.disabled():
                print(
                    f"\nimage {store.bytes(NAME) / 1e6:.0f} MB, of which the base {store.bytes(BASE) / 1e6:.0f};",
                    f"ready after {ready:.1f} s and {cpu * 1000:.0f} ms of CPU; resident {proxy.rss() / 2**20:.0f} MiB",
                )
        assert proxy.process.returncode == 0, proxy.lines
        assert not any("Traceback" in line for line in proxy.lines)
        assert all(line.startswith("{") for line in proxy.lines), "logs for machines"
        root = Path(store.run("mount", name))
        assert not [path for path in root.rglob("*") if path.lstat().st_uid == 65532], "nothing is written at run time"


def test_without_an_upstream_it_says_what_it_needs(store: Store) -> None:
    with image.container(store, NAME, {}) as name:
        command = store.command("run", "--isolation", "chroot", name, "--", "/opt/wsproxy/bin/wsproxy", "run")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert (
            f"{FILE}: upstreams.default.endpoints[0]: the environment variable WSPROXY_UPSTREAM is not" in done.stderr
        )


def test_what_it_listens_on_is_what_it_exposes(store: Store) -> None:
    file = tomllib.loads((image.ROOT / "deploy" / "container" / "wsproxy.toml").read_text())
    ports = {address.rpartition(":")[2] for address in (file["listeners"][0]["bind"], file["metrics"]["listen"])}
    assert {f"{port}/tcp" for port in ports} == set(store.configuration(NAME)["ExposedPorts"])


def test_a_gateway_reads_a_mounted_file(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "wsproxy.toml"
    with peers.upstream() as upstream:
        file.write_text(GATEWAY.format(url=upstream.url))
        file.chmod(0o644)
        # Nothing of the environment stands before the file: its listeners are the ones.
        with (
            image.container(store, NAME, {}, f"{file}:{FILE}:ro") as name,
            image.proxy(store, name) as proxy,
        ):
            talk(proxy, "/chat")


def test_its_health_check_needs_no_shell(store: Store) -> None:
    check = store.configuration(NAME)["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    with (
        peers.upstream() as upstream,
        image.container(store, NAME, {"WSPROXY_UPSTREAM": upstream.url} | ADDRESSES) as name,
        image.proxy(store, name) as proxy,
    ):
        host, port = proxy.metrics_address
        store.run("run", "--isolation", "chroot", "--env", f"WSPROXY_METRICS={host}:{port}", name, "--", *check[1:])
        wrong = store.command("run", "--isolation", "chroot", "--env", "WSPROXY_METRICS=127.0.0.1:1", name, "--")
        done = subprocess.run([*wrong, *check[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr


def test_it_says_what_it_is(store: Store) -> None:
    said = store.configuration(NAME)
    assert said["User"] == "65532:65532"
    assert said["StopSignal"] == "SIGTERM"
    assert said["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_it_has_neither_pip_nor_a_compiler(store: Store) -> None:
    with image.container(store, NAME, {}) as name:
        mounted = Path(store.run("mount", name))
        bins = [mounted / folder for folder in ("opt/wsproxy/bin", "usr/bin", "usr/local/bin")]
        names = {path.name for folder in bins if folder.exists() for path in folder.iterdir()}
        assert "wsproxy" in names
        assert not names & {"pip", "pip3", "gcc", "cc", "g++", "clang", "make"}
        assert not list((mounted / "opt/wsproxy").rglob("site-packages/pip"))
