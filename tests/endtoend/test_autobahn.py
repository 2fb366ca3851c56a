"""permessage-bzip2 through the proxy, with autobahn-python at the one end, at the other, and at both."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import converse
from tests.endtoend.proxy import Proxy, environment, route, wait_for
from tests.endtoend.wire import knock

ROOT = Path(__file__).parents[2]
PEERS = [sys.executable, "-W", "ignore", "-m", "tests.endtoend.autobahn_peers"]
TO_CLIENT = 'extensions.client = [{ name = "permessage-bzip2" }]'
TO_UPSTREAM = 'extensions.upstream = [{ name = "permessage-bzip2" }]'


@contextlib.contextmanager
def upstream(level: int = 0, client_level: int = 0) -> Iterator[str]:
    """The URL of autobahn's echo."""
    command = [*PEERS, "upstream", str(level), str(client_level)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def client(url: str, server_level: int = 0, level: int = 0) -> str:
    """Converse; what autobahn's client says of it."""
    command = [*PEERS, "client", url, str(server_level), str(level)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closed_line(proxy: Proxy) -> str:
    """The access-log line of the only tunnel."""
    wait_for("the line of a closed tunnel", lambda: any(" closed " in line for line in proxy.lines))
    return next(line for line in proxy.lines if " closed " in line)


def plans(proxy: Proxy, name: str) -> tuple[str, str]:
    """To the upstream and to the client."""
    found = ["", ""]
    for number, direction in enumerate(("to_upstream", "to_client")):
        for plan in ("plain", "deflate", "inflate", "recode", "pass"):
            if proxy.metric("wsproxy_plans_total", route=name, direction=direction, plan=plan):
                found[number] += plan
    return found[0], found[1]


@pytest.mark.parametrize("server_level, level, most", [(0, 0, 9), (1, 9, 9), (5, 2, 3)])
def test_autobahn_as_client(
    start_proxy: StartProxy, plain_upstream: peers.Upstream, server_level: int, level: int, most: int
) -> None:
    settings = f'extensions.client = [{{ name = "permessage-bzip2", max_level = {most}, level = 7 }}]'
    proxy = start_proxy(route("bz", plain_upstream.url, settings))
    said = client(proxy.url("/bz"), server_level, min(level, most))
    assert "PerMessageBzip2(" in said
    proxy.settled()
    assert plans(proxy, "bz") == ("inflate", "deflate")
    assert proxy.metric("wsproxy_agreements_total", leg="client", extension="permessage-bzip2") == 1
    closed = closed_line(proxy)
    agreed = f"permessage-bzip2;server:{server_level or 9};client:{most}"
    assert f"client_agreement={agreed}" in closed or f'client_agreement="{agreed}"' in closed


@pytest.mark.parametrize("level, client_level", [(0, 0), (3, 4)])
def test_autobahn_as_upstream(start_proxy: StartProxy, level: int, client_level: int) -> None:
    with upstream(level, client_level) as url:
        proxy = start_proxy(route("bz", url, TO_UPSTREAM))
        assert converse(proxy.url("/bz"), peers.CHROME).startswith("permessage-deflate")
        proxy.settled()
        assert plans(proxy, "bz") == ("recode", "recode")
        closed = closed_line(proxy)
        assert f"permessage-bzip2;server:9;client:{client_level or 9}" in closed


@pytest.mark.parametrize("mode, plan", [("auto", "pass"), ("recompress", "recode")])
def test_autobahn_as_both(start_proxy: StartProxy, mode: str, plan: str) -> None:
    with upstream() as url:
        proxy = start_proxy(route("bz", url, f'compression.mode = "{mode}"', TO_CLIENT, TO_UPSTREAM))
        client(proxy.url("/bz"))
        proxy.settled()
        assert plans(proxy, "bz") == (plan, plan)


def test_autobahn_as_upstream_keeps_to_the_level_that_it_was_asked_for(start_proxy: StartProxy) -> None:
    with upstream() as url:
        limited = 'extensions.upstream = [{ name = "permessage-bzip2", max_level = 2 }]'
        proxy = start_proxy(route("bz", url, limited))
        converse(proxy.url("/bz"), None, sizes=(10_000,))
        proxy.settled()
        assert "permessage-bzip2;server:2;client:9" in closed_line(proxy)


def test_what_the_client_prefers_is_what_we_prefer(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    """permessage-deflate comes first unless it has a place; both claim RSV1, and only one can be agreed on."""
    for settings, agreed in (
        (TO_CLIENT, "permessage-deflate"),
        (
            'extensions.client = [{ name = "permessage-bzip2" }, { name = "permessage-deflate" }]',
            "permessage-bzip2",
        ),
        ("compression.client.enabled = false\n" + TO_CLIENT, "permessage-bzip2"),
    ):
        proxy = start_proxy(route("bz", plain_upstream.url, settings))
        told = knock(proxy.address, "/bz", "permessage-bzip2, permessage-deflate").head()
        assert (told.status, told.get("sec-websocket-extensions")) == (101, agreed)
