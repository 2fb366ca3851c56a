"""PROXY protocol headers: the examples of its specification, what is refused, and properties over any bytes."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.protocol.proxy_protocol import (
    SIGNATURE,
    V1_LIMIT,
    V2_LIMIT,
    Accepted,
    BadProxyHeader,
    HeaderReader,
    Place,
    Told,
    encode,
)

REST = b"GET / HTTP/1.1\r\n\r\n"


def v2(command: int, family: int, body: bytes, size: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body) if size is None else size) + body


INET = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 56324, 443)
INET6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000002") + struct.pack("!HH", 1, 2)
UNIX = b"/run/client.sock".ljust(108, b"\x00") + b"/run/listener.sock".ljust(108, b"\x00")
TLV = b"\x02\x00\x0bexample.org"  # PP2_TYPE_AUTHORITY

GOOD: list[tuple[str, bytes, Told]] = [
    (
        "v1 TCP4",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        Told(("192.0.2.1", 56324), ("198.51.100.2", 443)),
    ),
    (
        "v1 longest TCP4",
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Told(("255.255.255.255", 65535), ("255.255.255.255", 65535)),
    ),
    ("v1 TCP6", b"PROXY TCP6 2001:DB8::1 ::1 0 65535\r\n", Told(("2001:db8::1", 0), ("::1", 65535))),
    ("v1 UNKNOWN", b"PROXY UNKNOWN\r\n", Told(None, None)),
    ("v1 UNKNOWN with more", b"PROXY UNKNOWN ffff:f::1 ::2 6 7\r\n", Told(None, None)),
    ("v1 longest", b"PROXY UNKNOWN ".ljust(V1_LIMIT - 2, b"f") + b"\r\n", Told(None, None)),
    ("v2 INET", v2(0x21, 0x11, INET), Told(("192.0.2.1", 56324), ("198.51.100.2", 443))),
    ("v2 INET with a TLV", v2(0x21, 0x11, INET + TLV), Told(("192.0.2.1", 56324), ("198.51.100.2", 443))),
    ("v2 INET6", v2(0x21, 0x21, INET6), Told(("2001:db8::1", 1), ("2001:db8::2", 2))),
    ("v2 UNIX", v2(0x21, 0x31, UNIX), Told("/run/client.sock", "/run/listener.sock")),
    ("v2 LOCAL", v2(0x20, 0x00, b""), Told(None, None)),
    ("v2 LOCAL with addresses", v2(0x20, 0x11, INET), Told(None, None)),
    ("v2 LOCAL of an unknown family", v2(0x20, 0xFF, b"xyz"), Told(None, None)),
    ("v2 UNSPEC", v2(0x21, 0x00, b""), Told(None, None)),
    ("v2 UNSPEC with a TLV", v2(0x21, 0x00, TLV), Told(None, None)),
    ("v2 longest", v2(0x21, 0x00, bytes(V2_LIMIT - 16)), Told(None, None)),
]

BAD: list[tuple[str, bytes]] = [
    ("nothing of the kind", REST),
    ("a TLS hello", b"\x16\x03\x01\x02\x00" + bytes(99)),
    ("lower case", b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
    ("v1 of another protocol", b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
    ("v1 without addresses", b"PROXY TCP4\r\n" + REST),
    ("v1 two spaces", b"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n"),
    ("v1 a space at the end", b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n"),
    ("v1 a tab", b"PROXY TCP4\t192.0.2.1 198.51.100.2 56324 443\r\n"),
    ("v1 LF alone", b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n"),
    ("v1 CR inside", b"PROXY UNKNOWN \r x\r\n"),
    ("v1 UNKNOWN without a space", b"PROXY UNKNOWNx\r\n"),
    ("v1 octal", b"PROXY TCP4 192.0.02.1 198.51.100.2 56324 443\r\n"),
    ("v1 over 255", b"PROXY TCP4 192.0.256.1 198.51.100.2 56324 443\r\n"),
    ("v1 three parts", b"PROXY TCP4 192.0.1 198.51.100.2 56324 443\r\n"),
    ("v1 IPv6 as TCP4", b"PROXY TCP4 ::1 ::1 56324 443\r\n"),
    ("v1 IPv4 as TCP6", b"PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n"),
    ("v1 a zone", b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n"),
    ("v1 a port over 65535", b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"),
    ("v1 a port with a zero", b"PROXY TCP4 192.0.2.1 198.51.100.2 0443 443\r\n"),
    ("v1 a signed port", b"PROXY TCP4 192.0.2.1 198.51.100.2 +443 443\r\n"),
    ("v1 too long", b"PROXY UNKNOWN ".ljust(V1_LIMIT - 1, b"f") + b"\r\n"),
    ("v1 without end", b"PROXY UNKNOWN " + b"f" * 1000),
    ("v2 version 1", v2(0x11, 0x11, INET)),
    ("v2 version 3", v2(0x31, 0x11, INET)),
    ("v2 an unknown command", v2(0x22, 0x11, INET)),
    ("v2 UDP", v2(0x21, 0x12, INET)),
    ("v2 an unknown family", v2(0x21, 0x41, INET)),
    ("v2 INET too short", v2(0x21, 0x11, INET[:-1])),
    ("v2 INET6 too short", v2(0x21, 0x21, INET)),
    ("v2 UNIX too short", v2(0x21, 0x31, UNIX[:-1])),
    ("v2 too long", v2(0x21, 0x00, b"", V2_LIMIT - 15) + bytes(V2_LIMIT)),
    ("v2 longest that can be said", v2(0x21, 0x11, b"", 65535)),
    ("v2 signature cut", SIGNATURE[:-1] + b"\x00" + bytes(20)),
]


def read(data: bytes, accepted: Accepted = "any", step: int = 1 << 30) -> tuple[Told | None, bytes]:
    """What the header says, reading at most ``step`` bytes at a time, and what it left unread."""
    reader = HeaderReader(accepted)
    told = None
    while told is None and data:
        size = min(reader.wanted, step)
        assert size >= 1
        told, data = reader.feed(data[:size]), data[size:]
    return told, data


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 30])
@pytest.mark.parametrize("header, told", [g[1:] for g in GOOD], ids=[g[0] for g in GOOD])
def test_a_header_is_read_and_nothing_behind_it(header: bytes, told: Told, step: int) -> None:
    version: Accepted = "v2" if header.startswith(SIGNATURE) else "v1"
    for accepted in (version, "any"):
        assert read(header + REST, accepted, step) == (told, REST)
        assert read(header, accepted, step) == (told, b"")
        assert read(header[:-1], accepted, step) == (None, b"")


@pytest.mark.parametrize("step", [1, 1 << 30])
@pytest.mark.parametrize("data", [b[1] for b in BAD], ids=[b[0] for b in BAD])
def test_what_is_not_a_header_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(BadProxyHeader):
        read(data, "any", step)


@pytest.mark.parametrize("header", [g[1] for g in GOOD], ids=[g[0] for g in GOOD])
def test_the_other_version_is_refused(header: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        read(header + REST, "v1" if header.startswith(SIGNATURE) else "v2")


def test_a_stranger_is_refused_by_its_first_wrong_byte() -> None:
    reader = HeaderReader("any")
    assert reader.feed(b"PRO") is None
    with pytest.raises(BadProxyHeader):
        reader.feed(b"P")


ports = st.integers(0, 65535)
four = st.tuples(st.ip_addresses(v=4).map(str), ports)
six = st.tuples(st.ip_addresses(v=6).map(str), ports)
versions = st.sampled_from(["v1", "v2"])


@given(versions, st.one_of(st.tuples(four, four), st.tuples(six, six)), st.integers(1, 40), st.binary(max_size=40))
def test_what_is_written_is_read(
    version: Accepted, places: tuple[tuple[str, int], tuple[str, int]], step: int, rest: bytes
) -> None:
    assert version != "any"
    header = encode(version, *places)
    assert len(header) <= V1_LIMIT or version == "v2"
    assert read(header + rest, version, step) == (Told(*places), rest)


@given(versions, four, six)
def test_two_families_are_written_as_one(version: Accepted, source: Place, destination: Place) -> None:
    assert version != "any" and isinstance(source, tuple) and isinstance(destination, tuple)
    told, _ = read(encode(version, source, destination))
    assert told is not None and isinstance(told.source, tuple)
    assert ipaddress.IPv6Address(told.source[0]).ipv4_mapped == ipaddress.IPv4Address(source[0])
    assert (told.source[1], told.destination) == (source[1], destination)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("places", [(None, None), ("/run/a.sock", ("::1", 1)), (("127.0.0.1", 1), "/run/b.sock")])
def test_what_has_no_address_is_unknown(version: Accepted, places: tuple[Place, Place]) -> None:
    assert version != "any"
    assert read(encode(version, *places) + REST) == (Told(None, None), REST)


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 1.2.3.4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"])


@given(beginnings, st.binary(max_size=300), st.integers(1, 64))
def test_any_bytes_give_the_same_answer_in_any_pieces(beginning: bytes, data: bytes, step: int) -> None:
    def outcome(pieces: int) -> object:
        try:
            return read(beginning + data, "any", pieces)
        except BadProxyHeader:
            return "refused"

    assert outcome(step) == outcome(1 << 30) == outcome(1)
