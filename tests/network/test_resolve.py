"""Names to addresses."""

import pytest
import trio

from wsproxy.network.resolve import _literal, resolve


def test_a_name_has_its_addresses_each_once(localhost: str) -> None:
    found = trio.run(resolve, localhost, 80)
    assert "127.0.0.1" in found
    assert len(found) == len(set(found))


def test_a_literal_is_itself() -> None:
    assert trio.run(resolve, "127.0.0.2", 80) == ("127.0.0.2",)


def test_what_cannot_be_a_name_is_an_error() -> None:
    with pytest.raises(OSError, match=r".+"):
        trio.run(resolve, "no such name.invalid", 80)
    with pytest.raises(UnicodeError):
        trio.run(resolve, "a" * 70 + ".test", 80)


@pytest.mark.parametrize(
    ("place", "literal"),
    [
        (("10.0.0.1", 80), "10.0.0.1"),
        (("::1", 80, 0, 0), "::1"),
        (("fe80::1", 80, 0, 2), "fe80::1%2"),
        (("fe80::1%eth0", 80, 0, 2), "fe80::1%eth0"),
    ],
)
def test_an_address_of_one_interface_keeps_it(place: tuple[object, ...], literal: str) -> None:
    assert _literal(place) == literal
