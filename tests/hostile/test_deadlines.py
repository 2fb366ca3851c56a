"""Whoever stalls is not waited for: slow heads, silent upstreams, readers that do not read, closes left unanswered.

No time is measured: each end is waited for with a deadline far above the one that is due.
"""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.endtoend.proxy import DEADLINE, Proxy, configured, route, wait_for
from tests.endtoend.wire import BINARY, TEXT, Frame, RawUpstream, Tunnel, Wire, knock, raw_upstream, tunnel
from tests.hostile.grammar import Incomplete, read_answers
from tests.hostile.test_smuggling import until_the_end

SHORT = (
    "timeouts.connect_seconds = 0.3",
    "timeouts.handshake_seconds = 0.3",
    "timeouts.response_seconds = 0.3",
    "timeouts.close_seconds = 0.3",
)
UNREAD = "timeouts.write_stall_seconds = 0.3"


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def impatient(module_bare: RawUpstream) -> Iterator[Proxy]:
    with configured(route("bare", module_bare.url, *SHORT)) as running:
        yield running


@pytest.fixture(scope="module")
def patient(module_bare: RawUpstream) -> Iterator[Proxy]:
    """With default deadlines."""
    with configured(route("bare", module_bare.url)) as running:
        yield running


@pytest.fixture(autouse=True)
def balanced(impatient: Proxy) -> Iterator[None]:
    """Whatever happened, nothing of it is left."""
    yield
    for gauge in ("wsproxy_tunnels_active", "wsproxy_sessions_active", "wsproxy_endpoint_connections"):
        wait_for(gauge, lambda gauge=gauge: impatient.metric(gauge) == 0)  # type: ignore[misc]


GET = b"GET /bare HTTP/1.1\r\nHost: h\r\n"
HEADS: dict[str, tuple[bytes, bytes, list[int]]] = {
    "nothing": (b"", b"", []),
    "half a request line": (b"GET /ba", b"", [408]),
    "half a head": (GET + b"X: ", b"", [408]),
    "a head that grows": (GET, b"X: y\r\n", [408]),
    "a header that grows": (GET + b"X: ", b"y", [408]),
    "a target that grows": (b"GET /bare/", b"y", [408]),
    "half a handshake": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"", [408]),
    "half a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"", [400]),
}
"""What is sent first, what is sent again and again, and what is told."""


def test_slow_heads_end_though_they_grow(impatient: Proxy) -> None:
    """All at once, because the time for a first head is no setting: ten seconds."""
    ends = {name: socket.create_connection(impatient.address, 2 * DEADLINE) for name in HEADS}
    told: dict[str, bytes] = {}

    def drip(name: str, sock: socket.socket) -> None:
        first, again, _ = HEADS[name]
        with contextlib.suppress(ConnectionError):
            sock.sendall(first)
            while not select.select([sock], [], [], 0.25)[0]:
                sock.sendall(again)
        told[name] = until_the_end(sock)
        sock.close()

    dripping = [threading.Thread(target=drip, args=each) for each in ends.items()]
    for thread in dripping:
        thread.start()
    for thread in dripping:
        thread.join(3 * DEADLINE)
    statuses = {name: [answer.status for answer in read_answers(answers)] for name, answers in told.items()}
    assert statuses == {name: wanted for name, (_, _, wanted) in HEADS.items()}


def _still_serves(impatient: Proxy, bare: RawUpstream) -> None:
    with tunnel(impatient.address, bare, "/bare") as other:
        other.client.text("still here")
        assert other.upstream.frame() == Frame(TEXT, b"still here")
        other.client.close()


SILENCES: dict[str, bytes] = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a head": b"HTTP/1.1 200 OK\r\nX: ",
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("said", SILENCES)
@pytest.mark.parametrize("websocket", [False, True], ids=["plain", "websocket"])
def test_an_upstream_that_falls_silent_is_a_504(
    impatient: Proxy, module_bare: RawUpstream, said: str, *, websocket: bool
) -> None:
    if websocket:
        sock = knock(impatient.address, "/bare").sock
    else:
        sock = socket.create_connection(impatient.address, DEADLINE)
        sock.sendall(GET + b"\r\n")
    upstream, _ = module_bare.receive()
    upstream.sock.sendall(SILENCES[said])
    with sock:
        assert read_answers(until_the_end(sock))[-1].status == 504
    assert upstream.at_end()


def test_an_upstream_that_never_finishes_its_tls_handshake_is_a_504(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url.replace("ws://", "wss://"), *SHORT)) as proxy:
        client = knock(proxy.address, "/bare")
        assert client.head().status == 504
        client.hang_up()


def test_a_refusal_that_stalls_is_cut_off(impatient: Proxy, module_bare: RawUpstream) -> None:
    """An upstream answers a handshake with a 401 whose body never comes to its end."""
    client = knock(impatient.address, "/bare")
    upstream, _ = module_bare.receive()
    upstream.sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nyou ")
    with pytest.raises(Incomplete):
        read_answers(until_the_end(client.sock))
    assert upstream.at_end()
    client.hang_up()


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot ", b"HTTP/1.1 103 Early Hints\r\n\r\n"]
)
@pytest.mark.parametrize("asked", [b"", b"GET /bare HTTP/1.1\r\nHost: h\r\n\r\n", b"Upgrade: h2c\r\n"])
def test_a_client_that_leaves_is_not_worked_for(
    patient: Proxy, module_bare: RawUpstream, said: bytes, asked: bytes
) -> None:
    """Also when it had asked for more already, or for another protocol: its end is seen behind that."""
    head = GET + b"Connection: Upgrade\r\n" + asked + b"\r\n" if asked.startswith(b"Upgrade") else GET + b"\r\n" + asked
    client = socket.create_connection(patient.address, DEADLINE)
    client.sendall(head)
    upstream, _ = module_bare.receive()
    upstream.sock.sendall(said)
    client.close()
    assert upstream.at_end()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("early", [b"", b"\x81\x82\0\0\0\0hi"], ids=["silent", "speaks"])
def test_a_client_that_leaves_before_its_101_is_not_worked_for(
    patient: Proxy, module_bare: RawUpstream, said: bytes, early: bytes
) -> None:
    """It is noticed at once, not when the upstream's time is over; also behind frames that it sent too early."""
    client = knock(patient.address, "/bare")
    client.sock.sendall(early)
    upstream, _ = module_bare.receive()
    upstream.sock.sendall(said)
    client.hang_up()
    assert upstream.at_end()
    wait_for("the session's end", lambda: patient.metric("wsproxy_sessions_active") == 0)


@pytest.mark.parametrize("closer", ["client", "upstream"])
def test_a_close_that_is_never_answered(impatient: Proxy, module_bare: RawUpstream, closer: str) -> None:
    with tunnel(impatient.address, module_bare, "/bare") as ends:
        near, far = ends.ends_from(closer)
        near.close(4000)
        assert far.closed_with() == (4000, "")
        assert far.at_end()  # it never answered
        _still_serves(impatient, module_bare)


def _stuff(wire: Wire, frame: bytes) -> None:
    """Send until the proxy no longer reads."""
    wire.sock.setblocking(False)
    while select.select([], [wire.sock], [], 0.4)[1]:
        wire.sock.send(frame)
    wire.sock.settimeout(DEADLINE)


def _big(wire: Wire) -> bytes:
    """A binary frame of 60 KB, masked with zeros where it must be."""
    return b"\x82" + (b"\xfe\xea\x60" + bytes(4) if wire.masks else b"\x7e\xea\x60") + bytes(60_000)


@pytest.mark.parametrize("sender", ["client", "upstream"])
@pytest.mark.parametrize(
    "ending", [Wire.close, Wire.hang_up], ids=["the stalled reader closes", "the stalled reader vanishes"]
)
def test_a_reader_that_does_not_read_and_ends(
    impatient: Proxy, module_bare: RawUpstream, sender: str, ending: Callable[[Wire], None]
) -> None:
    with tunnel(impatient.address, module_bare, "/bare") as ends:
        near, far = ends.ends_from(sender)
        _stuff(near, _big(near))
        ending(far)
        with contextlib.suppress(EOFError, ConnectionError):
            while near.frame().opcode in (BINARY, TEXT):
                pass
        _ended(near)


@pytest.mark.parametrize("sender", ["client", "upstream"])
def test_a_sender_that_vanishes_behind_a_reader_that_does_not_read(
    impatient: Proxy, module_bare: RawUpstream, sender: str
) -> None:
    with tunnel(impatient.address, module_bare, "/bare") as ends:
        near, _ = ends.ends_from(sender)
        _stuff(near, _big(near))
        near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        near.hang_up()
        tick = threading.Event()
        for _ in range(30):  # ten times the deadline that should stand
            if impatient.metric("wsproxy_tunnels_active") == 0:
                return
            tick.wait(0.1)
        pytest.fail("the tunnel stands for as long as its reader likes")


@pytest.mark.parametrize("guilty", ["client", "upstream"])
def test_one_that_breaks_a_rule_and_reads_nothing(impatient: Proxy, module_bare: RawUpstream, guilty: str) -> None:
    """It is full of the other side's messages when it is to be told."""
    with tunnel(impatient.address, module_bare, "/bare") as ends:
        near, far = ends.ends_from(guilty)
        _stuff(far, _big(far))
        near.send(Frame(0x3, b""))
        wait_for("the tunnel's end", lambda: impatient.metric("wsproxy_tunnels_active") == 0)
        _ended(far)


@pytest.mark.parametrize("sender", ["client", "upstream"])
@pytest.mark.parametrize("keeps_sending", [False, True], ids=["a silent reader", "a reader that goes on sending"])
def test_a_reader_that_does_not_read(bare: RawUpstream, sender: str, *, keeps_sending: bool) -> None:
    """Both connections end, though nobody closes or vanishes, and the log says why."""
    with configured(route("bare", bare.url, *SHORT, UNREAD)) as proxy, tunnel(proxy.address, bare, "/bare") as ends:
        near, far = ends.ends_from(sender)
        _stuff(near, _big(near))
        with contextlib.suppress(ConnectionError):
            while keeps_sending:
                far.text("I only talk")
                threading.Event().wait(0.05)
        assert near.until_close() == (1001 if sender == "upstream" else 1011, "connection lost")
        assert near.at_end()
        _ended(far)
        proxy.settled()
        reader = "upstream" if sender == "client" else "client"
        assert proxy.metric("wsproxy_closes_total", initiator=reader, code="1006") == 1
        wait_for("the line of the close", lambda: any("took nothing" in line for line in proxy.lines))


def test_a_client_that_does_not_read_its_page(bare: RawUpstream) -> None:
    with configured(route("bare", bare.url, *SHORT, UNREAD)) as proxy:
        with socket.create_connection(proxy.address, DEADLINE) as client:
            client.sendall(GET + b"\r\n")
            upstream, _ = bare.receive()
            upstream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while True:
                    upstream.sock.sendall(bytes(60_000))
            with pytest.raises(ConnectionResetError):
                _read_all(client)
        proxy.settled()


def test_an_upstream_that_does_not_read_its_request(bare: RawUpstream) -> None:
    """It is asked for its answer all the same, which it may have given before it stopped reading."""
    with configured(route("bare", bare.url, *SHORT, UNREAD)) as proxy:
        with socket.create_connection(proxy.address, DEADLINE) as client:
            client.sendall(b"POST /bare HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
            upstream, _ = bare.receive()
            with contextlib.suppress(ConnectionError):
                while not select.select([client], [], [], 0)[0]:
                    client.sendall(bytes(60_000))
            assert [answer.status for answer in read_answers(until_the_end(client))] == [504]
            _ended(upstream)
        proxy.settled()


def _read_all(sock: socket.socket) -> None:
    while sock.recv(262_144):
        pass


def _ended(wire: Wire) -> None:
    """Read on until the connection is over."""
    with contextlib.suppress(ConnectionError):
        _read_all(wire.sock)


def test_a_client_that_does_not_read_its_page_and_leaves(bare: RawUpstream) -> None:
    """Nothing bounds a body's time; but the upstream is held back, and let go with the client."""
    with configured(route("bare", bare.url, *SHORT)) as proxy:
        client = socket.create_connection(proxy.address, DEADLINE)
        client.sendall(GET + b"\r\n")
        upstream, _ = bare.receive()
        upstream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        _stuff(upstream, bytes(60_000))
        client.close()
        _ended(upstream)


def test_a_slow_tls_client_of_a_plain_listener_is_told(impatient: Proxy, tmp_path: Path) -> None:
    """It waits for a handshake that cannot come: its first bytes are no HTTP."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with (
        socket.create_connection(impatient.address, DEADLINE) as sock,
        pytest.raises((ssl.SSLError, ConnectionError)),
        ours.wrap_socket(sock, server_hostname="h"),
    ):
        pass


def test_a_tunnel_whose_reader_stalls_holds_up_no_other(impatient: Proxy, module_bare: RawUpstream) -> None:
    with tunnel(impatient.address, module_bare, "/bare") as stalled:
        _stuff(stalled.upstream, _big(stalled.upstream))
        _still_serves(impatient, module_bare)
        _read_on(stalled)


def _read_on(ends: Tunnel) -> None:
    """The reader comes back: everything is still there, in order."""
    ends.upstream.sock.shutdown(socket.SHUT_WR)
    frames = 0
    with contextlib.suppress(EOFError):
        while (frame := ends.client.frame()).opcode == BINARY:
            assert len(frame.payload) == 60_000
            frames += 1
    assert frames > 1
