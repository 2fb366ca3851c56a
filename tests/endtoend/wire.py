"""A bare WebSocket end over a blocking socket: the test decides every frame, and sees every frame (RFC 6455 §5.2).

Owns: an own, naive frame codec, so that shapes, RSV1 and close frames are judged by something that shares no code with
the proxy. Must never import wsproxy.
"""

import base64
import contextlib
import hashlib
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
DEADLINE = 15.0
"""Seconds after which a read is given up: far above what any exchange takes, so it only ends what hangs."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it travelled, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a request or an answer; names in lower case."""

    first: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The first value of ``name``, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Every value of ``name``, in order."""
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])


def xor(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 §5.3)."""
    pad = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(data), "big")


def frame_bytes(frame: Frame, *, masked: bool) -> bytes:
    """``frame`` as bytes; ``masked`` as a client must."""
    length = len(frame.payload)
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if frame.fin else 0) | (0x40 if frame.rsv1 else 0) | frame.opcode])
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 65536:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    if not masked:
        return head + frame.payload
    key = os.urandom(4)
    return head + key + xor(frame.payload, key)


def deflate(data: bytes, bits: int = 15, *, tail: bool = False) -> bytes:
    """One message compressed on its own (RFC 7692 §7.2.1); ``tail`` keeps the four bytes that are to be stripped."""
    packer = zlib.compressobj(wbits=-bits)
    packed = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed if tail else packed[:-4]


_opened: "list[Wire]" = []


def hang_up_all() -> None:
    """Close every end that was opened so far, also those that a failed test left behind."""
    while _opened:
        _opened.pop().hang_up()


class Wire:
    """One end of one connection. ``masks``: this end is a client, so it masks and must get unmasked frames."""

    def __init__(self, sock: socket.socket, *, masks: bool) -> None:
        sock.settimeout(DEADLINE)
        self.sock = sock
        self.masks = masks
        _opened.append(self)
        self._buffer = bytearray()
        self.bytes_sent = 0
        """In frames sent with `send`."""
        self.bytes_read = 0
        """In heads and frames that were read."""

    def send(self, *frames: Frame) -> None:
        data = b"".join(frame_bytes(frame, masked=self.masks) for frame in frames)
        self.bytes_sent += len(data)
        self.sock.sendall(data)

    def text(self, text: str) -> None:
        self.send(Frame(TEXT, text.encode()))

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame; with no code, an empty one."""
        self.send(Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode()))

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self.sock.close()

    def _need(self, count: int) -> bytes:
        while len(self._buffer) < count:
            chunk = self.sock.recv(262_144)
            if not chunk:
                raise EOFError(f"connection ended with {bytes(self._buffer[:80])!r} pending")
            self._buffer += chunk
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self.bytes_read += count
        return taken

    def head(self) -> Head:
        """The head of a request or an answer."""
        while b"\r\n\r\n" not in self._buffer:
            chunk = self.sock.recv(65_536)
            if not chunk:
                raise EOFError(f"connection ended within a head: {bytes(self._buffer)!r}")
            self._buffer += chunk
        first, *lines = self._need(self._buffer.index(b"\r\n\r\n") + 4).decode("latin-1").rstrip().split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return Head(first, tuple((name.lower(), value.strip()) for name, value in pairs))

    def put_back(self, data: bytes) -> None:
        """Bytes that were read elsewhere, and come first."""
        self._buffer[:0] = data

    def body(self, length: int) -> bytes:
        return self._need(length)

    def frame(self) -> Frame:
        """The next frame, whichever it is."""
        first, second = self._need(2)
        assert bool(second & 0x80) is not self.masks, "masked in the wrong direction"
        assert not first & 0x30, "RSV2 and RSV3 are nobody's"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._need(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._need(8))
        key = b"" if self.masks else self._need(4)
        payload = self._need(length)
        return Frame(first & 0x0F, xor(payload, key) if key else payload, bool(first & 0x80), bool(first & 0x40))

    def closed_with(self) -> tuple[int | None, str]:
        """Code and reason of the next frame, which must be a close frame."""
        frame = self.frame()
        assert frame.opcode == CLOSE, frame
        return close_of(frame)

    def until_close(self) -> tuple[int | None, str]:
        """Code and reason of the close frame, whatever comes before it."""
        while (frame := self.frame()).opcode != CLOSE:
            pass
        return close_of(frame)

    def at_end(self) -> bool:
        """Nothing more comes: the other end closed the connection, in order or with a reset."""
        with contextlib.suppress(ConnectionResetError):
            return not self._buffer and self.sock.recv(1) == b""
        return not self._buffer


def close_of(frame: Frame) -> tuple[int | None, str]:
    """Code and reason of a close frame; no code is None."""
    if not frame.payload:
        return None, ""
    return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:].decode()


def request(path: str, host: str, extensions: str | None = None, headers: dict[str, str] | None = None) -> bytes:
    """A WebSocket request's head (RFC 6455 §4.1)."""
    lines = {
        "Host": host,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    if extensions is not None:
        lines["Sec-WebSocket-Extensions"] = extensions
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def knock(address: tuple[str, int], path: str = "/", extensions: str | None = None, **headers: str) -> Wire:
    """Connect and send a WebSocket request; the answer is still to be read. ``a_b`` in a header's name is ``a-b``."""
    wire = Wire(socket.create_connection(address, DEADLINE), masks=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wire.sock.sendall(request(path, f"{address[0]}:{address[1]}", extensions, named))
    return wire


class RawUpstream:
    """A listening socket whose connections the test answers by hand."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"

    def receive(self) -> tuple[Wire, Head]:
        """Accept one connection and read its request; the answer is still to be sent."""
        sock, _ = self.listener.accept()
        wire = Wire(sock, masks=False)
        return wire, wire.head()

    def accept(self, extensions: str | None = None) -> tuple[Wire, Head]:
        """Accept one connection and answer 101, with ``Sec-WebSocket-Extensions`` if given."""
        wire, head = self.receive()
        wire.sock.sendall(answer(head, extensions))
        return wire, head

    def close(self) -> None:
        self.listener.close()


def answer(head: Head, extensions: str | None = None) -> bytes:
    """The 101 to a request (RFC 6455 §4.2.2)."""
    key = head.get("sec-websocket-key")
    assert key is not None
    proof = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    more = "" if extensions is None else f"Sec-WebSocket-Extensions: {extensions}\r\n"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {base64.b64encode(proof).decode()}\r\n{more}\r\n"
    ).encode()


@contextlib.contextmanager
def raw_upstream() -> Iterator[RawUpstream]:
    upstream = RawUpstream()
    try:
        yield upstream
    finally:
        upstream.close()


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Both ends of one tunnel through the proxy, in the test's hands."""

    client: Wire
    upstream: Wire
    request: Head
    """What the upstream was asked."""
    answer: Head
    """What the client was told."""

    def ends_from(self, side: str) -> tuple[Wire, Wire]:
        """The end of ``side`` ("client" or "upstream"), then the other one."""
        return (self.client, self.upstream) if side == "client" else (self.upstream, self.client)


@contextlib.contextmanager
def tunnel(
    address: tuple[str, int],
    upstream: RawUpstream,
    path: str = "/",
    *,
    offer: str | None = None,
    agree: str | None = None,
) -> Iterator[Tunnel]:
    """Open a tunnel: the client's ``offer`` and the upstream's answer ``agree`` are Sec-WebSocket-Extensions values."""
    client = knock(address, path, offer)
    try:
        upstream_wire, asked = upstream.accept(agree)
        try:
            told = client.head()
            assert told.status == 101, told
            yield Tunnel(client, upstream_wire, asked, told)
        finally:
            upstream_wire.hang_up()
    finally:
        client.hang_up()


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The URL of an upstream that nobody serves: a connection to it is neither made nor refused."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        while True:
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.2)
            if sock.connect_ex(("127.0.0.1", port)):
                break
        yield f"ws://127.0.0.1:{port}"
