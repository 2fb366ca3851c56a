"""The order in which endpoints are tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.gateway.pools import Pool
from wsproxy.settings.endpoints import Endpoint, parse_endpoint

A, B, C = (parse_endpoint(f"ws://{name}.test:9000") for name in "abc")


def test_round_robin_goes_round() -> None:
    pool = Pool("feed", [A, B, C], "round_robin")
    pool.take(A)
    assert [pool.candidates() for _ in range(4)] == [(A, B, C), (B, C, A), (C, A, B), (A, B, C)]


def test_least_connections_takes_the_emptiest_and_turns_among_equals() -> None:
    pool = Pool("feed", [A, B, C], "least_connections")
    pool.take(A)
    pool.take(A)
    pool.take(B)
    assert pool.candidates() == (C, B, A)
    pool.give_back(A)
    assert [pool.candidates()[0] for _ in range(2)] == [C, C]
    pool.take(C)
    assert {pool.candidates()[0] for _ in range(3)} == {A, B, C}


def test_counts_are_per_endpoint_and_never_negative() -> None:
    pool = Pool("feed", [A, B], "least_connections")
    pool.take(A)
    assert (pool.live(A), pool.live(B)) == (1, 0)
    with pytest.raises(ValueError, match=r"b\.test"):
        pool.give_back(B)
    pool.give_back(A)
    assert pool.live(A) == 0


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_least_connections_stays_level(opens: list[bool], size: int) -> None:
    """However many open, two endpoints never differ by more than one; closing takes from the fullest."""
    pool = Pool("feed", [parse_endpoint(f"ws://e{number}.test") for number in range(size)], "least_connections")
    opened: list[Endpoint] = []
    for is_open in opens:
        if is_open:
            candidates = pool.candidates()
            assert set(candidates) == set(pool.endpoints)
            pool.take(candidates[0])
            opened.append(candidates[0])
        elif opened:
            fullest = max(opened, key=pool.live)
            opened.remove(fullest)
            pool.give_back(fullest)
        counts = [pool.live(endpoint) for endpoint in pool.endpoints]
        assert sum(counts) == len(opened)
        assert max(counts) - min(counts) <= 1
