"""Where isal and zlib-ng are not installed, every conversation goes on with zlib alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.conversations import CASES, Case, judge, routes, with_engine
from tests.endtoend.proxy import BASE, Proxy, configured, environment, route
from tests.endtoend.test_startup import run_to_its_end

HIDING = "import sys\nfor name in ('isal', 'zlib_ng'):\n    sys.modules[name] = None\n"
"""As sitecustomize: importing these then fails as if they were not there."""


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the two engines cannot be imported."""
    folder = tmp_path_factory.mktemp("hiding")
    (folder / "sitecustomize.py").write_text(HIDING)
    return environment(PYTHONPATH=str(folder))


@pytest.fixture(scope="module")
def proxy(
    hidden: dict[str, str],
    plain_upstream: peers.Upstream,
    wide_upstream: peers.Upstream,
    forgetful_upstream: peers.Upstream,
) -> Iterator[Proxy]:
    urls = {"plain": plain_upstream.url, "wide": wide_upstream.url, "forgetful": forgetful_upstream.url}
    with configured(routes(urls), env=hidden) as running:
        yield running


def test_only_zlib_is_there(proxy: Proxy) -> None:
    assert proxy.metric("wsproxy_build_info", engines="zlib") == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_plan_goes_on(proxy: Proxy, case: Case) -> None:
    judge(proxy, case)


@pytest.mark.parametrize("engine", ["isal", "zlib-ng"])
def test_an_engine_that_is_asked_for_and_missing(hidden: dict[str, str], tmp_path: Path, engine: str) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(BASE + route("a", "ws://127.0.0.1:9", *with_engine(engine)))
    code, lines = run_to_its_end("run", str(path), env=hidden)
    assert code == 2
    assert lines
    assert all(engine in line for line in lines)
