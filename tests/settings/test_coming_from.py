"""docs/coming-from.md, row by row: the option is there in the other program, its line works here and does the same."""

import inspect
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.extensions import permessage_deflate as websockets_deflate
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

from tests.endtoend.conftest import node as node  # the fixture
from tests.endtoend.node_peers import NODE_FOLDER, NodePeers
from wsproxy.extensions.deflate import Encoder
from wsproxy.extensions.engines import choose
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.inflate import Decoder
from wsproxy.extensions.permessage_deflate import Agreement, Window, accept, offer
from wsproxy.gateway.routing import Router, Wanted
from wsproxy.protocol.flow import STEP
from wsproxy.settings.load import load
from wsproxy.settings.tree import LegCompression, Settings

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
Row = tuple[str, str, str]
"""Which table, the option, and what is written here for it."""


def rows() -> list[Row]:
    found: list[Row] = []
    section = caption = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            section = caption = line.removeprefix("## ")
        elif line.startswith("`") and line.endswith(":"):
            caption = f"{section}, {re.findall('`([^`]+)`', line)[0]}"
        elif line.startswith("| `"):
            option, here, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))
            found.append((caption, option.strip("`"), "\n".join(re.findall("`([^`]+)`", here))))
    return found


SERVE = "Python: websockets, compression="
SERVER = "Python: websockets, ServerPerMessageDeflateFactory"
CLIENT = "Python: websockets, ClientPerMessageDeflateFactory"
WS = "Node: ws, perMessageDeflate"
NGINX = "nginx: nginx-ws-compress"
PUSHPIN = "Pushpin"

UPSTREAMS = '[upstreams.b]\nendpoints = ["ws://c"]\n'
CHROME = "permessage-deflate; client_max_window_bits"
FULL = "permessage-deflate; server_max_window_bits=15; client_max_window_bits"


def settings(side: str, lines: str) -> Settings:
    enabled = "enabled = true\n" if side == "upstream" else ""
    return load(
        f'{UPSTREAMS}[[routes]]\nname = "a"\nupstream = "b"\n[routes.compression.{side}]\n{enabled}{lines}\n', {}
    )


def to_clients(lines: str) -> LegCompression:
    return settings("client", lines).routes[0].compression.client


def to_upstreams(lines: str) -> LegCompression:
    return settings("upstream", lines).routes[0].compression.upstream


def answer(leg: LegCompression, offered: str) -> tuple[Agreement, str]:
    settled = accept(parse_extensions([offered.encode()]), leg.policy)
    assert leg.enabled and settled is not None
    return settled[0], format_extension(settled[1]).decode()


def theirs(factory: ServerPerMessageDeflateFactory, offered: str) -> str:
    """What `websockets` answers."""
    (item,) = parse_extensions([offered.encode()])
    parameters, _ = factory.process_request_params(list(item.parameters), [])
    return format_extension(ExtensionItem("permessage-deflate", tuple(parameters))).decode()


def same_parameters(one: str, other: str) -> bool:
    return set(one.split("; ")) == set(other.split("; "))


def compressed(leg: LegCompression, payload: bytes) -> bytes:
    window = Window(leg.server_max_window_bits, True)
    return Encoder(choose(leg.engine, window.bits), window, leg.deflate_options).message(payload)


def zlib_s(payload: bytes, **how: int) -> bytes:
    """What zlib makes of it with these settings, which are what websockets, ws and nginx pass on to it.

    Compared byte by byte with what the engine zlib makes, which is this very library in this very process.
    """
    stream = zlib.compressobj(
        how.get("level", -1), zlib.DEFLATED, -12, how.get("memLevel", 5), how.get("strategy", zlib.Z_DEFAULT_STRATEGY)
    )
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


JSON = b"".join(b'{"id": %d, "price": %d.%d, "name": "n%d"}' % (i, i * i % 997, i % 7, i % 13) for i in range(400))


def serve_on(here: str) -> None:
    leg = to_clients(here)
    assert leg.enabled and to_clients("") == leg
    default = ServerPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12)
    assert same_parameters(answer(leg, FULL)[1], theirs(default, FULL))
    assert leg.mem_level == 5
    (made,) = websockets_deflate.enable_server_permessage_deflate(None)
    assert isinstance(made, ServerPerMessageDeflateFactory)
    assert (made.server_max_window_bits, made.client_max_window_bits) == (12, 12)
    assert made.compress_settings == {"memLevel": 5}


def serve_off(here: str) -> None:
    assert not to_clients(here).enabled
    assert not settings("client", "").routes[0].compression.upstream.enabled


def server_takeover(here: str) -> None:
    factory = ServerPerMessageDeflateFactory(True, server_max_window_bits=12, client_max_window_bits=12)
    agreement, said = answer(to_clients(here), FULL)
    assert same_parameters(said, theirs(factory, FULL))
    assert (agreement.server.takeover, agreement.client.takeover) == (False, True)


def client_takeover(here: str) -> None:
    factory = ServerPerMessageDeflateFactory(False, True, 12, 12)
    agreement, said = answer(to_clients(here), FULL)
    assert same_parameters(said, theirs(factory, FULL))
    assert (agreement.server.takeover, agreement.client.takeover) == (True, False)


def server_bits(here: str) -> None:
    agreement, said = answer(to_clients(here), FULL)
    assert same_parameters(said, theirs(ServerPerMessageDeflateFactory(False, False, 10, 12), FULL))
    assert agreement.server.bits == 10
    agreement, said = answer(to_clients(here), CHROME)
    assert agreement.server.bits == 10 and "server_max_window_bits" not in said


def client_bits(here: str) -> None:
    agreement, said = answer(to_clients(here), FULL)
    assert same_parameters(said, theirs(ServerPerMessageDeflateFactory(False, False, 12, 10), FULL))
    assert agreement.client.bits == 10
    assert answer(to_clients(here), "permessage-deflate")[0].client.bits == 15


def compress_settings(here: str) -> None:
    expected = zlib_s(JSON, level=9, memLevel=8, strategy=zlib.Z_FILTERED)
    assert compressed(to_clients(here), JSON) == expected != zlib_s(JSON)


def client_compress_settings(here: str) -> None:
    assert to_upstreams(here).deflate_options == to_clients(here).deflate_options
    compress_settings(here)


def not_required(here: str) -> None:
    """A client that cannot be limited is welcome, and its window is what it says."""
    assert not here
    agreement, _ = answer(to_clients("client_max_window_bits = 10"), "permessage-deflate")
    assert agreement.client.bits == 15
    bounded = load(f'{UPSTREAMS}[limits]\ncodec_memory_bytes = 1000000\n[[routes]]\nname = "a"\nupstream = "b"\n', {})
    assert bounded.limits.codec_memory_bytes == 1_000_000


def offers(here: str, **how: object) -> None:
    """The offer to an upstream has what theirs has."""
    factory = ClientPerMessageDeflateFactory(**{"server_max_window_bits": 12, "client_max_window_bits": 12, **how})  # type: ignore[arg-type]
    expected = ExtensionItem("permessage-deflate", tuple(factory.get_request_params()))
    found = offer(to_upstreams(here).policy)
    assert same_parameters(format_extension(found).decode(), format_extension(expected).decode())


def inflates_in_steps(here: str) -> None:
    assert not here
    assert STEP == 64 * 1024
    stream = zlib.compressobj(wbits=-15)
    wire = (stream.compress(bytes(1_000_000)) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    decoder = Decoder(choose("zlib", 15), Window(15, True))
    assert len(decoder.start(wire, STEP)) == STEP
    assert decoder.pending


def comes_out_whole(here: str) -> None:
    """However large a message is, it is one call and one frame."""
    assert not here
    noise = b"".join(zlib.crc32(JSON[i:]).to_bytes(4, "big") for i in range(0, len(JSON), 2))
    assert len(compressed(to_clients(""), noise)) > 10_000


def at_once(here: str) -> None:
    assert not here
    assert settings("client", "").workers == 1
    assert load(f'workers = 4\n{UPSTREAMS}[[routes]]\nname = "a"\nupstream = "b"\n', {}).workers == 4


def threshold(here: str) -> None:
    leg = to_clients(here)
    for takeover in (True, False):
        assert Encoder(choose("auto", 12), Window(12, takeover), leg.deflate_options).threshold == 1024
    assert Encoder(choose("auto", 12), Window(12, True), to_clients("").deflate_options).threshold == 0


def level(expected: int) -> Callable[[str], None]:
    def check(here: str) -> None:
        assert compressed(to_clients(here), JSON) == zlib_s(JSON, level=expected)

    return check


def mem_level(here: str) -> None:
    assert compressed(to_clients(here + '\nengine = "zlib"'), JSON) == zlib_s(JSON, memLevel=7)


def no_takeover(here: str) -> None:
    agreement, said = answer(to_clients(here), CHROME)
    assert not agreement.server.takeover and not agreement.client.takeover
    assert "server_no_context_takeover" in said and "client_no_context_takeover" in said


def excepted(here: str) -> None:
    """A route of its own before the others."""
    text = f'{UPSTREAMS}[[routes]]\nname = "not"\nupstream = "b"\npath_prefix = "/legacy"\n'
    text += f'[routes.compression.client]\n{here}\n[[routes]]\nname = "all"\nupstream = "b"\n'
    router = Router(load(text, {}).routes)
    for path, enabled in ((b"/legacy/x", False), (b"/other", True)):
        assert router.match(Wanted(b"h", path)).compression.client.enabled is enabled


def on(here: str) -> None:
    assert to_clients(here).enabled
    assert answer(to_clients(here), CHROME)[1].startswith("permessage-deflate")


def always_on(here: str) -> None:
    assert not here
    assert to_clients("").enabled


CHECKS: dict[tuple[str, str], Callable[[str], None]] = {
    (SERVE, 'compression="deflate"'): serve_on,
    (SERVE, "compression=None"): serve_off,
    (SERVER, "server_no_context_takeover"): server_takeover,
    (SERVER, "client_no_context_takeover"): client_takeover,
    (SERVER, "server_max_window_bits"): server_bits,
    (SERVER, "client_max_window_bits"): client_bits,
    (SERVER, "compress_settings"): compress_settings,
    (SERVER, "require_client_max_window_bits"): not_required,
    (CLIENT, "server_no_context_takeover"): lambda here: offers(here, server_no_context_takeover=True),
    (CLIENT, "client_no_context_takeover"): lambda here: offers(here, client_no_context_takeover=True),
    (CLIENT, "server_max_window_bits"): lambda here: offers(here, server_max_window_bits=10),
    (CLIENT, "client_max_window_bits"): lambda here: offers(here, client_max_window_bits=10),
    (CLIENT, "compress_settings"): client_compress_settings,
    (WS, "perMessageDeflate: true"): on,
    (WS, "zlibDeflateOptions.level"): level(3),
    (WS, "zlibDeflateOptions.memLevel"): mem_level,
    (WS, "zlibDeflateOptions.chunkSize"): comes_out_whole,
    (WS, "zlibInflateOptions.chunkSize"): inflates_in_steps,
    (WS, "clientNoContextTakeover"): client_takeover,
    (WS, "serverNoContextTakeover"): server_takeover,
    (WS, "serverMaxWindowBits"): server_bits,
    (WS, "clientMaxWindowBits"): client_bits,
    (WS, "concurrencyLimit"): at_once,
    (WS, "threshold"): threshold,
    (NGINX, "ws_deflate on"): on,
    (NGINX, "ws_deflate_auto"): always_on,
    (NGINX, "ws_deflate_except"): excepted,
    (NGINX, "ws_deflate_compression_level"): level(6),
    (NGINX, "ws_deflate_context_takeover off"): no_takeover,
    (NGINX, "ws_deflate_chunk_size"): inflates_in_steps,
    (PUSHPIN, "allow_compression"): on,
}


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}: {row[1]}")
def test_row(row: Row) -> None:
    caption, option, here = row
    CHECKS[caption, option](here)


def test_nothing_is_tested_that_is_not_on_the_page() -> None:
    assert {row[:2] for row in rows()} == set(CHECKS)


@pytest.mark.parametrize(
    "caption, factory", [(SERVER, ServerPerMessageDeflateFactory), (CLIENT, ClientPerMessageDeflateFactory)]
)
def test_every_option_of_websockets_is_there(caption: str, factory: type) -> None:
    options = set(inspect.signature(factory).parameters)
    assert {option for found, option, _ in rows() if found == caption} == options


def test_every_option_of_ws_is_there(node: NodePeers) -> None:
    """The installed library documents them at its class."""
    source = (NODE_FOLDER / "node_modules" / "ws" / "lib" / "permessage-deflate.js").read_text()
    options = set(re.findall(r"@param \{[^}]*\} \[options\.(\w+)", source)) - {"isServer"}
    assert len(options) > 8
    named = {option.partition(".")[0] for found, option, _ in rows() if found == WS}
    assert options - {"maxPayload"} == named - {"perMessageDeflate: true"}
    assert "`maxPayload`" in PAGE
    # Of what it hands on to zlib it says no more than "options".
    zlibs = {"chunkSize", "memLevel", "level"}
    assert {option.partition(".")[2] for _, option, _ in rows() if "zlibDeflateOptions." in option} == zlibs
    assert {option.partition(".")[2] for _, option, _ in rows() if "zlibInflateOptions." in option} == {"chunkSize"}


def test_the_one_setting_of_pushpin_is_there() -> None:
    assert [option for found, option, _ in rows() if found == PUSHPIN] == ["allow_compression"]


def test_every_directive_of_nginx_ws_compress_is_there() -> None:
    directives = {
        "ws_deflate",
        "ws_deflate_auto",
        "ws_deflate_except",
        "ws_deflate_compression_level",
        "ws_deflate_context_takeover",
        "ws_deflate_chunk_size",
    }
    assert {option.partition(" ")[0] for found, option, _ in rows() if found == NGINX} == directives
