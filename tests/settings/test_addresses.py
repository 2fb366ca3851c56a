"""The ADDR grammar: what is read, what it prints as, and what is refused in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.settings.addresses import Address, FdAddress, NamedFdAddress, TcpAddress, UnixAddress, parse_address

GOOD = [
    ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
    ("localhost:0", TcpAddress("localhost", 0)),
    ("a-b.c_d.example:65535", TcpAddress("a-b.c_d.example", 65535)),
    ("0.0.0.0:80", TcpAddress("0.0.0.0", 80)),
    ("[::1]:80", TcpAddress("::1", 80)),
    ("[::]:80", TcpAddress("::", 80)),
    ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
    ("unix:/run/wsproxy.sock", UnixAddress("/run/wsproxy.sock")),
    ("unix:/with space:and:colons", UnixAddress("/with space:and:colons")),
    ("fd:3", FdAddress(3)),
    ("fd:public.http", NamedFdAddress("public.http")),
]

BAD = [
    ("", "has no port"),
    ("localhost", "has no port"),
    ("[::1]", "has no port"),
    (":8080", "write 0.0.0.0:8080 or [::]:8080"),
    ("*:8080", "write 0.0.0.0:8080 or [::]:8080"),
    ("::1:8080", "an IPv6 address goes in brackets"),
    ("[::1:8080", "an IPv6 address goes in brackets"),
    ("[1.2.3.4]:80", "1.2.3.4"),
    ("[]:80", "Address cannot be empty"),
    ("999.0.0.1:80", "999.0.0.1"),
    ("1.2.3:80", "Expected 4 octets"),
    ("a:65536", "'65536' is not a port"),
    ("a:-1", "'-1' is not a port"),
    ("a:", "'' is not a port"),
    ("a:8o", "'8o' is not a port"),
    ("a:٣", "is not a port"),
    ("a b:80", "is not a host name"),
    ("a..b:80", "is not a host name"),
    ("-a:80", "is not a host name"),
    ("bücher.example:80", "xn--"),
    (f"{'a' * 256}:80", "is not a host name"),
    ("http://a:80", "goes in brackets"),
    ("unix:", "is not an absolute path"),
    ("unix:relative", "is not an absolute path"),
    ("unix:/a\0b", "is not an absolute path"),
    (f"unix:/{'a' * 107}", "longer than the 107 bytes"),
    ("fd:", "is not fd:N"),
    ("fd:-1", "is not fd:N"),
    ("fd:3x", "is not fd:N"),
]


@pytest.mark.parametrize(("text", "address"), GOOD)
def test_reads_and_prints(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(("text", "problem"), BAD)
def test_refuses_with_a_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert problem in str(caught.value)


def test_takes_the_longest_unix_path() -> None:
    assert parse_address(f"unix:/{'a' * 106}") == UnixAddress("/" + "a" * 106)


PORTS = st.integers(0, 65535)
ADDRESSES: st.SearchStrategy[Address] = st.one_of(
    st.builds(TcpAddress, st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True), PORTS),
    st.builds(TcpAddress, st.ip_addresses().map(str), PORTS),
    st.builds(UnixAddress, st.from_regex(r"/[^\0]{0,20}", fullmatch=True)),
    st.builds(FdAddress, st.integers(0, 999_999_999)),
)


@given(ADDRESSES)
def test_what_is_printed_reads_back(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
