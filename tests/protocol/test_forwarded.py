"""Who a request comes from and what its upstream is told, as tables; and that no spelling gets past."""

from collections.abc import Iterator

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.protocol.forwarded import Arrival, ClientCertificate, HeaderChanges, Introduction, TrustedProxies
from wsproxy.protocol.proxy_protocol import Place

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::/32", "unix"])
DIRECT: Place = ("198.51.100.7", 5000)
TRUSTED: Place = ("10.1.2.3", 5000)
HOST = b"feed.example.com:8443"
Pairs = list[tuple[bytes, bytes]]


def introduction(source: Place, secure: bool = False, certificate: ClientCertificate | None = None) -> Introduction:
    return Introduction(Arrival(source, ("10.9.9.9", 443), secure, PROXIES, certificate))


def request(headers: Pairs) -> h11.Request:
    return h11.Request(method="GET", target="/", headers=[(b"Host", b"x"), *headers])


def told(source: Place, headers: Pairs, secure: bool = False) -> dict[bytes, list[bytes]]:
    """What an upstream gets, by name in lower case with '-' for '_'."""
    found: dict[bytes, list[bytes]] = {}
    for raw, value in introduction(source, secure).introduce(HOST, headers):
        found.setdefault(raw.lower().replace(b"_", b"-"), []).append(value)
    return found


def test_a_direct_client_is_introduced() -> None:
    assert told(DIRECT, [(b"Accept", b"*/*")], secure=True) == {
        b"accept": [b"*/*"],
        b"x-forwarded-for": [b"198.51.100.7"],
        b"x-forwarded-proto": [b"https"],
        b"x-forwarded-host": [HOST],
        b"forwarded": [b'for=198.51.100.7;host="feed.example.com:8443";proto=https'],
    }


def test_an_ipv6_client_is_quoted_in_forwarded() -> None:
    found = told(("2a00::1", 1), [])
    assert found[b"x-forwarded-for"] == [b"2a00::1"]
    assert found[b"forwarded"] == [b'for="[2a00::1]";host="feed.example.com:8443";proto=http']


def test_a_client_behind_a_unix_socket_has_no_address() -> None:
    found = told("", [])
    assert b"x-forwarded-for" not in found
    assert found[b"forwarded"] == [b'for=unknown;host="feed.example.com:8443";proto=http']


LIES: Pairs = [
    (b"X-Forwarded-For", b"10.0.0.1"),
    (b"x_forwarded_for", b"10.0.0.1"),
    (b"X-Forwarded_Proto", b"https"),
    (b"X-Forwarded-Host", b"evil"),
    (b"X-Forwarded-Port", b"443"),
    (b"X-Real-IP", b"10.0.0.1"),
    (b"X_Real_Ip", b"10.0.0.1"),
    (b"FORWARDED", b"for=10.0.0.1"),
    (b"X-Client-Cert-Subject", b"CN=root"),
    (b"x_client_cert_subject", b"CN=root"),
]


def test_what_a_stranger_says_about_itself_is_replaced() -> None:
    assert told(DIRECT, LIES) == told(DIRECT, [])
    assert introduction(DIRECT).requester(request(LIES).headers).address == "198.51.100.7"


def test_what_a_trusted_proxy_says_is_added_to() -> None:
    found = told(
        TRUSTED,
        [
            (b"X-Forwarded-For", b"203.0.113.9"),
            (b"X-Forwarded-For", b"198.51.100.1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"outside.example"),
            (b"X-Forwarded-Port", b"443"),
            (b"X_Forwarded_For", b"from the client"),
            (b"X-Real-IP", b"203.0.113.9"),
            (b"Forwarded", b"for=203.0.113.9;proto=https, for=198.51.100.1"),
            (b"X-Client-Cert-Subject", b"CN=root"),
        ],
    )
    assert found == {
        b"x-forwarded-for": [b"203.0.113.9, 198.51.100.1, 10.1.2.3"],
        b"x-forwarded-proto": [b"https"],
        b"x-forwarded-host": [b"outside.example"],
        b"x-forwarded-port": [b"443"],
        b"x-real-ip": [b"203.0.113.9"],
        b"forwarded": [
            b'for=203.0.113.9;proto=https, for=198.51.100.1, for=10.1.2.3;host="feed.example.com:8443";proto=http'
        ],
    }


CLIENT_AND_PROXY = b"203.0.113.9, 198.51.100.1"
OURS = b'for=10.1.2.3;host="feed.example.com:8443";proto=http'
WAYS: list[tuple[str, Pairs, bytes, bytes, bytes, bytes]] = [
    (
        "X-Forwarded-For alone",
        [(b"X-Forwarded-For", CLIENT_AND_PROXY)],
        CLIENT_AND_PROXY,
        b"for=203.0.113.9, for=198.51.100.1",
        b"http",
        HOST,
    ),
    (
        "with what else is usual",
        [
            (b"X-Forwarded-For", b"unknown, 2A00::1"),
            (b"X-Forwarded-Proto", b"http, https"),
            (b"X-Forwarded-Host", b"outside.example:443"),
        ],
        b"unknown, 2A00::1",
        b'for=unknown, for="[2a00::1]";host="outside.example:443";proto=https',
        b"http, https",
        b"outside.example:443",
    ),
    (
        "Forwarded that the client wrote and the proxy let pass",
        [(b"Forwarded", b"for=10.0.0.1;proto=https"), (b"X-Forwarded-For", b"203.0.113.9")],
        b"203.0.113.9",
        b"for=203.0.113.9",
        b"http",
        HOST,
    ),
    (
        "both, and of the same way",
        [(b"Forwarded", b'for="203.0.113.9:80";by=_x;proto=https'), (b"X-Forwarded-For", b"203.0.113.9")],
        b"203.0.113.9",
        b'for="203.0.113.9:80";by=_x;proto=https',
        b"http",
        HOST,
    ),
    (
        "Forwarded alone",
        [(b"Forwarded", b'for=_hidden, For="[2a00::1]:80";proto=https;host="a.example"')],
        b"unknown, 2a00::1",
        b'for=_hidden, For="[2a00::1]:80";proto=https;host="a.example"',
        b"https",
        b"a.example",
    ),
    ("an empty one", [(b"X-Forwarded-For", b"")], b"", b"", b"http", HOST),
    (
        "half a quotation",
        [(b"Forwarded", b'for=203.0.113.9;host="a')],
        b"203.0.113.9, unknown",
        b"for=203.0.113.9, for=unknown",
        b"http",
        HOST,
    ),
]


@pytest.mark.parametrize(
    "headers, listed, forwarded, proto, host", [row[1:] for row in WAYS], ids=[row[0] for row in WAYS]
)
def test_both_ways_of_telling_tell_the_same(
    headers: Pairs, listed: bytes, forwarded: bytes, proto: bytes, host: bytes
) -> None:
    found = told(TRUSTED, headers)
    assert found[b"x-forwarded-for"] == [b", ".join(filter(None, (listed, b"10.1.2.3")))]
    assert found[b"x-forwarded-proto"] == [proto]
    assert found[b"x-forwarded-host"] == [host]
    assert found[b"forwarded"] == [b", ".join(filter(None, (forwarded, OURS)))]


REQUESTERS: list[tuple[str, Place, Pairs, str]] = [
    ("alone", TRUSTED, [], "10.1.2.3"),
    ("one hop", TRUSTED, [(b"X-Forwarded-For", b"203.0.113.9")], "203.0.113.9"),
    ("the rightmost stranger", TRUSTED, [(b"X-Forwarded-For", b"1.1.1.1, 203.0.113.9, 10.5.5.5")], "203.0.113.9"),
    (
        "several fields",
        TRUSTED,
        [(b"X-Forwarded-For", b"1.1.1.1"), (b"X-Forwarded-For", b"203.0.113.9")],
        "203.0.113.9",
    ),
    ("all trusted", TRUSTED, [(b"X-Forwarded-For", b"10.7.7.7, 10.5.5.5")], "10.7.7.7"),
    ("garbage ends the walk", TRUSTED, [(b"X-Forwarded-For", b"203.0.113.9, unknown, 10.5.5.5")], "10.5.5.5"),
    ("a port", TRUSTED, [(b"X-Forwarded-For", b"203.0.113.9:1234")], "203.0.113.9"),
    ("IPv6 with a port", TRUSTED, [(b"X-Forwarded-For", b"[2a00::1]:1234")], "2a00::1"),
    ("IPv6", TRUSTED, [(b"X-Forwarded-For", b"2A00:0::1")], "2a00::1"),
    ("mapped IPv4", TRUSTED, [(b"X-Forwarded-For", b"203.0.113.9, ::ffff:10.5.5.5")], "203.0.113.9"),
    ("mapped source", ("::ffff:10.1.2.3", 1), [(b"X-Forwarded-For", b"203.0.113.9")], "203.0.113.9"),
    ("empty", TRUSTED, [(b"X-Forwarded-For", b"")], "10.1.2.3"),
    ("trusted IPv6 proxy", ("2001:db8::5", 1), [(b"X-Forwarded-For", b"203.0.113.9")], "203.0.113.9"),
    ("trusted Unix socket", "", [(b"X-Forwarded-For", b"203.0.113.9")], "203.0.113.9"),
    ("Unix socket alone", "/run/x", [], "unix"),
    ("a stranger's word", DIRECT, [(b"X-Forwarded-For", b"203.0.113.9")], "198.51.100.7"),
    ("Forwarded", TRUSTED, [(b"Forwarded", b"for=1.1.1.1, For=203.0.113.9;by=10.1.2.3;proto=https")], "203.0.113.9"),
    ("Forwarded IPv6", TRUSTED, [(b"Forwarded", b'proto=https;for="[2a00::1]:4711"')], "2a00::1"),
    ("Forwarded, a comma in quotes", TRUSTED, [(b"Forwarded", b'for=203.0.113.9;host="a,for=1.1.1.1"')], "203.0.113.9"),
    ("Forwarded, a for in quotes", TRUSTED, [(b"Forwarded", b'host="a;for=1.1.1.1"')], "10.1.2.3"),
    ("Forwarded unknown", TRUSTED, [(b"Forwarded", b"for=203.0.113.9, for=unknown")], "10.1.2.3"),
    ("Forwarded hidden", TRUSTED, [(b"Forwarded", b"for=_secret")], "10.1.2.3"),
    ("both", TRUSTED, [(b"Forwarded", b"for=1.1.1.1"), (b"X-Forwarded-For", b"203.0.113.9")], "203.0.113.9"),
]


@pytest.mark.parametrize("source, headers, address", [r[1:] for r in REQUESTERS], ids=[r[0] for r in REQUESTERS])
def test_the_client_is_the_rightmost_that_is_not_trusted(source: Place, headers: Pairs, address: str) -> None:
    assert introduction(source).requester(request(headers).headers).address == address


def test_a_requester_is_told_with_its_port_where_that_is_known() -> None:
    assert introduction(DIRECT).requester(request([]).headers).text == "198.51.100.7:5000"
    assert introduction(("2a00::1", 80)).requester(request([]).headers).text == "[2a00::1]:80"
    assert introduction("/run/x").requester(request([]).headers).text == "unix:/run/x"


def test_a_verified_certificate_is_told() -> None:
    certificate = ClientCertificate("CN=alice,O=Example", "DNS:alice.example", "ab" * 32)
    found = introduction(DIRECT, True, certificate).introduce(HOST, [(b"X-Client-Cert-Subject", b"CN=root")])
    assert dict(found) | {
        b"X-Client-Cert-Subject": b"CN=alice,O=Example",
        b"X-Client-Cert-San": b"DNS:alice.example",
        b"X-Client-Cert-Fingerprint": b"ab" * 32,
    } == dict(found)


def test_trust_needs_the_right_family() -> None:
    everyone = TrustedProxies(["0.0.0.0/0"])
    assert everyone.trust(("192.0.2.1", 1))
    assert not everyone.trust(("2a00::1", 1))
    assert not everyone.trust("/run/x")
    assert not TrustedProxies([]).trust(("127.0.0.1", 1))


def test_a_route_sets_and_removes_fields() -> None:
    changes = HeaderChanges({"X-Env": "prod", "Host": "inside"}, ["COOKIE", "X-Forwarded-Host"])
    assert changes.host(b"outside") == b"inside"
    headers = [(b"cookie", b"a"), (b"x-env", b"theirs"), (b"Accept", b"*/*"), (b"X-Forwarded-Host", b"outside")]
    assert changes.apply(headers) == [(b"Accept", b"*/*"), (b"X-Env", b"prod")]
    assert HeaderChanges({}, []).host(b"outside") == b"outside"
    assert HeaderChanges({}, []).apply(headers) == headers


NAMES = [
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"forwarded",
    b"x-real-ip",
    b"x-client-cert-san",
]


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    name = bytearray(draw(st.sampled_from(NAMES)))
    for at, letter in enumerate(name):
        name[at : at + 1] = draw(
            st.sampled_from([b"-", b"_"] if letter == 45 else [bytes([letter]).upper(), bytes([letter])])
        )
    return bytes(name)


@given(st.lists(st.tuples(spellings(), st.sampled_from([b"lie", b"10.0.0.1", b'"'])), max_size=6))
def test_no_spelling_of_a_lie_crosses(lies: Pairs) -> None:
    assert introduction(DIRECT).introduce(HOST, lies) == introduction(DIRECT).introduce(HOST, [])


@given(st.lists(st.sampled_from([b"X-Forwarded-For", b"Forwarded"]), max_size=3), st.binary(max_size=60))
def test_any_value_of_a_trusted_proxy_gives_an_address(names: list[bytes], value: bytes) -> None:
    headers = [(name.lower(), value) for name in names]

    class Raw:
        def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
            return iter(headers)

        def raw_items(self) -> Pairs:
            return headers

    assert introduction(TRUSTED).requester(Raw()).address


WORDS = st.sampled_from(
    [
        b"203.0.113.9",
        b"unknown",
        b"for=203.0.113.9",
        b'for="[2a00::1]:80"',
        b";",
        b",",
        b'"',
        b"\\",
        b"proto=https",
        b"\xe9",
    ]
)


@given(st.lists(st.tuples(st.sampled_from([b"X-Forwarded-For", b"Forwarded"]), st.lists(WORDS).map(b"".join))))
def test_whatever_a_trusted_proxy_says_an_upstream_is_told_of_one_way(headers: Pairs) -> None:
    found = introduction(TRUSTED).introduce(HOST, headers)
    chains = {
        introduction(TRUSTED).requester(request([field for field in found if field[0] == name]).headers).address
        for name in (b"X-Forwarded-For", b"Forwarded")
    }
    assert chains == {introduction(TRUSTED).requester(request(headers).headers).address}
