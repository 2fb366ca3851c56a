"""Every plan in both directions on every engine: what a client sends comes back as it was, from empty to large."""

from collections.abc import Iterator

import pytest

from tests.endtoend import peers
from tests.endtoend.conversations import CASES, Case, content, converse, judge, routes, with_engine
from tests.endtoend.proxy import Proxy, configured
from wsproxy.extensions.engines import available

ENGINES = sorted(available())
MIB = 1024 * 1024
LARGE = 64 * MIB
SOME = tuple(case for case in CASES if case.name in {"plain", "deflate", "inflate", "recode", "pass", "blind"})


@pytest.fixture(scope="module")
def urls(
    plain_upstream: peers.Upstream, wide_upstream: peers.Upstream, forgetful_upstream: peers.Upstream
) -> dict[str, str]:
    return {"plain": plain_upstream.url, "wide": wide_upstream.url, "forgetful": forgetful_upstream.url}


@pytest.fixture(scope="module", params=ENGINES)
def engine_proxy(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[Proxy]:
    with configured(routes(urls, CASES, *with_engine(request.param))) as proxy:
        yield proxy


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_plan_on_every_engine(engine_proxy: Proxy, case: Case) -> None:
    judge(engine_proxy, case)


@pytest.fixture(scope="module")
def roomy_proxy(urls: dict[str, str]) -> Iterator[Proxy]:
    room = (f"limits.max_message_bytes = {2 * LARGE}", f"limits.max_frame_bytes = {2 * LARGE}")
    with configured(routes(urls, SOME, *room)) as proxy:
        yield proxy


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_a_message_of_64_mib(roomy_proxy: Proxy, case: Case) -> None:
    message = content(MIB) * (LARGE // MIB)
    with peers.client(roomy_proxy.url(f"/{case.name}"), deflate=case.offer) as client:
        client.send(message)
        assert client.recv() == message or not "the echo differs"


@pytest.mark.parametrize("name", ["deflate", "recode", "pass"])
def test_a_long_text_message(roomy_proxy: Proxy, name: str) -> None:
    converse(roomy_proxy.url(f"/{name}"), peers.CHROME, [5 * MIB])


def test_many_messages_in_flight_keep_their_order(engine_proxy: Proxy) -> None:
    """Windows that are kept make every later message depend on every earlier one."""
    messages = [content(100 + 37 * index % 4_000) + str(index).encode() for index in range(500)]
    for case in CASES:
        with peers.client(engine_proxy.url(f"/{case.name}"), deflate=case.offer) as client:
            for start in range(0, len(messages), 50):
                burst = messages[start : start + 50]
                for message in burst:
                    client.send(message)
                assert [client.recv() for _ in burst] == burst
