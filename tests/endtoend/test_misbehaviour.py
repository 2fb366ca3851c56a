"""Extensions, an engine and upstreams that do not keep to what was agreed on, through the real proxy."""

import re
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.packages import proxy_with, registered
from tests.endtoend.proxy import Proxy, configured, route, wait_for
from tests.endtoend.wire import BINARY, Frame, RawUpstream, frame_bytes, knock, tunnel

SOON = "timeouts.close_seconds = 1"
"""The ends of these tests keep their connections open after their close frames: then a tunnel ends by its deadline."""

BOTH = 'extensions.upstream = [{ name = "permessage-bzip2" }]', "compression.upstream.enabled = true"
"""An upstream is offered both built-in extensions, which claim the same bit."""


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A folder in which `tests.extensions.faulty` is installed."""
    return registered(tmp_path / "site", "x-faulty = tests.extensions.faulty:DEFINITION")


def failed(proxy: Proxy) -> list[str]:
    return [line for line in proxy.lines if "extension failed" in line]


def faults(proxy: Proxy) -> float:
    return proxy.metric("wsproxy_extension_events_total", extension="x-faulty", event="fault")


@pytest.mark.parametrize(
    "how",
    [
        "read raises",
        "read exits",
        "read panics",
        "read blames without a code",
        "read gives too much",
        "read gives nothing for ever",
        "encode raises",
        "encode exits",
    ],
)
def test_a_fault_ends_that_tunnel_with_1011_on_both_sides_and_nothing_else(
    faulty: Path, bare: RawUpstream, plain_upstream: peers.Upstream, how: str
) -> None:
    bad = f'extensions.client = [{{ name = "x-faulty", how = "{how}" }}]'
    routes = route("bad", bare.url, "compression.client.enabled = false", bad, SOON), route("good", plain_upstream.url)
    with proxy_with(faulty, *routes) as proxy, peers.client(proxy.url("/good"), deflate=peers.CHROME) as bystander:
        bystander.send("before")
        assert bystander.recv() == "before"
        with tunnel(proxy.address, bare, "/bad", offer="x-faulty") as ends:
            assert ends.answer.get("sec-websocket-extensions") == "x-faulty"
            if how.startswith("encode"):
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


BREAKING = '''"""isal as nobody hopes it to be: it fails at one message."""

import zlib
from zlib import *

error = zlib.error


class compressobj:
    def __init__(self, *how):
        self._stream = zlib.compressobj(*how)

    def compress(self, data):
        if b"break now" in bytes(data):
            raise error("broken, as it was told to")
        return self._stream.compress(data)

    def flush(self, mode):
        return self._stream.flush(mode)
'''


def test_an_engine_that_fails_is_a_fault_of_permessage_deflate(
    tmp_path: Path, bare: RawUpstream, plain_upstream: peers.Upstream
) -> None:
    """On a leg that agreed on nothing else, and so has no chain: the same close, line and counter."""
    (tmp_path / "isal").mkdir()
    (tmp_path / "isal" / "__init__.py").write_text("")
    (tmp_path / "isal" / "isal_zlib.py").write_text(BREAKING)
    routes = route("bad", bare.url, 'compression.client.engine = "isal"', SOON), route("good", plain_upstream.url)
    with proxy_with(tmp_path, *routes) as proxy, peers.client(proxy.url("/good"), deflate=peers.CHROME) as bystander:
        with tunnel(proxy.address, bare, "/bad", offer="permessage-deflate") as ends:
            ends.upstream.text("before")
            assert ends.client.frame().rsv1
            ends.upstream.text("break now")
            for end in (ends.client, ends.upstream):
                assert end.closed_with() == (1011, "extension permessage-deflate failed")
                end.close(1011)
            wait_for("the line of the fault", lambda: bool(failed(proxy)))
        bystander.send("after")
        assert bystander.recv() == "after"
        (line,) = failed(proxy)
        assert "route=bad leg=client extension=permessage-deflate operation=encode" in line
        assert "broken, as it was told to" in line
        labels = {"route": "bad", "leg": "client", "extension": "permessage-deflate"}
        assert proxy.metric("wsproxy_extension_events_total", event="fault", **labels) == 1


@pytest.mark.parametrize(
    "how", ["accept raises", "accept exits", "accept is another's", "accept is no token", "accept gives no pair"]
)
def test_one_that_fails_when_a_client_asks_is_left_out(faulty: Path, plain_upstream: peers.Upstream, how: str) -> None:
    bad = f'extensions.client = [{{ name = "x-faulty", how = "{how}" }}]'
    with proxy_with(faulty, route("bad", plain_upstream.url, bad)) as proxy:
        told = knock(proxy.address, "/bad", "x-faulty, permessage-deflate").head()
        assert (told.status, told.get("sec-websocket-extensions")) == (101, "permessage-deflate")
        wait_for("the line of the fault", lambda: bool(failed(proxy)))
        assert "operation=accept" in failed(proxy)[0]
        assert faults(proxy) == 1


@pytest.mark.parametrize(
    "how", ["offer raises", "offer exits", "offer is another's", "offer is too long", "offer never ends"]
)
def test_one_that_fails_to_offer_is_not_offered(faulty: Path, bare: RawUpstream, how: str) -> None:
    bad = f'extensions.upstream = [{{ name = "x-faulty", how = "{how}" }}, {{ name = "permessage-bzip2" }}]'
    with proxy_with(faulty, route("bad", bare.url, bad)) as proxy:
        with tunnel(proxy.address, bare, "/bad") as ends:
            assert ends.request.get("sec-websocket-extensions") == "permessage-bzip2; client_max_compress_level"
        assert faults(proxy) == 1
        assert len(failed(proxy)) == 1


@pytest.mark.parametrize("how", ["confirm raises", "confirm exits"])
def test_one_that_fails_when_the_upstream_has_accepted_is_a_500(faulty: Path, bare: RawUpstream, how: str) -> None:
    bad = f'extensions.upstream = [{{ name = "x-faulty", how = "{how}" }}]'
    with proxy_with(faulty, route("bad", bare.url, bad)) as proxy:
        client = knock(proxy.address, "/bad")
        bare.accept("x-faulty")
        assert client.head().status == 500
        assert faults(proxy) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-bzip2, permessage-deflate; server_max_window_bits=12",
        "permessage-deflate; server_max_window_bits=12, permessage-bzip2",
    ],
)
def test_an_upstream_that_accepts_two_that_claim_the_same_bit_is_a_502(bare: RawUpstream, answer: str) -> None:
    """Each of the two alone is what was offered, and would do."""
    with configured(route("bz", bare.url, *BOTH)) as proxy:
        for alone in answer.split(", "):
            client = knock(proxy.address, "/bz")
            bare.accept(alone)
            assert client.head().status == 101
        client = knock(proxy.address, "/bz")
        upstream, _ = bare.accept(answer)
        assert client.head().status == 502
        assert upstream.at_end()
        wait_for("the line of the refusal", lambda: any("beside another one" in line for line in proxy.lines))


@pytest.mark.parametrize(
    "answer",
    [
        "x-other",
        "permessage-bzip2, permessage-bzip2",
        "permessage-bzip2; server_max_compress_level=3; level=3",
        "permessage-bzip2; server_max_compress_level=0",
    ],
)
def test_an_answer_that_is_not_legal_is_a_502(bare: RawUpstream, answer: str) -> None:
    with configured(route("bz", bare.url, *BOTH)) as proxy:
        client = knock(proxy.address, "/bz")
        _, asked = bare.accept(answer)
        offered = asked.get("sec-websocket-extensions") or ""
        assert offered.startswith("permessage-deflate;") and offered.endswith(
            ", permessage-bzip2; client_max_compress_level"
        )
        assert client.head().status == 502
