"""What /metrics and the access log tell equals what the two ends sent and got, byte for byte."""

import json
import zlib
from dataclasses import dataclass, field

import pytest

from tests.endtoend import peers
from tests.endtoend.conftest import StartProxy
from tests.endtoend.conversations import content, text
from tests.endtoend.proxy import BASE, WIDE_UPSTREAM, Proxy, route, wait_for
from tests.endtoend.wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    RawUpstream,
    Tunnel,
    Wire,
    deflate,
    knock,
    tunnel,
)

PMD = "permessage-deflate"
JSON_LOG = BASE + '[log]\nformat = "json"\n'
SIZES = (0, 1, 40, 126, 900, 5_000, 66_000, 300_000)
LEGS = ("client", "upstream")


@dataclass(slots=True)
class Leg:
    """What one end of a tunnel counted itself; ``to``: towards the proxy, ``by``: from it."""

    wire_to: int = 0
    wire_by: int = 0
    payload_to: int = 0
    payload_by: int = 0
    packed_by: list[tuple[int, int]] = field(default_factory=list)
    """Payload and compressed bytes of each compressed message that it got."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the client offers and the upstream agrees to, the route's settings, and the plans that come of it."""

    name: str
    offer: str | None
    agree: str | None
    lines: tuple[str, ...]
    to_client: str
    to_upstream: str


CASES = (
    Case("plain", None, None, (), "plain", "plain"),
    Case("deflate", PMD, None, (), "deflate", "inflate"),
    Case("inflate", None, PMD, WIDE_UPSTREAM, "inflate", "deflate"),
    Case("pass", PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "passthrough"'), "pass", "pass"),
    Case("recode", PMD, PMD, (*WIDE_UPSTREAM, 'compression.mode = "recompress"'), "recode", "recode"),
)


def _pack(wire: Wire, case: Case, ends: Tunnel) -> bool:
    return (case.offer if wire is ends.client else case.agree) is not None


def _exchange(case: Case, ends: Tunnel, seen: dict[str, Leg]) -> None:
    """Messages of every size each way; what the ends sent and got is added to ``seen``."""
    starts = {
        leg: (wire.bytes_sent, wire.bytes_read) for leg, wire in zip(LEGS, (ends.client, ends.upstream), strict=True)
    }
    for side, other in (("client", "upstream"), ("upstream", "client")):
        near, far = ends.ends_from(side)
        unpack = zlib.decompressobj(-15)
        for size in SIZES:
            message = content(size)
            packed = _pack(near, case, ends)
            near.send(Frame(BINARY, deflate(message) if packed else message, rsv1=packed))
            got = _message(far, unpack, seen[other])
            assert got == message or not f"{size} bytes differ"
            seen[side].payload_to += size
            seen[other].payload_by += size
    for leg, wire in zip(LEGS, (ends.client, ends.upstream), strict=True):
        seen[leg].wire_to += wire.bytes_sent - starts[leg][0]
        seen[leg].wire_by += wire.bytes_read - starts[leg][1]


def _message(wire: Wire, unpack: "zlib._Decompress", leg: Leg) -> bytes:
    frames = [wire.frame()]
    while not frames[-1].fin:
        frames.append(wire.frame())
    raw = b"".join(frame.payload for frame in frames)
    if not frames[0].rsv1:
        return raw
    message = unpack.decompress(raw + b"\x00\x00\xff\xff")
    leg.packed_by.append((len(message), len(raw)))
    return message


def _hold(proxy: Proxy, case: Case, seen: dict[str, Leg], messages: int) -> None:
    for leg, counted in seen.items():
        for metric, direction, number in (
            ("wire", "received", counted.wire_to),
            ("wire", "sent", counted.wire_by),
            ("payload", "received", counted.payload_to),
            ("payload", "sent", counted.payload_by),
        ):
            told = proxy.metric(f"wsproxy_{metric}_bytes_total", route=case.name, leg=leg, direction=direction)
            assert told == number, f"{metric} bytes {direction} on the {leg}'s leg"
        for direction in ("received", "sent"):
            labels = {"route": case.name, "leg": leg, "direction": direction}
            assert proxy.metric("wsproxy_messages_total", kind="binary", **labels) == messages
        _hold_ratio(proxy, case, leg, counted)


def _hold_ratio(proxy: Proxy, case: Case, leg: str, counted: Leg) -> None:
    told = proxy.metric("wsproxy_compression_ratio", route=case.name, leg=leg, direction="sent")
    plan = case.to_client if leg == "client" else case.to_upstream
    if plan in {"deflate", "recode"}:
        payload, packed = (sum(numbers) for numbers in zip(*counted.packed_by, strict=True))
        assert told == pytest.approx(payload / packed, rel=0.01)
        assert told > 1.2
        outcomes = proxy.metric("wsproxy_codec_messages_total", route=case.name, leg=leg, outcome="compressed")
        assert outcomes == len(counted.packed_by)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_counters_equal_what_the_ends_saw(start_proxy: StartProxy, bare: RawUpstream, case: Case) -> None:
    proxy = start_proxy(route(case.name, bare.url, *case.lines), base=JSON_LOG)
    seen = {leg: Leg() for leg in LEGS}
    for number in (1, 2):
        with tunnel(proxy.address, bare, f"/{case.name}", offer=case.offer, agree=case.agree) as ends:
            _exchange(case, ends, seen)
            wait_for("the bytes' being counted", lambda: _sent(proxy, case) == seen["client"].wire_by)
            _hold(proxy, case, seen, number * len(SIZES))
            _say_goodbye(ends, seen)
        proxy.settled()
        # An ended tunnel counts as it did while it lived.
        _hold(proxy, case, seen, number * len(SIZES))
        for direction, plan in (("to_client", case.to_client), ("to_upstream", case.to_upstream)):
            assert proxy.metric("wsproxy_plans_total", direction=direction, plan=plan) == number
            assert proxy.metric("wsproxy_plans_total", direction=direction) == number
        assert proxy.metric("wsproxy_tunnels_total", route=case.name) == number
        assert proxy.metric("wsproxy_handshakes_total", route=case.name, result="accepted") == number
        assert proxy.metric("wsproxy_tunnel_duration_seconds_count", route=case.name) == number
    _hold_log(proxy, case, seen)


def _sent(proxy: Proxy, case: Case) -> float:
    return proxy.metric("wsproxy_wire_bytes_total", route=case.name, leg="client", direction="sent")


def _say_goodbye(ends: Tunnel, seen: dict[str, Leg]) -> None:
    ends.client.close(1000)
    assert ends.upstream.closed_with() == (1000, "")
    ends.upstream.close(1000)
    assert ends.client.closed_with() == (1000, "")
    assert ends.client.at_end()
    seen["client"].wire_to += 8
    seen["client"].wire_by += 4
    seen["upstream"].wire_to += 4
    seen["upstream"].wire_by += 8


def _hold_log(proxy: Proxy, case: Case, seen: dict[str, Leg]) -> None:
    wait_for("two lines", lambda: len(_closed(proxy)) == 2)
    lines = _closed(proxy)
    totals = {name: sum(int(str(line[name])) for line in lines) for name in lines[0] if "_bytes_" in name}
    for leg, counted in seen.items():
        assert totals[f"wire_bytes_from_{leg}"] == counted.wire_to
        assert totals[f"wire_bytes_to_{leg}"] == counted.wire_by
        assert totals[f"payload_bytes_from_{leg}"] == counted.payload_to
        assert totals[f"payload_bytes_to_{leg}"] == counted.payload_by
    for line in lines:
        assert (line["plan_to_client"], line["plan_to_upstream"]) == (case.to_client, case.to_upstream)
        assert (line["initiator"], line["code"]) == ("client", 1000)


def _closed(proxy: Proxy) -> list[dict[str, object]]:
    found = [json.loads(line) for line in list(proxy.lines)]
    return [line for line in found if line["event"] == "closed"]


def test_every_kind_is_counted_on_its_leg(start_proxy: StartProxy, bare: RawUpstream) -> None:
    proxy = start_proxy(route("bare", bare.url))
    kinds = {"text": (TEXT, 3), "binary": (BINARY, 2), "ping": (PING, 4), "pong": (PONG, 5)}
    with tunnel(proxy.address, bare, "/bare") as ends:
        for opcode, count in kinds.values():
            for _ in range(count):
                ends.client.send(Frame(opcode, b"{}"))
                assert ends.upstream.frame().opcode == opcode
        ends.client.close(4000)
        assert ends.upstream.frame().opcode == CLOSE
        ends.upstream.close(4000)
        assert ends.client.frame().opcode == CLOSE
    proxy.settled()
    counts = {kind: count for kind, (_, count) in kinds.items()} | {"close": 1}
    for leg, direction in (("client", "received"), ("upstream", "sent")):
        told = {
            kind: proxy.metric("wsproxy_messages_total", leg=leg, direction=direction, kind=kind) for kind in counts
        }
        assert told == counts


def test_a_websockets_client_sees_what_is_told(start_proxy: StartProxy, plain_upstream: peers.Upstream) -> None:
    """Independent compression on the client's side: its payload is what the metrics call payload."""
    proxy = start_proxy(route("echo", plain_upstream.url))
    messages = [text(size) for size in SIZES]
    with peers.client(proxy.url("/echo"), deflate=peers.CHROME) as client:
        for message in messages:
            client.send(message)
            assert client.recv() == message
    proxy.settled()
    payload = sum(len(message.encode()) for message in messages)
    for leg in LEGS:
        for direction in ("received", "sent"):
            assert proxy.metric("wsproxy_payload_bytes_total", leg=leg, direction=direction) == payload
    assert proxy.metric("wsproxy_wire_bytes_total", leg="client", direction="sent") < payload
    assert proxy.metric("wsproxy_wire_bytes_total", leg="upstream", direction="sent") > payload
    assert proxy.metric("wsproxy_agreements_total", leg="client", extension=PMD, takeover="both") == 1
    assert proxy.metric("wsproxy_agreements_total", leg="upstream", extension="none") == 1


@pytest.mark.parametrize(
    ("path", "headers", "result"),
    [
        ("/nowhere", {}, "no_route"),
        ("/closed", {}, "upstream_unreachable"),
        ("/closed", {"Sec-WebSocket-Version": "8"}, "bad_request"),
        ("/closed", {"Origin": "https://evil.example"}, "forbidden"),
    ],
)
def test_a_refused_handshake_is_counted_and_logged_once(
    start_proxy: StartProxy, path: str, headers: dict[str, str], result: str
) -> None:
    proxy = start_proxy(route("closed", "ws://127.0.0.1:1", 'origins = ["https://app.example.com"]'), base=JSON_LOG)
    told = _refusal(proxy, path + "?token=secret", headers)
    wait_for("its line", lambda: any('"refused"' in line for line in list(proxy.lines)))
    refused = [json.loads(line) for line in list(proxy.lines) if '"refused"' in line]
    assert [(line["result"], line["status"], line["path"]) for line in refused] == [(result, told, path)]
    assert proxy.metric("wsproxy_handshakes_total", result=result) == 1
    assert proxy.metric("wsproxy_handshakes_total") == 1
    assert "secret" not in "".join(proxy.lines)


def _refusal(proxy: Proxy, path: str, headers: dict[str, str]) -> int:
    wire = knock(proxy.address, path, **headers)
    status = wire.head().status
    wire.hang_up()
    return status
