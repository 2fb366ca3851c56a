"""The proxies that are compared: how each is built, configured and started.

Owns: one `Contestant` for each, and what must be installed for it. What makes them fair stands in their own files
under peers/. Knows nothing about measuring.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import Workload

HERE = Path(__file__).parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "benchmarks"
_PEERS = HERE / "peers"
_GO_LIBRARIES = Path("/usr/share/gocode")


def _found(thing: str) -> str:
    """A file as it is, a command where it is: daemons may be outside of a user's path."""
    return thing if thing.startswith("/") else shutil.which(thing) or f"/usr/sbin/{thing}"


@dataclass(frozen=True, slots=True)
class Stage:
    """What a proxy is started for.

    :ivar port: of 127.0.0.1, where it is to listen.
    :ivar upstream_port: of 127.0.0.1.
    :ivar folder: a place for its files.
    :ivar files: how many descriptors it may have.
    """

    workload: Workload
    port: int
    upstream_port: int
    folder: Path
    files: int
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """One proxy, or one way to configure it.

    :ivar needs: a command that must be on the path or a file that must exist, and how to get it.
    :ivar deflates: whether clients must get an agreement; a tunnel of bytes never gives one.
    :ivar tls: whether its listener can speak TLS.
    :ivar groups: the only workload groups it takes part in; empty: all.
    """

    name: str
    needs: tuple[tuple[str, str], ...]
    command: Callable[[Stage], list[str]]
    build: Callable[[], None] | None = None
    deflates: bool = True
    tls: bool = True
    groups: frozenset[str] = frozenset()

    def missing(self) -> str | None:
        """How to get what is not there; None if nothing is missing."""
        for thing, how in self.needs:
            if not Path(_found(thing)).exists():
                return how
        return None

    def runs(self, workload: Workload) -> bool:
        return (not self.groups or workload.group in self.groups) and (self.tls or not workload.tls)


def environment() -> Mapping[str, str]:
    """What every proxy is started with, beside this process's environment."""
    return {"PYTHONPATH": str(ROOT), "NODE_ENV": "production"}


def _wsproxy(compression: str) -> Callable[[Stage], list[str]]:
    def command(stage: Stage) -> list[str]:
        upstream_leg = ""
        if stage.workload.upstream_deflates:
            upstream_leg = "[routes.compression.upstream]\nenabled = true\n"
        config = stage.folder / "wsproxy.toml"
        config.write_text(
            f'[metrics]\nlisten = "127.0.0.1:0"\n[shutdown]\ngrace_seconds = 1\nclose_spread_seconds = 0\n'
            f'[[listeners]]\nname = "bench"\nbind = "127.0.0.1:{stage.port}"\n{_listener_tls(stage)}'
            f'[[routes]]\nname = "bench"\nupstream = "bench"\n{compression}\n{upstream_leg}'
            f'[upstreams.bench]\nendpoints = ["ws://127.0.0.1:{stage.upstream_port}"]\n'
        )
        return [sys.executable, "-m", "wsproxy", "run", str(config)]

    return command


def _listener_tls(stage: Stage) -> str:
    if not stage.workload.tls:
        return ""
    return f'[listeners.tls]\ncertificates = [{{ cert = "{stage.cert}", key = "{stage.key}" }}]\n'


def _go(stage: Stage) -> list[str]:
    command = [str(BUILD / "go-proxy"), "-listen", f"127.0.0.1:{stage.port}"]
    command += ["-upstream", f"ws://127.0.0.1:{stage.upstream_port}"]
    if stage.workload.upstream_deflates:
        command.append("-upstream-deflate")
    if stage.workload.tls:
        command += ["-cert", str(stage.cert), "-key", str(stage.key)]
    return command


def _build_go() -> None:
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_GO_LIBRARIES), "GOCACHE": str(BUILD / "go-cache")}
    subprocess.run(["go", "build", "-o", str(BUILD / "go-proxy"), "."], cwd=_PEERS / "go", env=env, check=True)


def _node(stage: Stage) -> list[str]:
    deflate = "1" if stage.workload.upstream_deflates else "0"
    script = str(_PEERS / "node" / "proxy.mjs")
    return ["node", script, str(stage.port), f"ws://127.0.0.1:{stage.upstream_port}", deflate]


_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


def _websockets(stage: Stage) -> list[str]:
    deflate = "1" if stage.workload.upstream_deflates else "0"
    kind = "binary" if stage.workload.binary else "text"
    script = str(_PEERS / "python" / "proxy.py")
    return [str(_PYTHON), script, str(stage.port), f"ws://127.0.0.1:{stage.upstream_port}", deflate, kind]


_MITMDUMP = ROOT / ".venv-mitmproxy" / "bin" / "mitmdump"


def _mitmproxy(stage: Stage) -> list[str]:
    command = [str(_MITMDUMP), "--quiet", "--mode", f"reverse:http://127.0.0.1:{stage.upstream_port}"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", str(stage.port), "--set", f"confdir={stage.folder}"]
    if not stage.workload.upstream_deflates:
        command += ["--scripts", str(_PEERS / "mitmproxy" / "deflate.py")]
    return command


def _filled(template: Path, stage: Stage, tls: str, certificates: str) -> Path:
    text = template.read_text()
    values = {
        "FOLDER": str(stage.folder),
        "FILES": str(stage.files),
        "CONNECTIONS": str(stage.files // 2 - 100),
        "PORT": str(stage.port),
        "UPSTREAM": f"127.0.0.1:{stage.upstream_port}",
        "TLS": tls if stage.workload.tls else "",
        "CERTIFICATES": certificates if stage.workload.tls else "",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path = stage.folder / template.stem
    path.write_text(text)
    return path


def _nginx(stage: Stage) -> list[str]:
    certificates = f"ssl_certificate {stage.cert}; ssl_certificate_key {stage.key};"
    config = _filled(_PEERS / "nginx" / "nginx.conf.in", stage, "ssl", certificates)
    return [_found("nginx"), "-p", str(stage.folder), "-c", str(config)]


def _haproxy(stage: Stage) -> list[str]:
    both = stage.folder / "both.pem"
    both.write_text(stage.cert.read_text() + stage.key.read_text())
    config = _filled(_PEERS / "haproxy" / "haproxy.cfg.in", stage, f"ssl crt {both}", "")
    return [_found("haproxy"), "-f", str(config)]


def _apt(*packages: str) -> str:
    return "apt-get install " + " ".join(packages)


_NO_TAKEOVER = "[routes.compression.client]\nserver_no_context_takeover = true"

# Where a fourth and a fifth peer would say nothing new, they would only make a run longer.
_SLOWER_PEERS = frozenset({"feed", "passthrough", "sparse", "latency", "echo", "handshakes", "idle"})
_SECOND_TUNNEL = frozenset({"feed", "tls", "handshakes", "idle"})

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant("wsproxy", (), _wsproxy("")),
    Contestant(
        "wsproxy, zlib",
        (),
        _wsproxy('[routes.compression.client]\nengine = "zlib"'),
        tls=False,
        groups=frozenset({"feed", "sparse"}),
    ),
    Contestant(
        "wsproxy, no takeover", (), _wsproxy(_NO_TAKEOVER), tls=False, groups=frozenset({"broadcast", "sparse"})
    ),
    Contestant(
        "wsproxy, no cache",
        (),
        _wsproxy(f"[routes.compression]\ncache_bytes = 0\n{_NO_TAKEOVER}"),
        tls=False,
        groups=frozenset({"broadcast"}),
    ),
    Contestant(
        "wsproxy, blind",
        (),
        _wsproxy('[routes.compression]\nmode = "passthrough"\nverify = false'),
        tls=False,
        groups=frozenset({"passthrough"}),
    ),
    Contestant(
        "Go gorilla",
        (
            ("go", _apt("golang-go")),
            (
                str(_GO_LIBRARIES / "src/github.com/gorilla/websocket"),
                _apt("golang-github-gorilla-websocket-dev"),
            ),
        ),
        _go,
        build=_build_go,
    ),
    Contestant(
        "Node ws",
        (
            ("node", _apt("nodejs", "npm")),
            (str(_PEERS / "node" / "node_modules" / "ws"), "npm ci in benchmarks/peers/node"),
        ),
        _node,
        tls=False,
        groups=_SLOWER_PEERS,
    ),
    Contestant(
        "Python websockets",
        ((str(_PYTHON), "a virtual environment .venv-bench with benchmarks/peers/python/requirements.txt"),),
        _websockets,
        tls=False,
        groups=_SLOWER_PEERS,
    ),
    Contestant(
        "mitmproxy",
        ((str(_MITMDUMP), "a virtual environment .venv-mitmproxy with benchmarks/peers/mitmproxy/requirements.txt"),),
        _mitmproxy,
        tls=False,
        # Only where no client sends: see its addon.
        groups=frozenset({"feed"}),
    ),
    Contestant("nginx tunnel", (("nginx", _apt("nginx-light")),), _nginx, deflates=False, groups=_SECOND_TUNNEL),
    Contestant("HAProxy tunnel", (("haproxy", _apt("haproxy")),), _haproxy, deflates=False),
)
