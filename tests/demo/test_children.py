"""Processes are read line by line, and none is left."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from wsproxy import __version__
from wsproxy.demo import children
from wsproxy.demo.children import Child
from wsproxy.errors import CannotStart

SECONDS = 30.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def programs_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(children, "GRACE_SECONDS", 0.2)


def in_nursery(body: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                await body(nursery)
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_lines_come_one_by_one_and_the_exit_code_last() -> None:
    lines: list[str] = []

    async def body(nursery: trio.Nursery) -> None:
        child = await Child.start(nursery, "it", ["wsproxy", "--version"])
        assert await child.first(lambda line: line.removeprefix("wsproxy ")) == __version__
        await child.follow(lines.append)
        assert await child.wait() == 0
        assert child.exit_code == 0
        child.terminate()

    in_nursery(body)
    assert lines == []


def test_stderr_can_be_what_is_read() -> None:
    async def body(nursery: trio.Nursery) -> None:
        child = await Child.start(nursery, "it", ["wsproxy", "run", "absent.toml"], read="stderr")
        assert await child.first(str) == "wsproxy: absent.toml: cannot be read: No such file or directory"
        assert await child.wait() == 2

    in_nursery(body)


def test_settings_of_another_proxy_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSPROXY_UPSTREAM", "nonsense")

    async def body(nursery: trio.Nursery) -> None:
        child = await Child.start(nursery, "it", ["wsproxy", "run"], read="stderr")
        assert "no upstream" in await child.first(str)

    in_nursery(body)


@pytest.mark.parametrize(
    ("arguments", "start_seconds", "told"),
    [
        (["wsproxy", "--version"], SECONDS, f"it ended at once: wsproxy {__version__}"),
        (["tests.demo.stubborn"], 1.0, "it did not start within 1 seconds"),
    ],
)
def test_a_child_that_does_not_say_what_it_should_cannot_start(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], start_seconds: float, told: str
) -> None:
    monkeypatch.setattr(children, "START_SECONDS", start_seconds)

    async def body(nursery: trio.Nursery) -> None:
        child = await Child.start(nursery, "it", arguments)
        with pytest.raises(CannotStart, match=told):
            await child.first(lambda line: None)

    in_nursery(body)


def test_even_a_stubborn_child_ends_with_the_nursery() -> None:
    async def body(nursery: trio.Nursery) -> None:
        child = await Child.start(nursery, "it", ["tests.demo.stubborn"])
        assert await child.first(str) == "still here"
        started.append(child)

    started: list[Child] = []
    in_nursery(body)
    assert started[0].exit_code == -9
