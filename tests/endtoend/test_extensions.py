"""Extensions of packages that wsproxy does not know: one is installed for real, by itself and beside others."""

import bz2
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.endtoend import peers
from tests.endtoend.conversations import content, text
from tests.endtoend.packages import ROOT, knowing, proxy_with, registered
from tests.endtoend.proxy import BASE, Proxy, route, started
from tests.endtoend.wire import BINARY, Frame, RawUpstream, frame_bytes, tunnel
from tests.extensions.theirs import ClientRot, ServerRot

EXAMPLE = ROOT / "tests" / "extensions" / "example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip installed the example package, as for anyone: built from its own pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def rotating_upstream() -> Iterator[str]:
    """An echo that accepts x-rot; its URL."""

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    server = serve(echo, "127.0.0.1", 0, compression=None, extensions=[ServerRot()], max_size=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(10)


def rotating_client(url: str, by: int, *more: ClientPerMessageDeflateFactory) -> ClientConnection:
    offers = [*more, ClientRot(by)]
    return connect(url, compression=None, extensions=offers, proxy=None, max_size=None, ping_interval=None)


def echo_all(client: ClientConnection) -> str:
    """Converse; the agreement."""
    with client:
        for size in (0, 1, 125, 126, 5_000, 65_536, 300_000):
            for message in (text(size), content(size)):
                client.send(message)
                assert client.recv() == message or not f"the echo of {size} bytes differs"
        client.send(iter(["in ", "", "fragments"]))
        assert client.recv() == "in fragments"
        return peers.agreement(client)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_example_to_clients(installed: Path, plain_upstream: peers.Upstream, workers: int) -> None:
    lines = route("rot", plain_upstream.url, 'extensions.client = [{ name = "x-rot" }]')
    with proxy_with(installed, lines, base=f"workers = {workers}\n{BASE}") as proxy:
        assert echo_all(rotating_client(proxy.url("/rot"), 77)) == "x-rot; by=77"
        assert echo_all(rotating_client(proxy.url("/rot"), 3, peers.CHROME)).startswith("permessage-deflate")
        proxy.settled()
        labels = {"route": "rot", "leg": "client", "extension": "x-rot"}
        assert proxy.metric("wsproxy_extension_events_total", event="rotated", **labels) == 30
        assert proxy.metric("wsproxy_extension_events_total", event="fault", **labels) == 0
        assert proxy.metric("wsproxy_agreements_total", leg="client", extension="x-rot") == 1
        assert proxy.metric("wsproxy_agreements_total", leg="client", extension="permessage-deflate+x-rot") == 1
        assert any("x-rot;by:77" in line for line in proxy.lines)


@pytest.mark.parametrize(
    "by, plan", [(13, "pass"), (14, "recode")], ids=["the same number on both legs", "another number on each leg"]
)
def test_the_example_on_both_legs(installed: Path, by: int, plan: str) -> None:
    both = ('extensions.client = [{ name = "x-rot" }]', 'extensions.upstream = [{ name = "x-rot" }]')
    with rotating_upstream() as url, proxy_with(installed, route("rot", url, *both)) as proxy:
        assert echo_all(rotating_client(proxy.url("/rot"), by)) == f"x-rot; by={by}"
        proxy.settled()
        assert proxy.metric("wsproxy_plans_total", plan=plan) == 2


def test_the_example_to_an_upstream_behind_what_browsers_speak(installed: Path) -> None:
    lines = 'extensions.upstream = [{ name = "x-rot", by = 200 }]'
    with rotating_upstream() as url, proxy_with(installed, route("rot", url, lines)) as proxy:
        with peers.client(proxy.url("/rot"), deflate=peers.CHROME) as client:
            client.send("hello")
            assert client.recv() == "hello"
        proxy.settled()
        assert proxy.metric("wsproxy_agreements_total", leg="upstream", extension="x-rot") == 1


def test_the_guide_lets_two_proxies_speak_to_each_other(
    installed: Path, plain_upstream: peers.Upstream, tmp_path: Path
) -> None:
    """Its two configurations as they are written, but for addresses."""
    page = (ROOT / "docs" / "extensions.md").read_text()
    written = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    near, far = (next(text for text in written if f'name = "{name}"\nupstream' in text) for name in ("near", "far"))

    def running(name: str, text: str, bind: str, endpoint: str, url: str) -> Proxy:
        for old, new in ((bind, "127.0.0.1:0"), (endpoint, url.removeprefix("ws://"))):
            assert text.count(f'{old}"') == 1
            text = text.replace(f'{old}"', f'{new}"')
        (tmp_path / name).write_text(text)
        return stack.enter_context(started([str(tmp_path / name), "--metrics", "127.0.0.1:0"], knowing(installed)))

    with ExitStack() as stack:
        behind = running("far.toml", far, "127.0.0.1:8081", "127.0.0.1:9000", plain_upstream.url)
        before = running("near.toml", near, "127.0.0.1:8080", "127.0.0.1:8081", behind.url(""))
        with peers.client(before.url("/any"), deflate=None) as client:
            client.send("there and back")
            assert client.recv() == "there and back"
        for proxy, leg in ((before, "upstream"), (behind, "client")):
            proxy.settled()
            assert proxy.metric("wsproxy_agreements_total", leg=leg, extension="x-rot") == 1
            assert proxy.metric("wsproxy_extension_events_total", leg=leg, event="rotated") == 1


def command(folder: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wsproxy", *arguments], capture_output=True, text=True, check=False, env=knowing(folder)
    )


def test_its_settings_are_checked_as_all_others(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    table = "[[routes.extensions.client]]\n"
    file.write_text(
        route("rot", "ws://127.0.0.1:9").replace(
            "[upstreams", f'{table}name = "x-rott"\n{table}name = "x-rot"\nby = 256\nbuy = 1\n[upstreams'
        )
    )
    done = command(installed, "check", str(file))
    assert done.returncode == 2
    told = [line.partition(": ")[2] for line in done.stdout.splitlines() + done.stderr.splitlines()]
    assert told == [
        "routes[0].extensions.client[0].name: there is no extension 'x-rott' (did you mean 'x-rot'?)",
        "routes[0].extensions.client[1].buy: unknown key (did you mean 'by'?)",
        "routes[0].extensions.client[1].by: must be from 1 to 255, not 256",
    ]


def test_the_schema_knows_what_is_installed(installed: Path) -> None:
    done = command(installed, "schema")
    names = [each["properties"]["name"]["const"] for each in json.loads(done.stdout)["$defs"]["extension"]["anyOf"]]
    assert {"permessage-deflate", "permessage-bzip2", "x-rot"} <= set(names)
    assert done.stderr == ""


def test_the_schema_says_what_it_has_to_leave_out(installed: Path, tmp_path: Path) -> None:
    registered(tmp_path, "x-gone = no_such_module_anywhere:DEFINITION", "permessage-bzip2 = wsproxy_rot:DEFINITION")
    done = command(f"{tmp_path}:{installed}", "schema")
    names = [each["properties"]["name"]["const"] for each in json.loads(done.stdout)["$defs"]["extension"]["anyOf"]]
    assert "x-rot" in names and "x-gone" not in names
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "wsproxy: not in this schema: wsproxy_rot:DEFINITION is not looked at: permessage-bzip2 is built in",
        "wsproxy: not in this schema: the extension 'x-gone' cannot be used: no_such_module_anywhere:DEFINITION "
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    ]


def test_a_package_whose_entry_points_are_none_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    """Whichever package that is: Python reads the lists of all of them."""
    registered(tmp_path / "site", "this line is no pair")
    file = tmp_path / "some.toml"
    file.write_text(route("rot", "ws://127.0.0.1:9", 'extensions.client = [{ name = "x-rot" }]'))
    done = command(tmp_path / "site", "check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "client[0].name: the entry points of what is installed cannot be read: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = command(tmp_path / "site", "schema")
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert "permessage-bzip2" in done.stdout


@pytest.mark.parametrize("lines", ["", "limits.max_expansion = 1000000"], ids=["by expansion", "by size"])
@pytest.mark.parametrize(
    "agreed", ["permessage-bzip2", "permessage-bzip2, x-rot; by=7", "x-rot; by=7, permessage-bzip2"]
)
def test_a_bomb_costs_what_is_allowed(installed: Path, bare: RawUpstream, agreed: str, lines: str) -> None:
    """60 MB of the same byte in a hundred bytes, of which 16 MiB are allowed at most: alone, and through a chain."""
    names = [item.partition(";")[0] for item in agreed.split(", ")]
    packer = bz2.BZ2Compressor(9)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(60)) + packer.flush()
    assert len(bomb) < 1_000
    if names[-1] == "x-rot":
        bomb = bytes((byte + 7) % 256 for byte in bomb)
    coded = bytearray(frame_bytes(Frame(BINARY, bomb, rsv1=True), masked=True))
    coded[0] |= 0x20 if "x-rot" in names else 0
    tables = ", ".join(f'{{ name = "{name}" }}' for name in names)
    settings = f"extensions.client = [{tables}]", "compression.client.enabled = false", lines
    with (
        proxy_with(installed, route("bz", bare.url, *settings)) as proxy,
        tunnel(proxy.address, bare, "/bz", offer=agreed) as ends,
    ):
        assert ends.answer.get("sec-websocket-extensions") == agreed
        ends.client.sock.sendall(coded)
        # The upstream first: what it does not take is not decompressed.
        assert ends.upstream.until_close()[0] == 1009
        assert ends.client.until_close()[0] == 1009
        # A block of 900 KB and its decompressor are some 5 MB; the rest is what goes out meanwhile.
        assert proxy.peak_rss() - proxy.rss_at_start < 24 * 1024 * 1024
