"""Each hostile input gets its answer, on both sides, and a bounded share of memory: see `docs/conformance.md`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec

import pytest

from tests.endtoend.proxy import Proxy
from tests.endtoend.wire import RawUpstream, raw_upstream
from tests.hostile.inputs import GROUPS, MIB, Input, ready, send

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and CPU are read from /proc")
Prepared = tuple[Proxy, RawUpstream]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Callable[[tuple[str, ...]], Prepared]]:
    """One proxy, and its upstream, for each set of settings."""
    found: dict[tuple[str, ...], Prepared] = {}
    with ExitStack() as stack:

        def get(settings: tuple[str, ...]) -> Prepared:
            if settings not in found:
                upstream = stack.enter_context(raw_upstream())
                found[settings] = stack.enter_context(ready(settings, upstream)), upstream
            return found[settings]

        yield get


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for inputs in GROUPS.values() for one in inputs])
def test_hostile_input(prepared: Callable[[tuple[str, ...]], Prepared], one: Input) -> None:
    if one.module and find_spec(one.module) is None:
        pytest.skip(f"{one.module} is not installed: its engine was not tried")
    cost = send(one, *prepared(one.settings))
    assert (cost.client, cost.upstream) == (one.client, one.upstream)
    assert cost.risen <= one.allowed * MIB
