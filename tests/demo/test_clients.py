"""The demo's clients against backends that do one thing wrong: each fault is found, and nothing else is."""

import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from math import inf

import pytest
import trio

from tests.demo.loopback import accept, listening
from wsproxy.demo import clients
from wsproxy.demo.clients import CLIENTS, Counts, Report, run
from wsproxy.demo.conversation import Conversation
from wsproxy.errors import ConnectionLost

SECONDS = 20.0

Talk = Callable[[Conversation], Awaitable[None]]


@pytest.fixture(autouse=True)
def late_signals_are_lost() -> Iterator[None]:
    """A TERM after the clients' own end shall fail a test and not end all of them."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


class Stage:
    """A backend that pushes with ``feed`` and echoes with ``echo``, and tells the clients when to stop.

    :ivar opened: conversations so far by path, and ``ended`` those that are over.
    """

    def __init__(self, feed: Talk, echo: Talk, enough: Callable[["Stage"], bool], compress: bool = True) -> None:
        self._talks = {"/market": feed, "/chat": feed, "/echo": echo}
        self._enough = enough
        self._compress = compress
        self._told = False
        self.opened: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def serve(self, stream: trio.SocketStream) -> None:
        conversation, path = await accept(stream, self._compress)
        async with conversation:
            self.opened[path] += 1
            self.look()
            # A client that found a fault just hangs up.
            with suppress(ConnectionLost):
                await self._talks[path](conversation)
        self.ended[path] += 1
        self.look()

    def look(self) -> None:
        """Send this process the TERM that stops the clients, once it is time."""
        if not self._told and self._enough(self):
            self._told = True
            os.kill(os.getpid(), signal.SIGTERM)

    def report(self) -> Report:
        async def main() -> Report:
            with trio.fail_after(SECONDS):
                async with listening(self.serve) as port:
                    return await run("127.0.0.1", port, seconds=inf)

        return trio.run(main)


def all_of(counted: Counter[str], *paths: str) -> bool:
    return all(counted[path] == CLIENTS[path.strip("/")] for path in paths)


def push(messages: Callable[[], Iterator[str]]) -> Talk:
    """A feed of these messages, one a hundredth of a second."""

    async def talk(conversation: Conversation) -> None:
        for message in messages():
            await conversation.receive(until=trio.current_time() + 0.01)
            if conversation.over:
                return
            await conversation.send(message)
        await until_over(conversation)

    return talk


def answer(change: Callable[[str], str]) -> Talk:
    """An echo that may change what it echoes."""

    async def talk(conversation: Conversation) -> None:
        while not conversation.over:
            for message in await conversation.receive():
                assert isinstance(message, str)
                await conversation.send(change(message))

    return talk


async def until_over(conversation: Conversation) -> None:
    while not conversation.over:
        await conversation.receive()


async def close_at_once(conversation: Conversation) -> None:
    await conversation.close()
    await until_over(conversation)


async def vanish(_conversation: Conversation) -> None:
    return


async def never_answer(_conversation: Conversation) -> None:
    await trio.sleep_forever()


def counting() -> Iterator[str]:
    return (json.dumps({"seq": seq}) for seq in count(1))


def skipping() -> Iterator[str]:
    return (json.dumps({"seq": seq}) for seq in (1, 2, 4))


def repeating() -> Iterator[str]:
    return (json.dumps({"seq": seq}) for seq in (1, 2, 2))


PATHS = ("/market", "/chat", "/echo")
GOOD_FEED = push(counting)
GOOD_ECHO = answer(lambda text: text)


def test_a_good_backend_gets_no_complaint_and_every_message_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    passed: Counter[str] = Counter()

    def note(kind: str, text: str) -> str:
        passed[kind] += 1
        passed[f"{kind} bytes"] += len(text.encode())
        stage.look()
        return text

    def noting() -> Iterator[str]:
        for text in counting():
            yield text
            # Asked for the next one: this one has been sent.
            note("pushed", text)

    stage = Stage(
        push(noting),
        answer(lambda text: note("echoed", text)),
        lambda stage: all_of(stage.opened, *PATHS) and passed["pushed"] > 50 and passed["echoed"] > 8,
    )
    report = stage.report()
    assert report.errors == []
    assert report.final
    assert {name: counts.clients for name, counts in report.feeds.items()} == CLIENTS
    echo, market, chat = report.feeds["echo"], report.feeds["market"], report.feeds["chat"]
    assert (echo.sent, echo.sent_bytes) == (echo.received, echo.received_bytes)
    assert (echo.sent, echo.sent_bytes) == (passed["echoed"], passed["echoed bytes"])
    assert market.received + chat.received == passed["pushed"]
    assert market.received_bytes + chat.received_bytes == passed["pushed bytes"]
    assert Report.from_line(capsys.readouterr().out.splitlines()[-1]) == report


@pytest.mark.parametrize(
    ("feed", "told"),
    [
        (push(skipping), "message 3 was expected, 4 came"),
        (push(repeating), "message 3 was expected, 2 came"),
        (push(lambda: iter(["not JSON"])), "not the JSON of a feed: 'not JSON'"),
        (push(lambda: iter(['{"id": 1}'])), "not the JSON of a feed"),
        (push(lambda: iter(["[]"])), "not the JSON of a feed"),
        (close_at_once, "closed with 1000 too early"),
        (vanish, "connection "),
    ],
)
def test_a_fault_of_a_feed_is_found_by_each_subscriber(feed: Talk, told: str) -> None:
    stage = Stage(feed, GOOD_ECHO, lambda stage: all_of(stage.ended, "/market", "/chat"))
    report = stage.report()
    assert len(report.errors) == CLIENTS["market"] + CLIENTS["chat"]
    assert all(told in error and not error.startswith("echo") for error in report.errors)


@pytest.mark.parametrize(
    ("echo", "told"),
    [
        (answer(lambda text: text[:-1]), "echo 1 is not what was sent"),
        (answer(str.upper), "echo 1 is not what was sent"),
        (push(counting), "echo 1 is not what was sent"),
        (close_at_once, "closed with 1000 too early"),
        (vanish, "connection "),
    ],
)
def test_a_fault_of_the_echo_is_found_by_each_echo_client(echo: Talk, told: str) -> None:
    report = Stage(GOOD_FEED, echo, lambda stage: all_of(stage.ended, "/echo")).report()
    assert len(report.errors) == CLIENTS["echo"]
    assert all(told in error and error.startswith("echo") for error in report.errors)


def test_compression_that_was_not_agreed_on_is_a_fault() -> None:
    report = Stage(GOOD_FEED, GOOD_ECHO, lambda stage: False, compress=False).report()
    assert len(report.errors) == sum(CLIENTS.values())
    assert all(error.endswith("compression was not agreed on") for error in report.errors)


@pytest.mark.parametrize(("feed", "echo"), [(GOOD_FEED, until_over), (never_answer, GOOD_ECHO)])
def test_clients_that_wait_in_vain_give_up(feed: Talk, echo: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.3)
    report = Stage(feed, echo, lambda stage: all_of(stage.opened, *PATHS)).report()
    assert report.final
    assert report.errors == ["not every client could close within 0.3 seconds"]


def test_they_stop_by_themselves_when_their_time_is_over() -> None:
    stage = Stage(GOOD_FEED, GOOD_ECHO, lambda stage: False)

    async def main() -> Report:
        with trio.fail_after(SECONDS):
            async with listening(stage.serve) as port:
                return await run("127.0.0.1", port, seconds=0.1)

    report = trio.run(main)
    assert report.errors == []
    assert all_of(stage.opened, *PATHS)


def test_a_report_goes_through_a_line() -> None:
    report = Report({"echo": Counts(1, 2, 3, 4, 5)}, ["echo client 1: \n"], final=True)
    assert "\n" not in report.to_line()
    assert Report.from_line(report.to_line()) == report


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"feeds": {"echo": {"clients": 1, "x": 2}}}'])
def test_what_is_no_report_is_refused(line: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Report.from_line(line)
