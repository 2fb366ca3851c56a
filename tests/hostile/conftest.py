"""Fixtures of the hostile tests: one proxy before three upstreams, and ends that no test leaves open."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend.conftest import bare as bare
from tests.endtoend.conftest import no_ends_left_open as no_ends_left_open
from tests.endtoend.proxy import Proxy, configured, route
from tests.hostile.upstreams import Judge, Recorder, nginx_upstream, node_upstream, recorder


@pytest.fixture(scope="package")
def recording() -> Iterator[Recorder]:
    with recorder() as upstream:
        yield upstream


@pytest.fixture(scope="package")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge | None]:
    """None where nginx is not installed."""
    binary = shutil.which("nginx")
    if binary is None:
        yield None
        return
    folder: Path = tmp_path_factory.mktemp("nginx")
    with nginx_upstream(binary, folder) as upstream:
        yield upstream


@pytest.fixture(scope="package")
def node() -> Iterator[Judge | None]:
    """None where Node is not installed."""
    binary = shutil.which("node")
    if binary is None:
        yield None
        return
    with node_upstream(binary) as upstream:
        yield upstream


@pytest.fixture(scope="package")
def judges(recording: Recorder, nginx: Judge | None, node: Judge | None) -> dict[str, Judge]:
    """By the route's name."""
    found = {"raw": recording, "nginx": nginx, "node": node}
    return {name: judge for name, judge in found.items() if judge is not None}


@pytest.fixture(scope="package")
def proxy(judges: dict[str, Judge]) -> Iterator[Proxy]:
    """With a route to each judge."""
    with configured(*[route(name, judge.url) for name, judge in judges.items()]) as running:
        yield running
