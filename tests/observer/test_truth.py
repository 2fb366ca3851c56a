"""Side by side: what the proxy counts and what an observer on both of its sides counts, for every plan, to the byte."""

import contextlib
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.endtoend import peers
from tests.endtoend.conversations import CASES, Case, content, text
from tests.endtoend.proxy import BASE, Proxy, configured, route, wait_for
from tests.endtoend.wire import deflate
from tests.observer.counts import KINDS, leg
from tests.observer.relay import CountingRelay, relay

SIZES = (0, 1, 125, 126, 4_096, 65_536, 300_000)
COLUMNS = (*KINDS, "payload", "wire")
LEGS = ("client", "upstream")
DEFLATES = {"plain": None, "wide": peers.WIDE, "forgetful": peers.FORGETFUL}


def restless(connection: ServerConnection) -> None:
    """An upstream that echoes, asks for signs of life, and sends large messages in fragments."""
    for number, message in enumerate(connection):
        if number % 3 == 0:
            connection.ping(b"alive?")
        if len(message) > 1_000 and number % 2:
            third = len(message) // 3
            connection.send([message[:third], message[third : 2 * third], message[2 * third :]])
        else:
            connection.send(message)


@dataclass(slots=True)
class Observed:
    """A proxy between two relays: ``front`` is its client, ``back`` leads to its upstream."""

    case: Case
    proxy: Proxy
    front: CountingRelay
    back: CountingRelay

    @property
    def url(self) -> str:
        return f"ws://{self.front.address[0]}:{self.front.address[1]}/{self.case.name}"

    def seen(self) -> dict[tuple[str, str], Counter[str]]:
        """The observer's counts by leg and direction, as the proxy sees directions."""
        totals: dict[tuple[str, str], Counter[str]] = {}
        for name, watched, directions in (
            ("client", self.front, ("received", "sent")),
            ("upstream", self.back, ("sent", "received")),
        ):
            for pair in list(watched.pairs):
                for direction, counted in zip(directions, leg(bytes(pair.sent), bytes(pair.got)), strict=True):
                    total = totals.setdefault((name, direction), Counter())
                    total.update(counted)
        return totals

    def counted(self) -> dict[tuple[str, str], Counter[str]]:
        """The proxy's."""
        totals: dict[tuple[str, str], Counter[str]] = {}
        for family in text_string_to_metric_families(self.proxy.page("/metrics")):
            for sample in family.samples:
                column = {
                    "wsproxy_messages_total": sample.labels.get("kind", ""),
                    "wsproxy_payload_bytes_total": "payload",
                    "wsproxy_wire_bytes_total": "wire",
                }.get(sample.name)
                if column is not None:
                    total = totals.setdefault((sample.labels["leg"], sample.labels["direction"]), Counter())
                    total[column] += int(sample.value)
        return totals

    def wires_agree(self) -> bool:
        """Everything under way has arrived."""
        seen, counted = self.seen(), self.counted()
        return all(seen[each]["wire"] == counted[each]["wire"] for each in seen)

    def hold(self, ignoring: frozenset[str] = frozenset()) -> None:
        """No difference, in a table that a reader of the log can check."""
        wait_for("all bytes to be counted", self.wires_agree)
        seen, counted = self.seen(), self.counted()
        print(f"\n{self.case.name}: to client {self.case.to_client}, to upstream {self.case.to_upstream}")
        print(f"{'':34}" + "".join(f"{column:>12}" for column in COLUMNS))
        for which in sorted(seen):
            for who, numbers in (("observer", seen[which]), ("wsproxy", counted[which])):
                print(f"{which[0]:>8} {which[1]:>8} {who:>15}  " + "".join(f"{numbers[c]:>12,}" for c in COLUMNS))
        for which in seen:
            for column in COLUMNS:
                if column not in ignoring:
                    assert counted[which][column] == seen[which][column], f"{which}: {column}"


@contextlib.contextmanager
def observed(case: Case, base: str = BASE) -> Iterator[Observed]:
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(peers.upstream(restless, deflate=DEFLATES[case.upstream]))
        back = stack.enter_context(relay(("127.0.0.1", upstream.port)))
        settings = route(case.name, f"ws://127.0.0.1:{back.address[1]}", *case.settings)
        proxy = stack.enter_context(configured(settings, base=base))
        front = stack.enter_context(relay(proxy.address))
        yield Observed(case, proxy, front, back)


def converse(client: ClientConnection) -> None:
    for number, size in enumerate(SIZES):
        for message in (text(size), content(size)):
            if size > 100 and number % 2:
                half = len(message) // 2
                client.send([message[:half], message[half:]])
            else:
                client.send(message)
            assert client.recv() == message or not f"the echo of {size} bytes differs"
        assert client.ping(b"there?").wait(peers.DEADLINE)


def orderly(world: Observed) -> None:
    with peers.client(world.url, deflate=world.case.offer) as client:
        converse(client)
        client.close(4321, "enough")


def _settled(world: Observed) -> None:
    wait_for("all bytes to be counted", world.wires_agree)


def _client_crashes(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        _settled(world)
        pair = world.front.pairs[-1]
        pair.reset(pair.target)


def _upstream_crashes(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        _settled(world)
        pair = world.back.pairs[-1]
        pair.reset(pair.opener)


def _client_crashes_in_the_midst_of_a_frame(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        # The header of a frame of 1,000 bytes, and 10 of them.
        client.socket.sendall(b"\x82\xfe" + struct.pack("!H", 1_000) + os.urandom(4) + b"0123456789")
        _settled(world)
        pair = world.front.pairs[-1]
        pair.reset(pair.target)


def _client_crashes_between_fragments(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        # Uncompressed, which is legal for any message.
        client.socket.sendall(b"\x02\x85\0\0\0\0first" + b"\x00\x86\0\0\0\0second")
        _settled(world)
        pair = world.front.pairs[-1]
        pair.reset(pair.target)


def _client_crashes_in_the_midst_of_compressed_data(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        if peers.agreement(client):
            packed = deflate(content(20_000))
            size = len(packed)
            client.socket.sendall(b"\xc2\xfe" + struct.pack("!H", size) + b"\0\0\0\0" + packed[: size // 2])
        _settled(world)
        pair = world.front.pairs[-1]
        pair.reset(pair.target)


def _client_breaks_the_protocol(world: Observed) -> None:
    with abandoned(world) as client:
        converse(client)
        client.socket.sendall(b"\x83\x80\0\0\0\0")
        with contextlib.suppress(ConnectionClosed):
            client.recv(timeout=peers.DEADLINE)


@contextlib.contextmanager
def abandoned(world: Observed) -> Iterator[ClientConnection]:
    """A client whose connection may be gone before it closes."""
    with contextlib.suppress(ConnectionClosed), peers.client(world.url, deflate=world.case.offer) as client:
        yield client


ENDS: tuple[Callable[[Observed], None], ...] = (
    orderly,
    _client_crashes,
    _upstream_crashes,
    _client_crashes_in_the_midst_of_a_frame,
    _client_crashes_between_fragments,
    _client_crashes_in_the_midst_of_compressed_data,
    _client_breaks_the_protocol,
)


def test_two_workers_count_together_what_the_observer_counts() -> None:
    with observed(CASES[1], "workers = 2\n" + BASE) as world:
        for end in (*ENDS[:3], orderly, orderly):
            end(world)
        wait_for("the last tunnel's end", lambda: world.proxy.metric("wsproxy_tunnels_active") == 0)
        world.hold()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_proxy_counts_what_the_observer_counts(case: Case) -> None:
    with observed(case) as world:
        for end in ENDS:
            end(world)
            wait_for("the tunnel's end", lambda: world.proxy.metric("wsproxy_tunnels_active") == 0)
        # Compressed messages that pass unread have no payload that anyone could count.
        world.hold(frozenset({"payload"}) if case.name == "blind" else frozenset())
