"""Extensions of packages that wsproxy does not know: one is installed for real, and one misbehaves."""

import bz2
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.endtoend import peers
from tests.endtoend.conversations import content, text
from tests.endtoend.proxy import BASE, Proxy, configured, environment, route, wait_for
from tests.endtoend.wire import BINARY, Frame, RawUpstream, frame_bytes, knock, tunnel
from tests.extensions.theirs import ClientRot, ServerRot

ROOT = Path(__file__).parents[2]
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
def proxy_with(folder: Path, *parts: str, base: str = BASE) -> Iterator[Proxy]:
    """A proxy for which the packages in ``folder`` are installed."""
    with configured(*parts, base=base, env=environment(PYTHONPATH=f"{folder}:{ROOT}")) as proxy:
        yield proxy


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


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=f"{folder}:{ROOT}")
    return subprocess.run(
        [sys.executable, "-m", "wsproxy", *arguments], capture_output=True, text=True, check=False, env=env
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
    found = json.loads(command(installed, "schema").stdout)
    client = found["properties"]["routes"]["items"]["properties"]["extensions"]["properties"]["client"]
    names = [each["properties"]["name"]["const"] for each in client["items"]["anyOf"]]
    assert {"permessage-deflate", "permessage-bzip2", "x-rot"} <= set(names)


@pytest.mark.parametrize("lines", ["", "limits.max_expansion = 1000000"], ids=["by expansion", "by size"])
def test_a_bomb_of_bzip2_costs_what_is_allowed(bare: RawUpstream, lines: str) -> None:
    """60 MB of zeros in a hundred bytes, of which 16 MiB are allowed at most."""
    packer = bz2.BZ2Compressor(9)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(60)) + packer.flush()
    assert len(bomb) < 1_000
    settings = 'extensions.client = [{ name = "permessage-bzip2" }]', "compression.client.enabled = false", lines
    with (
        configured(route("bz", bare.url, *settings)) as proxy,
        tunnel(proxy.address, bare, "/bz", offer="permessage-bzip2") as ends,
    ):
        ends.client.send(Frame(BINARY, bomb, rsv1=True))
        # The upstream first: what it does not take is not decompressed.
        assert ends.upstream.until_close()[0] == 1009
        assert ends.client.until_close()[0] == 1009
        # A block of 900 KB and its decompressor are some 5 MB; the rest is what goes out meanwhile.
        assert proxy.peak_rss() - proxy.rss_at_start < 24 * 1024 * 1024


# --- misbehaviour


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A folder in which `tests.extensions.faulty` is installed, as pip writes it down."""
    info = tmp_path / "site" / "wsproxy_faulty-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wsproxy-faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[wsproxy.extensions]\nx-faulty = tests.extensions.faulty:DEFINITION\n")
    return tmp_path / "site"


def failed(proxy: Proxy) -> list[str]:
    return [line for line in proxy.lines if "extension failed" in line]


def faults(proxy: Proxy) -> float:
    return proxy.metric("wsproxy_extension_events_total", extension="x-faulty", event="fault")


@pytest.mark.parametrize("how", ["read raises", "read gives too much", "read gives nothing for ever", "encode raises"])
def test_a_fault_ends_that_tunnel_with_1011_on_both_sides_and_nothing_else(
    faulty: Path, bare: RawUpstream, plain_upstream: peers.Upstream, how: str
) -> None:
    bad = f'extensions.client = [{{ name = "x-faulty", how = "{how}" }}]'
    routes = route("bad", bare.url, "compression.client.enabled = false", bad), route("good", plain_upstream.url)
    with proxy_with(faulty, *routes) as proxy, peers.client(proxy.url("/good"), deflate=peers.CHROME) as bystander:
        bystander.send("before")
        assert bystander.recv() == "before"
        with tunnel(proxy.address, bare, "/bad", offer="x-faulty") as ends:
            assert ends.answer.get("sec-websocket-extensions") == "x-faulty"
            if how == "encode raises":
                ends.upstream.send(Frame(BINARY, b"something"))
            else:
                coded = bytearray(frame_bytes(Frame(BINARY, b"something"), masked=True))
                coded[0] |= 0x10
                ends.client.sock.sendall(coded)
            assert ends.client.closed_with() == (1011, "extension x-faulty failed")
            assert ends.upstream.closed_with() == (1011, "extension x-faulty failed")
            ends.upstream.close(1011)
            ends.client.close(1011)
            wait_for("the line of the fault", lambda: bool(failed(proxy)))
        bystander.send("after")
        assert bystander.recv() == "after"
        (line,) = failed(proxy)
        assert re.search(r"error .*route=bad leg=client extension=x-faulty operation=(de|en)code detail=", line)
        assert faults(proxy) == 1
        assert proxy.metric("wsproxy_closes_total", route="bad", initiator="proxy", code="1011") == 1
        assert proxy.metric("wsproxy_tunnels_active", route="good") == 1


@pytest.mark.parametrize("how", ["accept raises", "accept is another's", "accept is no token"])
def test_one_that_fails_when_a_client_asks_is_left_out(faulty: Path, plain_upstream: peers.Upstream, how: str) -> None:
    bad = f'extensions.client = [{{ name = "x-faulty", how = "{how}" }}]'
    with proxy_with(faulty, route("bad", plain_upstream.url, bad)) as proxy:
        told = knock(proxy.address, "/bad", "x-faulty, permessage-deflate").head()
        assert (told.status, told.get("sec-websocket-extensions")) == (101, "permessage-deflate")
        wait_for("the line of the fault", lambda: bool(failed(proxy)))
        assert "operation=accept" in failed(proxy)[0]
        assert faults(proxy) == 1


@pytest.mark.parametrize("how", ["offer raises", "offer is another's"])
def test_one_that_fails_to_offer_is_not_offered(faulty: Path, bare: RawUpstream, how: str) -> None:
    bad = f'extensions.upstream = [{{ name = "x-faulty", how = "{how}" }}, {{ name = "permessage-bzip2" }}]'
    with proxy_with(faulty, route("bad", bare.url, bad)) as proxy:
        with tunnel(proxy.address, bare, "/bad") as ends:
            assert ends.request.get("sec-websocket-extensions") == "permessage-bzip2; client_max_compress_level"
        assert faults(proxy) == 1
        assert len(failed(proxy)) == 1


def test_one_that_fails_when_the_upstream_has_accepted_is_a_500(faulty: Path, bare: RawUpstream) -> None:
    bad = 'extensions.upstream = [{ name = "x-faulty", how = "confirm raises" }]'
    with proxy_with(faulty, route("bad", bare.url, bad)) as proxy:
        client = knock(proxy.address, "/bad")
        bare.accept("x-faulty")
        assert client.head().status == 500
        assert faults(proxy) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "x-other",
        "permessage-bzip2, permessage-bzip2",
        "permessage-bzip2, permessage-deflate",
        "permessage-bzip2; server_max_compress_level=0",
    ],
)
def test_an_answer_that_is_not_legal_is_a_502(bare: RawUpstream, answer: str) -> None:
    lines = 'extensions.upstream = [{ name = "permessage-bzip2" }]', "compression.upstream.enabled = true"
    with configured(route("bz", bare.url, *lines)) as proxy:
        client = knock(proxy.address, "/bz")
        _, asked = bare.accept(answer)
        offered = asked.get("sec-websocket-extensions") or ""
        assert offered.startswith("permessage-deflate;") and offered.endswith(
            ", permessage-bzip2; client_max_compress_level"
        )
        assert client.head().status == 502
