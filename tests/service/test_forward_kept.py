"""Connections to the upstream that are kept, and to the client: which request gets which answer on them."""

import pytest
import trio
import trio.testing

from tests.service.forwarding import GET, OK, Talk, keep, proxy, run, scripted, talk_to


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_kept_connection_that_ended_meanwhile_is_not_used(method: bytes) -> None:
    async def main() -> None:
        closed = trio.Event()

        async def first(stream: trio.SocketStream) -> None:
            await keep(OK)(stream)
            await stream.aclose()
            closed.set()

        async with scripted(first, keep(OK)) as url, proxy(url) as (port, _), talk_to(port) as client:
            await client.say(GET)
            assert await client.until(b"ok") == OK
            await closed.wait()
            await client.say(GET.replace(b"GET", method))
            assert await client.until(b"ok") == OK

    run(main)


@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"POST", False)])
def test_a_kept_connection_that_ends_instead_of_answering(method: bytes, again: bool) -> None:
    """The request may have been carried out, so only what can be repeated is."""

    async def main() -> None:
        async def not_asked(stream: trio.SocketStream) -> None:
            assert await Talk(stream).rest() == b""

        second = keep(OK) if again else not_asked
        async with scripted(keep(OK, b""), second) as url, proxy(url) as (port, _), talk_to(port) as client:
            await client.say(GET)
            assert await client.until(b"ok") == OK
            await client.say(GET.replace(b"GET", method))
            if again:
                assert await client.until(b"ok") == OK
            else:
                assert (await client.rest()).startswith(b"HTTP/1.1 502 ")
                # The one connection that the second script gets is this one.
                async with talk_to(int(url.rpartition(":")[2])):
                    pass

    run(main)


def test_bytes_beyond_an_answer_are_nobodys_answer() -> None:
    async def main() -> None:
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        async with (
            scripted(keep(OK + evil, extra=b"wait"), keep(OK)) as url,
            proxy(url) as (port, _),
            talk_to(port) as client,
        ):
            for _ in range(2):
                await client.say(GET)
                assert await client.until(b"ok") == OK

    run(main)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        answers = [OK.replace(b"ok", text) for text in (b"r1", b"r2", b"r3")]
        async with scripted(keep(*answers)) as url, proxy(url) as (port, _), talk_to(port) as client:
            await client.say(GET * 3)
            for answer in answers:
                assert await client.until(answer[-2:]) == answer

    run(main)
