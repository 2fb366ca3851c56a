"""Which endpoints are up: upstreams that fail, go and come back; what clients meet, and what probes find."""

import http.client
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tests.endtoend.peers import echo, healthy
from tests.endtoend.pools import ROUTE, clients, dead_url, feed, once, refused, telling, up
from tests.endtoend.proxy import BASE, DEADLINE, Proxy, configured, started, wait_for
from tests.endtoend.wire import raw_upstream


@contextmanager
def deaf_upstream() -> Iterator[str]:
    """Accepts whoever comes, reads the request and closes without an answer."""

    def turn_away() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=turn_away, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)


def test_a_handshake_that_fails_before_an_answer_goes_to_the_next_endpoint() -> None:
    nobody = dead_url()
    with telling(7) as good, deaf_upstream() as deaf:
        pool = feed([nobody, deaf, good.url], 'balance = "round_robin"', "health.fall = 2", "health.eject_seconds = 60")
        with configured(pool) as proxy:
            assert [once(proxy) for _ in range(12)] == [7] * 12
            assert [up(proxy, url) for url in (nobody, deaf, good.url)] == [False, False, True]
            assert sum(" endpoint ejected " in line for line in proxy.lines) == 2
            assert proxy.metric("wsproxy_handshakes_total", result="accepted") == 12
            assert proxy.metric("wsproxy_handshakes_total") == 12
            connections = [proxy.metric("wsproxy_endpoint_connections", endpoint=url) for url in (nobody, deaf)]
            assert connections == [0, 0]


def test_when_every_endpoint_fails_the_last_one_is_what_is_told() -> None:
    with deaf_upstream() as deaf, configured(feed([dead_url(), deaf])) as proxy:
        assert {refused(proxy).status_code for _ in range(2)} == {502}


def test_an_endpoint_that_thinks_too_long_is_a_504_and_is_not_asked_elsewhere() -> None:
    with raw_upstream() as slow, telling(1) as other:
        pool = feed([slow.url, other.url], 'balance = "round_robin"', "health.fall = 1")
        route = ROUTE + "timeouts.handshake_seconds = 0.3\n"
        with configured(pool.replace(ROUTE, route)) as proxy:
            answer = refused(proxy)
            assert answer.status_code == 504
            assert other.requests == []
            assert not up(proxy, slow.url)
            assert once(proxy) == 1


def test_a_wrong_handshake_is_a_502_and_speaks_against_the_endpoint() -> None:
    def break_key(_connection: ServerConnection, _request: Request, response: Response) -> None:
        response.headers["Sec-WebSocket-Accept"] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    with serve(echo, "127.0.0.1", 0, process_response=break_key) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with configured(feed([url], "health.fall = 1")) as proxy:
            assert refused(proxy).status_code == 502
            assert not up(proxy, url)
        server.shutdown()
        thread.join(DEADLINE)


def test_an_ejected_endpoint_returns_after_its_time() -> None:
    with telling(0) as good, ExitStack() as later:
        url = dead_url()
        pool = feed([good.url, url], 'balance = "round_robin"', "health.fall = 1", "health.eject_seconds = 0.3")
        with configured(pool) as proxy:
            assert {once(proxy) for _ in range(4)} == {0}
            assert any(" endpoint ejected " in line and url in line for line in proxy.lines)
            later.enter_context(telling(1, port=int(url.rpartition(":")[2])))
            wait_for("it to be tried again", lambda: once(proxy) == 1)
            assert up(proxy, url)
            states = re.findall(r" endpoint (up|ejected) ", "\n".join(proxy.lines))
            assert states == ["ejected", "up"]  # once each, however often it failed on its return


def test_failures_alone_turn_nobody_away() -> None:
    """The only endpoint may fail as often as it likes: it is asked each time, and works again at once."""
    url = dead_url()
    with configured(feed([url], "health.fall = 1", "health.eject_seconds = 600")) as proxy:
        assert [refused(proxy).status_code for _ in range(4)] == [502] * 4
        assert not up(proxy, url)
        with telling(3, port=int(url.rpartition(":")[2])):
            assert once(proxy) == 3


@pytest.mark.parametrize(("status", "ejects"), [(503, True), (500, False), (401, False)])
def test_an_answer_is_the_answer_and_only_some_speak_against_the_endpoint(status: int, ejects: bool) -> None:
    def answer(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(status, "no\n")

    with telling(0, answer=answer) as bad, configured(feed([bad.url], "health.fall = 2")) as proxy:
        assert [refused(proxy).status_code for _ in range(2)] == [status] * 2
        assert up(proxy, bad.url) is not ejects


def plain_status(proxy: Proxy) -> int:
    """What a plain request is answered."""
    connection = http.client.HTTPConnection(*proxy.address, timeout=DEADLINE)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_plain_requests_eject_too() -> None:
    url = dead_url()
    with configured(feed([url], "health.fall = 2")) as proxy:
        assert [plain_status(proxy) for _ in range(2)] == [502] * 2
        assert not up(proxy, url)


@pytest.mark.parametrize(("status", "ejects"), [(503, True), (500, False)])
def test_an_answer_to_a_plain_request_is_judged_too(status: int, ejects: bool) -> None:
    def answer(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(status, "no\n")

    with telling(0, answer=answer) as bad, configured(feed([bad.url], "health.fall = 2")) as proxy:
        assert [plain_status(proxy) for _ in range(2)] == [status] * 2
        assert up(proxy, bad.url) is not ejects


def test_a_plain_request_that_is_not_answered_in_time_speaks_against_the_endpoint() -> None:
    with raw_upstream() as slow:
        pool = feed([slow.url], "health.fall = 1").replace(ROUTE, ROUTE + "timeouts.response_seconds = 0.3\n")
        with configured(pool) as proxy:
            assert plain_status(proxy) == 504
            assert not up(proxy, slow.url)


# --- probes


@pytest.mark.parametrize("mode", ["tcp", "http", "websocket"])
def test_probes_take_down_and_bring_up(mode: str) -> None:
    url = dead_url()
    port = int(url.rpartition(":")[2])
    health = (
        f'health.mode = "{mode}"',
        "health.interval_seconds = 0.1",
        "health.timeout_seconds = 10",
        'health.path = "/healthz"',
    )
    with configured(feed([url], *health)) as proxy:
        wait_for("it to be down", lambda: not up(proxy, url))
        answer = refused(proxy)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert proxy.metric("wsproxy_handshakes_total", result="upstream_unreachable") == 1
        with telling(5, port=port, answer=healthy) as seen:
            wait_for("it to be up", lambda: up(proxy, url))
            assert once(proxy) == 5
            if mode != "tcp":
                assert seen.requests[0].path == "/healthz"
            if mode == "websocket":
                wait_for("an orderly end of the probe", lambda: (1000, "") in seen.closes)
        wait_for("it to be down again", lambda: not up(proxy, url))
        # The page may know it before its line is read.
        wait_for("the third line", lambda: len(_states(proxy)) > 2)
        assert _states(proxy) == ["down", "up", "down"]


def _states(proxy: Proxy) -> list[str]:
    return re.findall(r" endpoint (up|down) ", "\n".join(proxy.lines))


def test_a_wrong_accept_key_is_no_websocket() -> None:
    """What answers 101 to anything, as a caching proxy might, counts as down by handshake and as up by TCP."""
    with raw_upstream() as raw:
        health = ('health.mode = "websocket"', "health.interval_seconds = 60", "health.timeout_seconds = 10")
        with configured(feed([raw.url], *health)) as proxy:
            wire, _ = raw.receive()
            wire.sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )
            wait_for("it to be down", lambda: not up(proxy, raw.url))
            wire.hang_up()
            assert any("Sec-WebSocket-Accept is wrong" in line for line in proxy.lines)


@pytest.mark.parametrize("closing", [True, False])
def test_tunnels_of_an_endpoint_that_went_down_are_closed_if_wished(closing: bool) -> None:
    state = {"status": 200}

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        return connection.respond(state["status"], "\n")

    health = (
        'health.mode = "http"',
        "health.interval_seconds = 0.1",
        "health.timeout_seconds = 10",
        "health.fall = 2",
        f"health.close_tunnels = {str(closing).lower()}",
    )
    with telling(0, answer=answer) as sick, telling(1, answer=healthy) as well, ExitStack() as stack:
        proxy = stack.enter_context(configured(feed([sick.url, well.url], *health)))
        with clients(proxy) as standing:
            tunnels = dict(standing.open() for _ in range(2))
            state["status"] = 500
            wait_for("it to be down", lambda: not up(proxy, sick.url))
            if closing:
                with pytest.raises(ConnectionClosed) as closed:
                    tunnels[0].recv(DEADLINE)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1001
                wait_for("the upstream's close", lambda: (1001, "") in [(code, "") for code, _ in sick.closes])
            else:
                tunnels[0].send("still there")
                assert tunnels[0].recv(DEADLINE) == "still there"
            tunnels[1].send("untouched")
            assert tunnels[1].recv(DEADLINE) == "untouched"
            assert standing.spread(2) == {1: 2}


def test_after_a_reload_probes_ask_what_the_new_file_says(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    with telling(0, answer=healthy) as seen, telling(1, answer=healthy) as new:

        def asked_by(place: str, *urls: str) -> str:
            health = ('health.mode = "http"', "health.interval_seconds = 0.1", f'health.path = "{place}"')
            return BASE + feed(urls, *health)

        path.write_text(asked_by("/old", seen.url))
        with started([str(path)]) as proxy:
            wait_for("a probe", lambda: any(each.path == "/old" for each in seen.requests))
            path.write_text(asked_by("/new", seen.url, new.url))
            proxy.signal(signal.SIGHUP)
            wait_for("a new probe", lambda: any(each.path == "/new" for each in seen.requests))
            wait_for("a probe of the new one", lambda: any(each.path == "/new" for each in new.requests))
            since = len(seen.requests)
            wait_for("more of them", lambda: len(seen.requests) >= since + 3)
            assert {each.path for each in seen.requests[since:]} == {"/new"}


def test_an_endpoint_counts_as_down_as_soon_as_one_of_several_workers_says_so() -> None:
    url = dead_url()
    health = ('health.mode = "tcp"', "health.interval_seconds = 0.1")
    with configured(feed([url], *health), base="workers = 2\n" + BASE) as proxy:
        wait_for("it to be down", lambda: not up(proxy, url))
        with telling(5, port=int(url.rpartition(":")[2])):
            wait_for("it to be up for both", lambda: up(proxy, url))
            assert once(proxy) == 5
