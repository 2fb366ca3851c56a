"""Every make of client with every make of upstream through the proxy: no message differs at either end, in any plan."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pytest

from tests.endtoend.proxy import Proxy, configured
from tests.world import matrix
from tests.world.agreements import plan, settled
from tests.world.clients import Client, Job, Offer, Seen
from tests.world.conftest import CLIENTS
from tests.world.matrix import MANY_MESSAGES, MESSAGES, SETTINGS, Row, Setting
from tests.world.scripts import Script, write
from tests.world.upstreams import Arrived, Upstreams

Plans = Counter[tuple[str, str, str]]
"""How many tunnels of a route had a plan in a direction."""

_AT_A_TIME = 200
"""Conversations through one proxy: the full matrix has thousands, and what is wrong should be told early."""


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return write(tmp_path_factory.mktemp("world") / "script", MESSAGES, seed=7692)


@pytest.fixture(scope="session")
def long_script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return write(tmp_path_factory.mktemp("world") / "long-script", MANY_MESSAGES, seed=6455)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of the matrix, and where it is held."""

    setting: Setting
    variant: str
    offer: Offer | None
    path: str

    @property
    def route(self) -> str:
        return f"{self.setting.name}-{self.variant}"


def _conversations(rows: Sequence[Row]) -> list[Conversation]:
    return [
        Conversation(setting, variant, offer, f"/{setting.name}-{variant}?job={number}")
        for number, (setting, variant, offer) in enumerate(rows)
    ]


def _faults(held: Conversation, seen: Seen, arrived: Arrived, script: Script) -> Iterator[str]:
    """What is wrong with one conversation, told by both its ends."""
    if seen.error:
        yield f"the client failed: {seen.error}"
    if (seen.echoes, seen.digest) != (len(script.messages), script.digest):
        yield f"the client saw {seen.echoes} echoes, digest {seen.digest[:8]}"
    if (arrived.messages, arrived.digest) != (len(script.messages), script.digest):
        yield f"{arrived.messages} messages arrived, digest {arrived.digest[:8]}"
    if (arrived.code, arrived.reason) != (4001, "done"):
        yield f"the upstream was closed with {arrived.code} {arrived.reason!r} {arrived.error}"
    if seen.code != 4001:
        yield f"the client was closed with {seen.code} {seen.reason!r}"
    if held.offer is None and seen.answered:
        yield f"answered {seen.answered!r} to no offer"


def _plans(held: Conversation, seen: Seen, arrived: Arrived) -> Plans:
    """What the two directions must have been, from what the two ends were told."""
    client = settled(held.offer.header, seen.answered) if held.offer else None
    upstream = settled(arrived.asked, arrived.answered)
    recompress = held.setting.recompress
    to_client = plan(upstream.server if upstream else None, client.server if client else None, recompress=recompress)
    to_upstream = plan(client.client if client else None, upstream.client if upstream else None, recompress=recompress)
    return Counter([(held.route, "to_client", to_client), (held.route, "to_upstream", to_upstream)])


def _plans_of(proxy: Proxy, wanted: Plans) -> Plans:
    found = {
        key: int(proxy.metric("wsproxy_plans_total", route=key[0], direction=key[1], plan=key[2])) for key in wanted
    }
    return Counter(found)


def _hold(client: Client, upstreams: Upstreams, rows: Sequence[Row], script: Script) -> None:
    """Hold the conversations through one proxy, and judge each."""
    places = {(setting.name, variant): setting for setting, variant, _ in rows}
    parts = [setting.part(variant, upstreams.urls[variant]) for (_, variant), setting in places.items()]
    held = _conversations(rows)
    with configured(*parts) as proxy:
        jobs = [Job(proxy.url(each.path), each.offer, script) for each in held]
        told = client.converse(jobs)
        assert len(told) == len(jobs)
        refused = [
            (each.route, each.offer, seen.error) for each, seen in zip(held, told, strict=True) if not seen.echoes
        ]
        assert refused == []
        proxy.settled()
        arrivals = upstreams.arrived([each.path for each in held])
        faults = [
            (each.route, each.offer, seen.answered, fault)
            for each, seen in zip(held, told, strict=True)
            for fault in _faults(each, seen, arrivals[each.path], script)
        ]
        assert faults == []
        wanted: Plans = Counter()
        for each, seen in zip(held, told, strict=True):
            wanted += _plans(each, seen, arrivals[each.path])
        assert _plans_of(proxy, wanted) == wanted
    upstreams.arrivals.clear()


def test_every_combination(client: Client, upstreams: Upstreams, script: Script) -> None:
    rows = matrix.conversations(client.name, upstreams.urls)
    while batch := list(islice(rows, _AT_A_TIME)):
        _hold(client, upstreams, batch, script)


def test_windows_that_wrap_many_times_over(client: Client, upstreams: Upstreams, long_script: Script) -> None:
    _hold(client, upstreams, list(matrix.long_conversations(client.name, upstreams.urls)), long_script)


@pytest.mark.parametrize("name", CLIENTS)
def test_the_small_matrix_leaves_no_offer_and_no_setting_out(name: str) -> None:
    rows = list(matrix.conversations(name, ("plain", "wide", "default", "forgetful", "narrow"), full=False))
    assert {offer for _, _, offer in rows} == set(matrix.offers(name, full=False))
    assert {setting for setting, _, _ in rows} == set(SETTINGS)
