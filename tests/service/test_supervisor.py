"""The arithmetic of shares. The supervisor itself is tried as processes, in tests/endtoend/test_workers.py."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.service.supervisor import shares_of


@pytest.mark.parametrize(
    ("tunnels", "shares"),
    [
        ([0, 0], [0.5, 0.5]),
        ([100, 100, 100], [1 / 3, 1 / 3, 1 / 3]),
        ([None, 5], [0, 1]),
        ([None, None], [0.5, 0.5]),
        ([0, 1_000_000], [0.8, 0.2]),
        ([96, 196], [2 / 3, 1 / 3]),
    ],
)
def test_shares(tunnels: list[int | None], shares: list[float]) -> None:
    found = shares_of(tunnels)
    assert [each / sum(found) for each in found] == pytest.approx(shares)


@given(st.lists(st.none() | st.integers(0, 100_000), min_size=1, max_size=16))
def test_fewer_tunnels_never_get_a_smaller_share(tunnels: list[int | None]) -> None:
    shares = shares_of(tunnels)
    assert sum(shares) > 0
    if any(each is not None for each in tunnels):
        assert all((share == 0) == (count is None) for share, count in zip(shares, tunnels, strict=True))
    alive = sorted((count, -share) for count, share in zip(tunnels, shares, strict=True) if count is not None)
    assert alive == sorted(alive, key=lambda each: (each[1], each[0]))


def test_two_hundred_tunnels_in_batches_are_even() -> None:
    """A thousand runs of what test_tunnels_are_spread_evenly does once; shares follow after each batch of 20."""
    source = random.Random(5)
    worst = 0
    for _ in range(1000):
        tunnels: list[int | None] = [0, 0]
        counts = [0, 0]
        for batch in range(10):
            tunnels = [*counts]
            for worker in source.choices((0, 1), shares_of(tunnels), k=20):
                counts[worker] += 1
            assert sum(counts) == (batch + 1) * 20
        worst = max(worst, *counts)
    assert worst < 120
