"""Snapshots without a loop: what a coroutine gives when every pause returns at once."""

from collections.abc import Callable, Coroutine
from typing import TypeVar

from wsproxy.telemetry.counters import Counters
from wsproxy.telemetry.pages import Take

T = TypeVar("T")


async def at_once() -> None:
    """A pause in which nothing happens."""


def finished(coroutine: Coroutine[object, None, T]) -> T:
    """What it returns; it must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it waits")


def taking(counters: Counters) -> Take:
    """What takes the snapshots of one worker."""
    return lambda: counters.snapshot(at_once)


def pausing(during: Callable[[], None]) -> Callable[[], Coroutine[object, None, None]]:
    """A pause in which ``during`` happens."""

    async def pause() -> None:
        during()

    return pause
