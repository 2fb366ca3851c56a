"""Every codec test runs on every engine that is installed."""

import pytest

from wsproxy.extensions.engines import Engine, available


@pytest.fixture(scope="session", params=sorted(available()))
def engine(request: pytest.FixtureRequest) -> Engine:
    name: str = request.param
    return available()[name]


@pytest.fixture(scope="session", params=[True, False], ids=["takeover", "no-takeover"])
def takeover(request: pytest.FixtureRequest) -> bool:
    kept: bool = request.param
    return kept
