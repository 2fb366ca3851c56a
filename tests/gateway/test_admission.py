"""Caps and rates as tables with a clock of the test's own; and that nothing is kept of those who are gone."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.gateway.admission import MOST_ADDRESSES, Admission, client_key
from wsproxy.protocol.rates import Bucket, make_bucket
from wsproxy.settings.tree import Route, RouteLimits, WorkerLimits

NO_LIMITS = WorkerLimits()


def route(max_tunnels: int = 0, max_tunnels_per_address: int = 0, handshakes_per_second: float = 0.0) -> Route:
    limits = RouteLimits(
        max_tunnels=max_tunnels,
        max_tunnels_per_address=max_tunnels_per_address,
        handshakes_per_second=handshakes_per_second,
    )
    return Route(name="feed", upstream="feed", limits=limits)


def refusal(call: Callable[[], object]) -> tuple[int, bytes]:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.result == "limited"
    assert [name for name, _ in caught.value.headers] == [b"Retry-After"]
    return caught.value.status, caught.value.headers[0][1]


def test_connections_of_a_worker() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, max_connections=2)
    first = admission.take_connection(limits)
    admission.take_connection(limits)
    assert refusal(lambda: admission.take_connection(limits)) == (503, b"5")
    first()
    admission.take_connection(limits)
    assert refusal(lambda: admission.take_connection(limits)) == (503, b"5")


def test_connections_of_an_address() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, max_connections_per_address=1)
    first = admission.take_address(limits, "192.0.2.1")
    admission.take_address(limits, "192.0.2.2")
    admission.take_address(limits, "unix")
    assert refusal(lambda: admission.take_address(limits, "192.0.2.1")) == (429, b"1")
    first()
    admission.take_address(limits, "192.0.2.1")


def test_the_neighbours_of_an_ipv6_address_are_the_same_client() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, max_connections_per_address=1)
    admission.take_address(limits, "2001:db8:0:1::1")
    assert refusal(lambda: admission.take_address(limits, "2001:db8:0:1:ffff::2")) == (429, b"1")
    admission.take_address(limits, "2001:db8:0:2::1")
    assert client_key("fe80::1%eth0") == "fe80::/64"


def test_handshakes_of_an_address() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, handshakes_per_second_per_address=3)
    for _ in range(3):
        admission.check_handshake(limits, "192.0.2.1", 100.0)
    assert refusal(lambda: admission.check_handshake(limits, "192.0.2.1", 100.0)) == (429, b"1")
    admission.check_handshake(limits, "192.0.2.2", 100.0)
    assert refusal(lambda: admission.check_handshake(limits, "192.0.2.1", 100.3)) == (429, b"1")
    admission.check_handshake(limits, "192.0.2.1", 100.4)


def test_a_rate_below_one_a_second_still_lets_one_in() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, handshakes_per_second_per_address=0.5)
    admission.check_handshake(limits, "192.0.2.1", 0.0)
    assert refusal(lambda: admission.check_handshake(limits, "192.0.2.1", 1.9)) == (429, b"1")
    admission.check_handshake(limits, "192.0.2.1", 2.0)


def test_a_rate_that_a_reload_changed_holds_at_once() -> None:
    admission = Admission()
    slow, fast = (replace(NO_LIMITS, handshakes_per_second_per_address=rate) for rate in (1, 2))
    admission.check_handshake(slow, "192.0.2.1", 0.0)
    assert refusal(lambda: admission.check_handshake(slow, "192.0.2.1", 0.0)) == (429, b"1")
    admission.check_handshake(fast, "192.0.2.1", 0.0)
    admission.check_handshake(fast, "192.0.2.1", 0.0)
    assert refusal(lambda: admission.check_handshake(fast, "192.0.2.1", 0.0)) == (429, b"1")


def test_tunnels_of_a_route() -> None:
    admission, capped = Admission(), route(max_tunnels=2)
    first = admission.take_tunnel(capped, "192.0.2.1", 0.0)
    admission.take_tunnel(capped, "192.0.2.2", 0.0)
    assert refusal(lambda: admission.take_tunnel(capped, "192.0.2.3", 0.0)) == (503, b"5")
    first()
    admission.take_tunnel(capped, "192.0.2.3", 0.0)


def test_tunnels_of_an_address_on_a_route() -> None:
    admission, capped = Admission(), route(max_tunnels=3, max_tunnels_per_address=1)
    first = admission.take_tunnel(capped, "192.0.2.1", 0.0)
    for _ in range(5):
        # A refusal takes nothing of the route's own number.
        assert refusal(lambda: admission.take_tunnel(capped, "192.0.2.1", 0.0)) == (429, b"1")
    admission.take_tunnel(capped, "192.0.2.2", 0.0)
    admission.take_tunnel(capped, "192.0.2.3", 0.0)
    first()
    admission.take_tunnel(capped, "192.0.2.1", 0.0)


def test_handshakes_of_a_route() -> None:
    admission, capped = Admission(), route(handshakes_per_second=2)
    for address in ("192.0.2.1", "192.0.2.2"):
        admission.take_tunnel(capped, address, 0.0)
    assert refusal(lambda: admission.take_tunnel(capped, "192.0.2.3", 0.0)) == (429, b"1")
    admission.take_tunnel(capped, "192.0.2.3", 0.5)


def test_without_caps_everyone_enters() -> None:
    admission, free = Admission(), route()
    for _ in range(100):
        admission.take_connection(NO_LIMITS)
        admission.take_address(NO_LIMITS, "192.0.2.1")
        admission.check_handshake(NO_LIMITS, "192.0.2.1", 0.0)
        admission.take_tunnel(free, "192.0.2.1", 0.0)


def test_nothing_is_kept_of_addresses_that_left() -> None:
    admission, capped = Admission(), route(max_tunnels=5, max_tunnels_per_address=5)
    for number in range(2000):
        address = f"10.0.{number // 256}.{number % 256}"
        admission.take_address(NO_LIMITS, address)()
        admission.take_tunnel(capped, address, 0.0)()
    assert admission.remembered == 0


def test_addresses_that_owe_nothing_are_forgotten() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, handshakes_per_second_per_address=1)
    for number in range(20_000):
        admission.check_handshake(limits, f"10.0.{number // 256}.{number % 256}", number / 100)
    assert admission.remembered < 3000


def test_a_crowd_of_addresses_does_not_fill_the_memory() -> None:
    admission, limits = Admission(), replace(NO_LIMITS, handshakes_per_second_per_address=1)
    for number in range(3 * MOST_ADDRESSES):
        admission.check_handshake(limits, f"{number >> 16 & 255}.0.{number >> 8 & 255}.{number & 255}", 0.0)
    assert admission.remembered <= MOST_ADDRESSES


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50)), max_size=50),
)
def test_a_bucket_gives_no_more_than_its_burst_and_its_rate(rate: float, takes: list[tuple[float, float]]) -> None:
    now, given_out = 100.0, 0.0
    bucket = Bucket(rate, 10.0, now)
    for pause, amount in takes:
        now += pause
        if bucket.take(amount, now):
            given_out += amount
        assert given_out <= 10.0 + rate * (now - 100.0) + 1e-6


def test_a_bucket_is_full_again_and_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(10, 10, 0.0)
    assert bucket.take(10, 0.0) and not bucket.take(1, -5.0) and not bucket.full(0.9)
    assert bucket.take(1, 0.1) and bucket.full(2.0)
    assert make_bucket(0, 1, 0.0) is None
