"""``python -m wsproxy.demo.clients HOST:PORT``: real clients that check everything they get.

Owns: the subscribers and echo clients, what they count and what they hold to be wrong. They inflate with wsproto and
the standard zlib, and share no protocol code with the proxy. Must never import it.
Invariants
* Each client has agreed on compression, its feed's ``seq`` has no gap, each echo equals what was sent.
* On stdout one `Report` as JSON once all are connected (or could not), then one a second, and a last one after every
  client has closed; the exit code is 1 if any client found anything wrong.
* Ends by itself after ``--seconds``, or in order at TERM and INT; never later than `CLOSE_SECONDS` after that.
"""

import argparse
import json
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from math import inf
from random import Random
from typing import Any, Self

import trio

from wsproxy.demo.conversation import Conversation, Message, connect
from wsproxy.demo.feeds import ORDERS
from wsproxy.errors import ConnectionLost, WsproxyError

CLIENTS = {"market": 8, "chat": 6, "echo": 4}
"""How many clients each path gets."""
CLOSE_SECONDS = 5.0
"""Bound on closing all clients."""
_TICK_SECONDS = 0.2
"""How often a client that gets nothing looks whether it is time to stop."""


class Mismatch(WsproxyError):
    """A client got something else than it should have."""


@dataclass(slots=True)
class Counts:
    """What the clients of one path sent and received: whole messages and their payload's bytes."""

    clients: int
    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class Report:
    """What all clients counted so far.

    :ivar final: every client has ended, so nothing will be added.
    :ivar errors: one line for each client that found something wrong, and the reason.
    """

    feeds: dict[str, Counts]
    errors: list[str] = field(default_factory=list)
    final: bool = False

    def to_line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The inverse of `to_line`. Raises ValueError, KeyError or TypeError for anything else."""
        raw: dict[str, Any] = json.loads(line)
        return cls({name: Counts(**counts) for name, counts in raw["feeds"].items()}, raw["errors"], raw["final"])


Client = Callable[[Conversation, Counts, Random, trio.Event], Awaitable[None]]


async def subscribe(conversation: Conversation, counts: Counts, _rng: Random, stop: trio.Event) -> None:
    """Take a feed's messages until ``stop``, then close. Raises Mismatch or ConnectionLost."""
    expected = 1
    closing = False
    while not conversation.over:
        if stop.is_set() and not closing:
            closing = True
            await conversation.close()
        for message in await conversation.receive(until=trio.current_time() + _TICK_SECONDS):
            counts.received += 1
            counts.received_bytes += _size(message)
            seq = _sequence(message)
            if seq != expected:
                raise Mismatch(f"message {expected} was expected, {seq} came")
            expected += 1
    _check_close(conversation, closing)


async def echo(conversation: Conversation, counts: Counts, rng: Random, stop: trio.Event) -> None:
    """Send orders and compare their echoes until ``stop``, then close. Raises Mismatch or ConnectionLost."""
    orders = ORDERS.messages(rng)
    outstanding: deque[str] = deque()
    echoed = 0
    due = trio.current_time()
    closing = False
    while not conversation.over:
        now = trio.current_time()
        if stop.is_set():
            # Only when nothing is on its way, or the last echoes could not be told from lost ones.
            if not outstanding and not closing:
                closing = True
                await conversation.close()
            due = inf
        elif now >= due:
            outstanding.append(next(orders))
            counts.sent += 1
            counts.sent_bytes += _size(outstanding[-1])
            await conversation.send(outstanding[-1])
            due = trio.current_time() + ORDERS.pause(rng)
        for message in await conversation.receive(until=min(due, now + _TICK_SECONDS)):
            counts.received += 1
            counts.received_bytes += _size(message)
            echoed += 1
            if not outstanding or message != outstanding.popleft():
                raise Mismatch(f"echo {echoed} is not what was sent")
    _check_close(conversation, closing)


def _check_close(conversation: Conversation, begun: bool) -> None:
    if not begun or conversation.close_code != 1000:
        raise Mismatch(f"closed with {conversation.close_code} {'in answer to 1000' if begun else 'too early'}")


def _sequence(message: Message) -> int:
    try:
        seq: int = json.loads(message)["seq"]
    except (ValueError, KeyError, TypeError) as error:
        raise Mismatch(f"not the JSON of a feed: {message[:80]!r}") from error
    return seq


def _size(message: Message) -> int:
    return len(message.encode() if isinstance(message, str) else message)


async def run(host: str, port: int, seconds: float) -> Report:
    """Let all clients loose on ``host:port``; print a report a second, and give the final one.

    :param seconds: from the time when all are connected until they begin to close; may be infinite, since TERM and
        INT stop them too.
    """
    report = Report({name: Counts(count) for name, count in CLIENTS.items()})
    stop = trio.Event()
    all_open = trio.Event()
    opening = sum(CLIENTS.values())

    async def opened(name: str) -> Conversation:
        nonlocal opening
        try:
            return await connect(host, port, f"/{name}")
        finally:
            opening -= 1
            if not opening:
                all_open.set()

    async def one(name: str, number: int) -> None:
        client: Client = echo if name == "echo" else subscribe
        try:
            async with await opened(name) as conversation:
                if not conversation.compressed:
                    raise Mismatch("compression was not agreed on")
                await client(conversation, report.feeds[name], Random(f"client {name} {number}"), stop)
        except (Mismatch, ConnectionLost, OSError) as error:
            report.errors.append(f"{name} client {number}: {error}")

    async with trio.open_nursery() as outer:
        await outer.start(_stop_at_signal, stop)
        outer.start_soon(_print_each_second, report, all_open)
        outer.start_soon(_stop_after, seconds, all_open, stop)
        with trio.CancelScope() as closing:
            outer.start_soon(_give_up, stop, closing)
            async with trio.open_nursery() as clients:
                for name, counts in report.feeds.items():
                    for number in range(1, counts.clients + 1):
                        clients.start_soon(one, name, number)
        outer.cancel_scope.cancel()
    if closing.cancelled_caught:
        report.errors.append(f"not every client could close within {CLOSE_SECONDS:g} seconds")
    report.final = True
    print(report.to_line(), flush=True)
    return report


async def _print_each_second(report: Report, all_open: trio.Event) -> None:
    await all_open.wait()
    while True:
        print(report.to_line(), flush=True)
        await trio.sleep(1)


async def _stop_at_signal(stop: trio.Event, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


async def _stop_after(seconds: float, all_open: trio.Event, stop: trio.Event) -> None:
    await all_open.wait()
    await trio.sleep(seconds)
    stop.set()


async def _give_up(stop: trio.Event, closing: trio.CancelScope) -> None:
    await stop.wait()
    await trio.sleep(CLOSE_SECONDS)
    closing.cancel()


def main() -> int:
    """The program; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m wsproxy.demo.clients", allow_abbrev=False)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=inf, metavar="N", help="until they close; without it: at TERM")
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")
    report = trio.run(partial(run, host, int(port), arguments.seconds))
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
