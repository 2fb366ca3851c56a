"""When an instance is up: probes, failures of handshakes, and what a pool makes of them."""

import pytest

from tests.gateway.test_pools import Clock, choose, make, name, opened, passing
from wsproxy.errors import Refused
from wsproxy.gateway.endpoints import Endpoints, Instance
from wsproxy.gateway.pools import Pool
from wsproxy.settings.tree import Health, HealthMode

PASSIVE = Health(mode="passive", fall=3, eject_seconds=10)


def one(health: Health, clock: Clock | None = None) -> tuple[Pool, Instance]:
    pool = make(weights=(1, 1), health=health, clock=clock)
    return pool, next(pool.instances())


@pytest.mark.parametrize(
    ("rise", "fall", "probes", "states"),
    [
        # + and - are good and bad probes; up and down is what comes of each.
        (2, 3, "+", "u"),
        (2, 3, "-", "d"),
        (2, 3, "+--+---", "uuuuuud"),
        (2, 3, "-+-++", "ddddu"),
        (2, 3, "---+++---", "dddduuuud"),
        (1, 1, "+-+-", "udud"),
        (3, 2, "+--++-+++", "uuddddddu"),
    ],
)
def test_probes_bring_up_and_take_down(rise: int, fall: int, probes: str, states: str) -> None:
    pool, instance = one(Health(mode="tcp", rise=rise, fall=fall))
    told = True
    for probe, state in zip(probes, states, strict=True):
        changed = pool.probed(instance, probe == "+")
        assert ("u" if pool.is_up(instance.endpoint) else "d") == state
        assert changed == ((state == "u") != told)
        told = state == "u"


def test_who_is_down_by_probes_is_not_chosen_and_when_all_are_it_is_a_503() -> None:
    pool = make(health=Health(mode="http", interval_seconds=2.5))
    for instance in list(pool.instances())[:2]:
        pool.probed(instance, False)
    assert opened(pool, 3) == "ccc"
    assert [pool.is_up(endpoint) for endpoint in pool.endpoints] == [False, False, True]
    pool.probed(list(pool.instances())[2], False)
    with pytest.raises(Refused) as refused:
        pool.choose("192.0.2.1")
    assert (refused.value.status, refused.value.result) == (503, "upstream_unreachable")
    assert refused.value.headers == ((b"Retry-After", b"3"),)


def test_failures_in_a_row_eject_and_time_brings_back() -> None:
    clock = Clock()
    pool, a = one(PASSIVE, clock)
    assert [pool.failed(a), pool.failed(a)] == [False, False]
    pool.succeeded(a)
    assert [pool.failed(a) for _ in range(4)] == [False, False, True, False]
    assert not pool.is_up(a.endpoint)
    assert passing(pool, 6) == {"b": 6}
    clock.now += 9.9
    assert passing(pool, 2) == {"b": 2}
    clock.now += 0.2
    assert passing(pool, 6) == {"a": 3, "b": 3}


def test_one_more_failure_ejects_again_for_longer_and_a_success_forgives() -> None:
    clock = Clock()
    pool, a = one(PASSIVE, clock)
    for _ in range(3):
        pool.failed(a)
    for times in [2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]:
        clock.now = a.ejected_until
        assert pool.is_up(a.endpoint)
        assert not pool.failed(a)  # it is no news
        assert not pool.is_up(a.endpoint)
        assert a.ejected_until == clock.now + 10 * times
    clock.now = a.ejected_until
    assert [pool.succeeded(a), pool.succeeded(a)] == [True, False]
    assert [pool.failed(a) for _ in range(3)] == [False, False, True]
    assert a.ejected_until == clock.now + 10


def test_ejected_ones_are_the_last_resort() -> None:
    """What clients meet alone never turns one away: a pool whose every endpoint failed is tried all the same."""
    pool = make(weights=(1, 1), health=Health(fall=1))
    a, b = pool.instances()
    assert pool.failed(a)
    first = choose(pool)
    assert name(first) == "b"
    assert pool.failed(b)
    second = choose(pool, tried=[b])
    assert name(second) == "a"
    assert [pool.is_up(endpoint) for endpoint in pool.endpoints] == [False, False]
    assert passing(make(weights=(1,), health=Health(fall=1)), 1) == {"a": 1}


def test_off_is_off() -> None:
    pool, a = one(Health(mode="off", fall=1))
    assert not pool.failed(a)
    assert passing(pool, 4) == {"a": 2, "b": 2}


def test_a_good_probe_does_not_end_an_ejection_but_coming_up_does_not_remember_one() -> None:
    clock = Clock()
    pool, a = one(Health(mode="tcp", rise=1, fall=2, eject_seconds=10), clock)
    pool.probed(a, True)
    pool.failed(a)
    assert pool.failed(a)
    assert not pool.probed(a, True)
    assert not pool.is_up(a.endpoint)
    assert not pool.probed(a, False)
    assert pool.probed(a, False)
    clock.now += 10
    assert not pool.is_up(a.endpoint)
    assert pool.probed(a, True)
    assert pool.is_up(a.endpoint)
    assert [pool.failed(a), pool.failed(a)] == [False, True]
    assert a.ejected_until == clock.now + 10


@pytest.mark.parametrize("how", ["probes", "ejection"])
def test_who_comes_up_starts_slowly(how: str) -> None:
    clock = Clock()
    pool = make("round_robin", (1, 1), clock=clock, slow_start_seconds=20, health=Health(mode="tcp", fall=1, rise=1))
    a, _ = pool.instances()
    assert passing(pool, 10) == {"a": 5, "b": 5}
    if how == "probes":
        pool.probed(a, False)
        clock.now += 100
        pool.probed(a, True)
    else:
        pool.failed(a)
        clock.now = a.ejected_until
    assert passing(pool, 22) == {"a": 2, "b": 20}
    clock.now += 10
    assert passing(pool, 30) == {"a": 10, "b": 20}
    clock.now += 10
    assert passing(pool, 20) == {"a": 10, "b": 10}


@pytest.mark.parametrize(("after", "chosen"), [("passive", "b"), ("off", "ab"), ("tcp", "")])
def test_what_was_judged_before_a_reload_counts_if_it_still_would_be(after: HealthMode, chosen: str) -> None:
    """Nobody probes any more: who was down by probes is not down for ever. Ejections count but where health is off."""
    known, clock = Endpoints(), Clock()
    old = make(weights=(1, 1), known=known, clock=clock, health=Health(mode="tcp", fall=1))
    a, b = old.instances()
    assert old.failed(a)
    assert old.probed(a, False)
    assert old.probed(b, False)
    new = make(weights=(1, 1), known=known, clock=clock, health=Health(mode=after))
    assert [new.is_up(endpoint) for endpoint in new.endpoints] == [host in chosen for host in "ab"]
    if chosen:
        assert set(opened(new, 4)) == set(chosen)
    else:
        with pytest.raises(Refused):
            new.choose("192.0.2.1")
