"""Plain HTTP through real sockets: to aiohttp in a process of its own, and to upstreams that follow a script."""

import hashlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.service.forwarding import GET, HEAD, OK, Talk, exchange, keep, proxy, run, scripted, talk_to


@pytest.fixture(scope="module")
def aiohttp_port() -> Iterator[int]:
    program = Path(__file__).with_name("aiohttp_upstream.py")
    with subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def ask(url: str, talk: Callable[[http.client.HTTPConnection], None]) -> None:
    """Run ``talk`` in a thread with the standard library's client, through a proxy before ``url``."""

    async def main() -> None:
        async with proxy(url) as (port, _):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            await trio.to_thread.run_sync(talk, connection)
            connection.close()

    run(main)


def test_one_connection_serves_many_requests(aiohttp_port: int) -> None:
    def talk(connection: http.client.HTTPConnection) -> None:
        seen = []
        for method in ("GET", "DELETE", "GET"):
            headers = {"Connection": "X-Hop", "X-Hop": "1", "Upgrade": "h2c", "X-Kept": "1"}
            connection.request(method, "/echo?a=b", headers=headers)
            answer = connection.getresponse()
            assert answer.headers["X-Upstream"] == "aiohttp"
            body = json.loads(answer.read())
            assert (body["method"], body["path"]) == (method, "/base/echo?a=b")
            assert body["host"] == f"127.0.0.1:{connection.port}"
            assert body["headers"] == ["accept-encoding", "host", "x-kept"]
            seen.append(body["connection"])
        assert len(set(seen)) == 1

    ask(f"http://127.0.0.1:{aiohttp_port}/base", talk)


def test_uploads_by_length_and_by_chunks(aiohttp_port: int) -> None:
    def talk(connection: http.client.HTTPConnection) -> None:
        payload = bytes(range(256)) * 20_000
        expected = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        for body in (payload, iter([payload[:100_000], payload[100_000:]])):
            connection.request("POST", "/digest", body=body, encode_chunked=not isinstance(body, bytes))
            assert json.loads(connection.getresponse().read()) == expected

    ask(f"http://127.0.0.1:{aiohttp_port}", talk)


def test_large_answers_head_and_statuses(aiohttp_port: int) -> None:
    def talk(connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/stream?parts=300")
        assert connection.getresponse().read() == b"".join(bytes([each % 256]) * 10_000 for each in range(300))
        connection.request("HEAD", "/echo")
        answer = connection.getresponse()
        assert int(answer.headers["Content-Length"]) > 0
        assert answer.read() == b""
        for code in (204, 304, 401, 500):
            connection.request("GET", f"/status/{code}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == code

    ask(f"http://127.0.0.1:{aiohttp_port}", talk)


def test_leave_to_continue_is_the_upstreams_to_give(aiohttp_port: int) -> None:
    async def main() -> None:
        async with proxy(f"http://127.0.0.1:{aiohttp_port}") as (port, _), talk_to(port) as client:
            await client.say(b"POST /digest HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert (await client.until(HEAD)).startswith(b"HTTP/1.1 100 ")
            await client.say(b"abc")
            assert (await client.until(HEAD)).startswith(b"HTTP/1.1 200 ")
            assert b'"size": 3' in await client.until(b"}")
            await client.say(GET)
            assert (await client.until(HEAD)).startswith(b"HTTP/1.1 200 ")

    run(main)


def test_http_1_0_clients_get_no_chunks_and_the_end(aiohttp_port: int) -> None:
    async def main() -> None:
        async with proxy(f"http://127.0.0.1:{aiohttp_port}") as (port, _), talk_to(port) as client:
            await client.say(b"GET /stream?parts=3 HTTP/1.0\r\n\r\n")
            head = await client.until(HEAD)
            assert b"chunked" not in head
            assert len(await client.rest()) == 30_000

    run(main)


def test_parts_pass_as_they_come_in_both_directions() -> None:
    heard = trio.Event()

    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        assert b"Transfer-Encoding: chunked" in await talk.until(HEAD)
        await talk.until(b"one")
        await talk.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await talk.say(b"5\r\nfirst\r\n")
        await heard.wait()
        await talk.until(b"0\r\n\r\n")
        await talk.say(b"6\r\nsecond\r\n0\r\n\r\n")

    async def client(talk: Talk) -> None:
        await talk.say(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await talk.until(b"first\r\n")
        heard.set()
        await talk.say(b"0\r\n\r\n")
        await talk.until(b"second\r\n0\r\n\r\n")

    exchange(upstream, client)


def test_trailers_and_interim_answers_cross() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(b"0\r\nX-Sum: 1\r\n\r\n")
        await talk.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 2\r\n\r\n")

    async def client(talk: Talk) -> None:
        await talk.say(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert await talk.until(HEAD) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        assert (await talk.until(HEAD)).startswith(b"HTTP/1.1 200 OK")
        assert await talk.until(HEAD) == b"0\r\nX-Sum: 2\r\n\r\n"

    exchange(upstream, client)


def test_http_1_0_clients_get_neither_trailers_nor_interim_answers() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        assert b"Host: 127.0.0.1:" in await talk.until(HEAD)
        await talk.say(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await talk.say(b"2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n")

    async def client(talk: Talk) -> None:
        await talk.say(b"GET / HTTP/1.0\r\n\r\n")
        assert await talk.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"

    exchange(upstream, client)


def test_an_early_answer_ends_the_upload() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(HEAD)
        await talk.say(b"HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nlarge")
        # No more than the kernels hold comes after that.
        assert len(await talk.rest()) < 64_000_000

    async def client(talk: Talk) -> None:
        await talk.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert await talk.until(b"large") == b"HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nlarge"
        assert await talk.rest() == b""

    exchange(upstream, client)


def test_a_refused_expectation_closes_the_connection() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(HEAD)
        await talk.say(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        assert await talk.rest() == b""

    async def client(talk: Talk) -> None:
        await talk.say(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await talk.rest() == b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    exchange(upstream, client)


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (b"Content-Length: 9\r\n\r\npart", b"Content-Length: 9\r\n\r\npart"),
        (b"Transfer-Encoding: chunked\r\n\r\n9\r\npart", b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\nX\r\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
    ],
)
def test_a_cut_off_answer_is_never_ended(answer: bytes, received: bytes) -> None:
    got_part = trio.Event()

    async def upstream(stream: trio.SocketStream) -> None:
        await Talk(stream).until(HEAD)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n" + answer)

    async def client(talk: Talk) -> None:
        await talk.say(GET)
        assert await talk.rest() == b"HTTP/1.1 200 OK\r\n" + received
        got_part.set()

    exchange(upstream, client)
    assert got_part.is_set()


def test_a_cut_off_answer_to_http_1_0_is_a_reset() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        await Talk(stream).until(HEAD)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart")

    async def client(talk: Talk) -> None:
        await talk.say(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await talk.rest()

    exchange(upstream, client)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 502),
        (b"HTTP/1.1 200 OK\r\nContent-", 502),
        (b"no HTTP at all\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 502),
    ],
)
def test_no_proper_answer_is_a_502(answer: bytes, status: int) -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        await Talk(stream).until(HEAD)
        await stream.send_all(answer)

    async def client(talk: Talk) -> None:
        await talk.say(GET)
        received = await talk.rest()
        if b"103" in answer:
            received = received.partition(HEAD)[2]
        assert received.startswith(f"HTTP/1.1 {status} ".encode())

    exchange(upstream, client)


def test_no_answer_in_time_is_a_504() -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(HEAD)
        assert await talk.rest() == b""

    async def client(talk: Talk) -> None:
        await talk.say(GET)
        assert (await talk.rest()).startswith(b"HTTP/1.1 504 ")

    exchange(upstream, client, head_seconds=0.05)


def test_the_time_for_an_answer_starts_when_the_request_is_whole() -> None:
    half_heard = trio.Event()
    clock = trio.testing.MockClock(rate=1)

    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(b"ab")
        half_heard.set()
        await talk.until(b"c")
        await talk.say(OK)
        await talk.rest()

    async def main() -> None:
        async with scripted(upstream) as url, proxy(url, head_seconds=10) as (port, _), talk_to(port) as client:
            await client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab")
            await half_heard.wait()
            clock.jump(3600)
            await trio.testing.wait_all_tasks_blocked()
            await client.say(b"c")
            assert await client.until(b"ok") == OK

    trio.run(main, clock=clock)


@pytest.mark.parametrize("request_start", [GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npart"])
def test_a_client_that_goes_away_ends_the_upstreams_work(request_start: bytes) -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        talk = Talk(stream)
        await talk.until(request_start[-4:])
        arrived.set()
        assert await talk.rest() == b""
        ended.set()

    async def client(talk: Talk) -> None:
        await talk.say(request_start)
        await arrived.wait()
        await talk.stream.aclose()
        await ended.wait()

    arrived, ended = trio.Event(), trio.Event()
    exchange(upstream, client, head_seconds=3600)
    assert ended.is_set()


def test_a_client_that_does_not_read_holds_the_upstream_back() -> None:
    sent = 0

    async def main() -> None:
        async def upstream(stream: trio.SocketStream) -> None:
            nonlocal sent
            await Talk(stream).until(HEAD)
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(bytes(1_000_000))
                    sent += 1

        async with scripted(upstream) as url, proxy(url) as (port, _), talk_to(port) as client:
            await client.say(GET)
            await client.until(HEAD)
            # Nothing moves any more, and what has been sent fits the kernels' buffers.
            before = -1
            while before != sent:
                before = sent
                await trio.testing.wait_all_tasks_blocked(0.1)
            assert sent < 64

    run(main)


def test_the_next_endpoint_is_tried_when_one_cannot_be_reached(tmp_path: Path) -> None:
    async def main() -> None:
        dead = f"unix:{tmp_path}/none.sock"
        async with scripted(keep(OK)) as url, proxy(dead, url) as (port, pool), talk_to(port) as client:
            await client.say(GET)
            assert await client.until(b"ok") == OK
            assert [pool.live(endpoint) for endpoint in pool.endpoints] == [0, 1]
        async with proxy(dead, dead + "2") as (port, _), talk_to(port) as client:
            await client.say(GET)
            assert (await client.rest()).startswith(b"HTTP/1.1 502 ")

    run(main)


@pytest.mark.parametrize(
    "request_text",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_request_that_cannot_be_sent_on_is_a_400(request_text: bytes) -> None:
    async def upstream(stream: trio.SocketStream) -> None:
        await Talk(stream).rest()

    async def client(talk: Talk) -> None:
        await talk.say(request_text)
        assert (await talk.rest()).startswith(b"HTTP/1.1 400 ")

    exchange(upstream, client)
