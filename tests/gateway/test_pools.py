"""Which instance comes next, for each way to balance; who may not be chosen; what a reload keeps."""

import gc
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.errors import Refused
from wsproxy.gateway.endpoints import Endpoints, Instance
from wsproxy.gateway.pools import Pool
from wsproxy.settings.tree import Balance, Health, Upstream, WeightedUrl

PASSIVE = Health(mode="passive")
WAYS: list[Balance] = ["least_connections", "round_robin", "random", "client_hash"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(
    balance: Balance = "least_connections",
    weights: Sequence[int] = (1, 1, 1),
    known: Endpoints | None = None,
    clock: Clock | None = None,
    max_connections: int = 0,
    slow_start_seconds: float = 0,
    health: Health = PASSIVE,
) -> Pool:
    """A pool of ``ws://a``, ``ws://b`` and so on."""
    urls = tuple(WeightedUrl(f"ws://{'abcdefghij'[number]}", weight) for number, weight in enumerate(weights))
    settings = Upstream(
        endpoints=urls,
        balance=balance,
        max_connections=max_connections,
        slow_start_seconds=slow_start_seconds,
        health=health,
    )
    return Pool("feed", settings, known, clock or Clock(), random.Random(1))


def choose(pool: Pool, client: str = "192.0.2.1", tried: Sequence[Instance] = ()) -> Instance:
    chosen = pool.choose(client, tried)
    assert chosen is not None
    return chosen


def name(instance: Instance) -> str:
    return instance.endpoint.host + (f"@{instance.address}" if instance.address else "")


def opened(pool: Pool, times: int, client: str = "192.0.2.1") -> str:
    """Who gets that many connections, which stay open."""
    return "".join(name(choose(pool, client)) for _ in range(times))


def passing(pool: Pool, times: int, clients: Sequence[str] = ("192.0.2.1",)) -> Counter[str]:
    """How often each is chosen for connections that end at once."""
    seen: Counter[str] = Counter()
    for number in range(times):
        chosen = choose(pool, clients[number % len(clients)])
        seen[name(chosen)] += 1
        pool.give_back(chosen)
    return seen


@pytest.mark.parametrize(
    ("weights", "expected"), [((1, 1, 1), "abcabcabc"), ((5, 1, 1), "aabacaa" * 2), ((2, 1), "abaaba")]
)
def test_round_robin_goes_round_evenly(weights: tuple[int, ...], expected: str) -> None:
    assert opened(make("round_robin", weights), len(expected)) == expected


@pytest.mark.parametrize(
    ("weights", "expected"), [((1, 1, 1), "aaabbbccc"), ((3, 1), "aaaaaabb"), ((1, 9), "abbbbbbbbb")]
)
def test_least_connections_go_by_weight(weights: tuple[int, ...], expected: str) -> None:
    assert "".join(sorted(opened(make("least_connections", weights), len(expected)))) == expected


def test_least_connections_takes_the_emptiest_and_turns_among_equals() -> None:
    pool = make()
    first = [choose(pool) for _ in range(6)]
    assert sorted(map(name, first)) == list("aabbcc")
    b = next(each for each in first if name(each) == "b")
    pool.give_back(b)
    assert name(choose(pool)) == "b"
    assert passing(make(), 6) == {"a": 2, "b": 2, "c": 2}


@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_least_connections_stays_level(opens: list[bool], weights: list[int]) -> None:
    """However many open, no instance has more for its weight than another would with one more."""
    pool = make(weights=weights)
    standing: list[Instance] = []
    load = {f"ws://{'abcdefghij'[number]}": weight for number, weight in enumerate(weights)}
    for is_open in opens:
        if is_open:
            standing.append(choose(pool))
        elif standing:
            fullest = max(standing, key=lambda each: each.live / load[each.endpoint.url])
            standing.remove(fullest)
            pool.give_back(fullest)
        instances = list(pool.instances())
        assert sum(each.live for each in instances) == len(standing)
        most = max(each.live / load[each.endpoint.url] for each in instances)
        assert most <= min((each.live + 1) / load[each.endpoint.url] for each in instances) + 1e-9


@pytest.mark.parametrize("balance", ["round_robin", "random", "client_hash"])
def test_shares_follow_weights(balance: Balance) -> None:
    clients = [f"10.0.{number // 250}.{number % 250}" for number in range(4000)]
    seen = passing(make(balance, (3, 1)), 4000, clients)
    # Of two that are drawn, the lower load is taken, and here all are empty: then the heavier one is.
    assert seen["a"] / 4000 == pytest.approx(1.0 if balance == "random" else 0.75, abs=0.03)


def test_the_better_of_two_is_nearly_level() -> None:
    pool = make("random", (1,) * 10)
    counts = Counter(opened(pool, 1000))
    assert max(counts.values()) - min(counts.values()) <= 6


def test_the_better_of_two_by_weight() -> None:
    counts = Counter(opened(make("random", (3, 1)), 400))
    assert counts["a"] / 400 == pytest.approx(0.75, abs=0.01)


def test_a_client_stays_where_it_is_and_few_move_when_one_goes() -> None:
    clients = [f"2001:db8::{number:x}" for number in range(1000)]
    before = {client: opened(make("client_hash", (1,) * 5), 1, client) for client in clients}
    assert before == {client: opened(make("client_hash", (1,) * 5), 1, client) for client in clients}
    assert max(Counter(before.values()).values()) < 260
    after = {client: opened(make("client_hash", (1,) * 4), 1, client) for client in clients}
    moved = [client for client in clients if before[client] != after[client]]
    assert {before[client] for client in moved} == {"e"}
    assert len(moved) == Counter(before.values())["e"]


@pytest.mark.parametrize("balance", WAYS)
def test_each_is_tried_once(balance: Balance) -> None:
    pool = make(balance)
    tried: list[Instance] = []
    for _ in range(3):
        tried.append(choose(pool, tried=tried))
        pool.give_back(tried[-1])
    assert sorted(map(name, tried)) == ["a", "b", "c"]
    assert pool.choose("192.0.2.1", tried) is None


@pytest.mark.parametrize("balance", WAYS)
def test_full_ones_are_passed_over_until_all_are_full(balance: Balance) -> None:
    pool = make(balance, (5, 1, 1), max_connections=2)
    standing = [choose(pool) for _ in range(6)]
    assert Counter(map(name, standing)) == {"a": 2, "b": 2, "c": 2}
    with pytest.raises(Refused) as refused:
        pool.choose("192.0.2.1")
    assert (refused.value.status, refused.value.result) == (503, "limited")
    assert refused.value.headers == ((b"Retry-After", b"1"),)
    assert pool.choose("192.0.2.1", standing[:1]) is None
    pool.give_back(standing[3])
    assert choose(pool) is standing[3]


def test_counts_are_per_endpoint_and_never_negative() -> None:
    pool = make(weights=(1, 1))
    a = choose(pool)
    assert [pool.live(endpoint) for endpoint in pool.endpoints] == [1, 0]
    pool.give_back(a)
    with pytest.raises(ValueError, match="ws://a has no connection"):
        pool.give_back(a)
    assert [pool.live(endpoint) for endpoint in pool.endpoints] == [0, 0]


def test_a_draining_endpoint_gets_nothing_more() -> None:
    known = Endpoints()
    pool = make(weights=(1, 1), known=known)
    known.draining.add("ws://a")
    assert opened(pool, 3) == "bbb"
    known.draining.add("ws://b")
    with pytest.raises(Refused) as refused:
        pool.choose("192.0.2.1")
    assert (refused.value.status, refused.value.result) == (503, "upstream_unreachable")


def test_counts_and_ejections_outlive_a_reload() -> None:
    known, clock = Endpoints(), Clock()
    old = make(known=known, clock=clock, health=Health(fall=1))
    a, b = choose(old), choose(old)
    assert old.failed(b)
    new = make("round_robin", (1, 1, 1, 1), known=known, clock=clock)
    assert [new.live(endpoint) for endpoint in new.endpoints] == [1, 1, 0, 0]
    assert [new.is_up(endpoint) for endpoint in new.endpoints] == [True, False, True, True]
    new.give_back(a)
    assert old.live(old.endpoints[0]) == 0


def test_what_nothing_uses_is_forgotten_and_another_upstream_is_another() -> None:
    known = Endpoints()
    pool = make(known=known, weights=(1,))
    instance = choose(pool)
    assert known.get("other", pool.endpoints[0]).live == 0
    endpoint = pool.endpoints[0]
    del pool
    gc.collect()
    assert known.get("feed", endpoint).live == 1  # the connection still stands
    del instance
    gc.collect()
    assert known.get("feed", endpoint).live == 0


# --- names


def test_addresses_of_a_name_are_instances_of_their_own() -> None:
    pool = make("round_robin", (1,))
    (known,) = pool.known
    by_name = choose(pool)
    pool.resolved(known, ["10.0.0.1", "10.0.0.2"])
    assert name(by_name) == "a@10.0.0.1"  # what was dialled by name
    assert [name(choose(pool)) for _ in range(2)] in (["a@10.0.0.1", "a@10.0.0.2"], ["a@10.0.0.2", "a@10.0.0.1"])
    assert pool.live(pool.endpoints[0]) == 3


def test_connections_to_vanished_addresses_are_left_alone_and_counted() -> None:
    pool = make("round_robin", (1,))
    (known,) = pool.known
    pool.resolved(known, ["10.0.0.1", "10.0.0.2"])
    standing = {name(each): each for each in (choose(pool), choose(pool))}
    pool.resolved(known, ["10.0.0.2", "10.0.0.3"])
    assert {name(each) for each in pool.instances()} == {"a@10.0.0.2", "a@10.0.0.3"}
    assert next(pool.instances()) is standing["a@10.0.0.2"]
    assert pool.live(pool.endpoints[0]) == 2
    pool.give_back(standing["a@10.0.0.1"])
    assert pool.live(pool.endpoints[0]) == 1
    assert {name(choose(pool)) for _ in range(6)} == {"a@10.0.0.2", "a@10.0.0.3"}


def test_an_address_that_comes_later_starts_slowly() -> None:
    clock = Clock()
    pool = make("round_robin", (1,), clock=clock, slow_start_seconds=10)
    (known,) = pool.known
    pool.resolved(known, ["10.0.0.1", "10.0.0.2"])
    assert passing(pool, 20) == {"a@10.0.0.1": 10, "a@10.0.0.2": 10}
    pool.resolved(known, ["10.0.0.1", "10.0.0.3"])
    assert passing(pool, 22) == {"a@10.0.0.1": 20, "a@10.0.0.3": 2}
    clock.now += 5
    assert passing(pool, 30) == {"a@10.0.0.1": 20, "a@10.0.0.3": 10}
    clock.now += 5
    assert passing(pool, 20) == {"a@10.0.0.1": 10, "a@10.0.0.3": 10}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("ws://feed.internal", True),
        ("wss://localhost:1", False),
        ("ws://10.0.0.1", False),
        ("ws://[::1]:9000", False),
        ("unix:/run/a.sock", False),
    ],
)
def test_only_names_are_looked_up(url: str, named: bool) -> None:
    (known,) = Pool("feed", Upstream(endpoints=(WeightedUrl(url),))).known
    assert known.has_name == named
