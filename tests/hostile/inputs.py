"""Hostile inputs, each against a proxy of its own: what is sent, what each side is told, what it costs.

Owns: the inputs and what is expected of each; `test_inputs.py` holds the proxy to it, and `table.py` writes it down.
Must never import wsproxy.
"""

import contextlib
import os
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.endtoend.proxy import DEADLINE, WIDE_UPSTREAM, Proxy, configured, route
from tests.endtoend.wire import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawUpstream,
    Wire,
    answer,
    close_of,
    frame_bytes,
    hang_up_all,
    raw_upstream,
    request,
)
from tests.hostile.grammar import read_answers

MIB = 1024 * 1024
PMD = "permessage-deflate"
ENGINES = {"zlib": "zlib", "zlib-ng": "zlib_ng", "isal": "isal"}
"""The module of each."""
NOTHING = "nothing"
_FENCE = "FENCE"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one input did.

    :ivar sent: bytes that the hostile side got rid of.
    :ivar client, upstream: what each was told last: a status, a close code, or nothing.
    :ivar risen: bytes by which the proxy's peak resident set (VmHWM) rose.
    :ivar cpu_seconds: of the proxy, user and system.
    """

    sent: int
    client: str
    upstream: str
    risen: int
    cpu_seconds: float


Told = tuple[int, str, str]
Act = Callable[[Proxy, RawUpstream], Told]


@dataclass(frozen=True, slots=True)
class Input:
    """``act`` sends it and gives the bytes sent and what client and upstream were told.

    :ivar client, upstream: what they must be told.
    :ivar allowed: MiB by which the peak resident set may rise.
    :ivar settings: of the route.
    """

    name: str
    act: Act
    client: str
    upstream: str
    allowed: int = 16
    settings: tuple[str, ...] = ()
    module: str = ""
    """Which has to be installed."""


def measure(one: Input) -> Cost:
    """Send it to a fresh proxy."""
    with raw_upstream() as upstream, ready(one.settings, upstream) as proxy:
        return send(one, proxy, upstream)


@contextlib.contextmanager
def ready(settings: tuple[str, ...], upstream: RawUpstream) -> Iterator[Proxy]:
    """A proxy that has carried one ordinary tunnel, so that what is measured is not what any first one costs."""
    with configured(route("bare", upstream.url, *settings)) as proxy:
        client, far, _ = _open(proxy, upstream, None)
        client.text("hello")
        assert far.frame().payload == b"hello"
        client.close()
        far.hang_up()
        client.hang_up()
        proxy.settled()
        yield proxy


def send(one: Input, proxy: Proxy, upstream: RawUpstream) -> Cost:
    """Send it to a proxy with its settings. The process's peak is forgotten before (proc(5), clear_refs)."""
    Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")
    before, cpu = proxy.peak_rss(), cpu_seconds(proxy.pid)
    try:
        sent, client, told = one.act(proxy, upstream)
    finally:
        hang_up_all()
    proxy.settled()
    return Cost(sent, client, told, proxy.peak_rss() - before, cpu_seconds(proxy.pid) - cpu)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _open(proxy: Proxy, upstream: RawUpstream, agree: str | None) -> tuple[Wire, Wire, int]:
    """A tunnel with permessage-deflate on the client's leg, and on the upstream's if ``agree`` says so."""
    client = Wire(socket.create_connection(proxy.address, DEADLINE), masks=True)
    head = request("/bare", "h", PMD)
    client.sock.sendall(head)
    far, _ = upstream.accept(agree)
    assert client.head().status == 101
    return client, far, len(head)


def _last_word(wire: Wire) -> str:
    """The close code that comes, whatever is before it."""
    try:
        while (frame := wire.frame()).opcode != 0x8:
            pass
    except (EOFError, ConnectionError):
        return NOTHING
    except TimeoutError:
        return "no end"
    return str(close_of(frame)[0])


def _guilty(side: str, data: bytes, *, agree: str | None = None, single_bytes: bool = False) -> Act:
    """``side`` sends ``data``, which are frames; both then read until they are told."""

    def act(proxy: Proxy, upstream: RawUpstream) -> Told:
        client, far, _ = _open(proxy, upstream, agree)
        near, other = (client, far) if side == "client" else (far, client)
        told: dict[Wire, str] = {}
        reading = [
            threading.Thread(target=lambda end=end: told.update({end: _last_word(end)})) for end in (near, other)
        ]
        for thread in reading:
            thread.start()
        near.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = _send(near.sock, data, 1 if single_bytes else len(data))
        for thread in reading:
            thread.join(4 * DEADLINE)
        return sent, told.get(client, "?"), told.get(far, "?")

    return act


def _send(sock: socket.socket, data: bytes, step: int) -> int:
    """Send until the far end no longer listens."""
    view = memoryview(data)
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < len(data):
            sent += sock.send(view[sent : sent + step])
    return sent


def _asked(data: bytes, *, step: int = 0, answered: bytes = b"") -> Act:
    """A client sends ``data``, which are requests; the upstream answers what arrives with ``answered``."""

    def act(proxy: Proxy, upstream: RawUpstream) -> Told:
        sock = socket.create_connection(proxy.address, DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked: list[str] = []

        def serve() -> None:
            while True:
                try:
                    wire, head = upstream.receive()
                except EOFError:
                    continue  # connected, and asked for nothing
                if head.first == _FENCE:
                    return
                asked.append(head.first.split(" ")[0])
                with contextlib.suppress(ConnectionError):
                    wire.sock.sendall(answer(head) if answered == b"101" else answered)
                    while wire.sock.recv(65_536):
                        pass

        serving = threading.Thread(target=serve)
        serving.start()
        told = b""
        with sock:
            sent = _send(sock, data, step or len(data))
            with contextlib.suppress(ConnectionError):
                while b"HTTP/1.1 101 " not in told and (chunk := sock.recv(65_536)):
                    told += chunk
        # Connections are accepted in order: what arrived has arrived before this.
        with socket.create_connection(("127.0.0.1", upstream.port), DEADLINE) as fence:
            fence.sendall(f"{_FENCE}\r\n\r\n".encode())
        serving.join(2 * DEADLINE)
        final = "101" if b"HTTP/1.1 101 " in told else str([one.status for one in read_answers(told)][-1])
        return sent, final, asked[0] if asked else NOTHING

    return act


def _handshake(extensions: str) -> bytes:
    return request("/bare", "h", extensions)


def _packed(size: int) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    block = bytes(MIB)
    parts = [packer.compress(block) for _ in range(size // MIB)] + [packer.compress(bytes(size % MIB))]
    return (b"".join(parts) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _fragmented(payload: bytes, size: int) -> list[Frame]:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(pieces) - 1
    return [Frame(CONTINUATION if at else BINARY, piece, at == last, not at) for at, piece in enumerate(pieces)]


def _frames(side: str, *frames: Frame) -> bytes:
    return b"".join(frame_bytes(frame, masked=side == "client") for frame in frames)


def _many(count: int, payload: bytes) -> bytes:
    """A client's message of ``count`` fragments."""
    first, again = Frame(TEXT, payload, fin=False), Frame(CONTINUATION, payload, fin=False)
    return frame_bytes(first, masked=True) + frame_bytes(again, masked=True) * (count - 1)


_BOMB = _packed(30_000_000)
_ONE = Frame(BINARY, _BOMB, rsv1=True)
_TIGHT = ("limits.max_message_bytes = 1048576",)
_OVER = Frame(BINARY, _packed(2 * MIB) + b"\xff" * 50, rsv1=True)
_GET = b"GET /bare HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_MEMBERS = b"\x03\x00" * 32_768


def _with_engine(engine: str) -> tuple[str, ...]:
    return (f'compression.client.engine = "{engine}"',)


_BOMBS = tuple(
    each
    for engine, module in ENGINES.items()
    for each in (
        Input(f"30 MB of zeros in one frame ({engine})", _guilty("client", _frames("client", _ONE)), "1009", "1009",
              settings=_with_engine(engine), module=module),
        Input(f"64 KB of empty DEFLATE members ({engine})",
              _guilty("client", _frames("client", Frame(BINARY, _MEMBERS, rsv1=True))), "1008", "1008",
              settings=_with_engine(engine), module=module),
    )
)  # fmt: skip

WEBSOCKET = (
    *_BOMBS,
    Input("30 MB of zeros in fragments of 100 bytes",
          _guilty("client", _frames("client", *_fragmented(_BOMB, 100))), "1009", "1009"),
    Input("30 MB of zeros, byte by byte",
          _guilty("client", _frames("client", _ONE), single_bytes=True), "1009", "1009"),
    Input("30 MB of zeros from an upstream",
          _guilty("upstream", _frames("upstream", _ONE), agree=PMD), "1009", "1009", settings=WIDE_UPSTREAM),
    Input("30 MB of zeros where frames pass",
          _guilty("client", _frames("client", _ONE), agree=PMD), "1009", "1009",
          settings=(*WIDE_UPSTREAM, 'compression.mode = "passthrough"')),
    Input("over the limit, then a malformed block",
          _guilty("client", _frames("client", _OVER)), "1009", "1009", settings=_TIGHT),
    Input("one byte over a limit of 1 MiB, inflated",
          _guilty("client", _frames("client", Frame(BINARY, _packed(MIB + 1), rsv1=True))), "1009", "1009",
          settings=(*_TIGHT, "limits.max_expansion = 2000")),
    Input("the header of a frame of 2^62 bytes",
          _guilty("client", b"\x82\xff" + (2**62).to_bytes(8) + bytes(4)), "1009", "1009"),
    Input("the same from an upstream", _guilty("upstream", b"\x82\x7f" + (2**62).to_bytes(8)), "1009", "1009"),
    Input("200,000 empty fragments", _guilty("client", _many(200_000, b"")), "1008", "1008"),
    Input("200,000 fragments of one byte", _guilty("client", _many(200_000, b"x")), "1008", "1008"),
    Input("100,000 empty messages, then an unknown opcode",
          _guilty("client", frame_bytes(Frame(TEXT, b""), masked=True) * 100_000 + b"\x83\x80" + bytes(4)),
          "1002", "1001", settings=()),
    Input("20,000 pings, then an unknown opcode",
          _guilty("client", frame_bytes(Frame(PING, b"x" * 125), masked=True) * 20_000 + b"\x83\x80" + bytes(4)),
          "1002", "1001"),
    Input("10 MB after a close frame",
          _guilty("client", b"\x88\x82" + bytes(4) + b"\x03\xe8" + bytes(10 * MIB)), "1000", "1000",
          settings=("timeouts.close_seconds = 0.5",)),
    Input("RSV1 on a continuation",
          _guilty("client", _frames("client", Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"b", rsv1=True))),
          "1002", "1001"),
    Input("RSV1 on a ping", _guilty("client", _frames("client", Frame(PING, b"", rsv1=True))), "1002", "1001"),
    Input("RSV1 that an upstream did not agree to",
          _guilty("upstream", _frames("upstream", Frame(TEXT, b"", rsv1=True))), "1011", "1002"),
    Input("a frame that is not masked", _guilty("client", b"\x81\x02hi"), "1002", "1001"),
    Input("a frame that an upstream masks", _guilty("upstream", b"\x81\x82" + bytes(4) + b"hi"), "1011", "1002"),
    Input("the first byte of a text of 16 MB is not UTF-8",
          _guilty("client", b"\x81\xff" + (16_000_000).to_bytes(8) + bytes(4) + b"\xff" * 1000), "1007", "1007"),
    Input("what is no DEFLATE",
          _guilty("client", _frames("client", Frame(TEXT, b"\xff" * 1000, rsv1=True))), "1007", "1007"),
)  # fmt: skip

HTTP = (
    Input("a head of 10 MB", _asked(_GET + b"X: " + b"x" * 10_000_000), "431", NOTHING),
    Input("a million headers", _asked(_GET + b"a: b\r\n" * 1_000_000), "431", NOTHING),
    Input("a head of 60 KB, byte by byte",
          _asked(_GET + b"X: " + b"x" * 60_000 + b"\r\n\r\n", step=1, answered=_OK), "200", "GET"),
    Input("5,000 headers, byte by byte",
          _asked(_GET + b"a: b\r\n" * 5_000 + b"\r\n", step=1, answered=_OK), "200", "GET"),
    Input("Content-Length beside Transfer-Encoding, a request in the body",
          _asked(_GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _GET + b"\r\n"),
          "400", NOTHING),
    Input("1,000 chunks of one byte, each with an extension of 1 KB",
          _asked(_GET + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 1_000
                 + b"0\r\n\r\n", answered=_OK), "200", "GET"),
    Input("an endless trailer",
          _asked(_GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 1_000_000), "431", "GET"),
    Input("a quoted string of 16 KB that does not end", _asked(_handshake('a; b="' + "x" * 16_000)), "400", NOTHING),
    Input("a quoted string of 60 KB of backslashes", _asked(_handshake('a; b="' + "\\" * 60_000)), "400", NOTHING),
    Input("permessage-deflate in a quoted string",
          _asked(_handshake('a; b="x, permessage-deflate, x"'), answered=b"101"), "400", NOTHING),
    Input("2,500 offers that cannot be",
          _asked(_handshake(", ".join(["permessage-deflate; x=1"] * 2_500)), answered=b"101"), "101", "GET",
          settings=("timeouts.close_seconds = 0.5",)),
    Input("an answer's head of 10 MB", _asked(_GET + b"\r\n", answered=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000),
          "502", "GET"),
    Input("an upstream's extension that nobody offered",
          _asked(_handshake("x"), answered=b"HTTP/1.1 101 X\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
          "502", "GET"),
    Input("100,000 interim answers to a handshake",
          _asked(_handshake("x"), answered=b"HTTP/1.1 102 P\r\n\r\n" * 100_000 + _OK), "200", "GET"),
)  # fmt: skip
GROUPS = {"HTTP": HTTP, "WebSocket": WEBSOCKET}
