"""Plain HTTP through the same port: curl gets the same bytes and headers as without the proxy, as they come."""

import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.endtoend.proxy import DEADLINE, Proxy, configured, route
from tests.endtoend.web import LARGE, WebUpstream, web_upstream

HOST = "web.example"
NOT_COMPARED = frozenset({"date"})
"""The moment of the answer is not what is compared."""
ADDED_BY_A_PROXY = ("x-forwarded-", "forwarded", "via")


@pytest.fixture(scope="module")
def web() -> Iterator[WebUpstream]:
    with web_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(web: WebUpstream) -> Iterator[Proxy]:
    with configured(route("web", web.url)) as running:
        yield running


@pytest.fixture(scope="module")
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed: what it gets through the proxy was not compared")
    return found


@dataclass(frozen=True, slots=True)
class Fetched:
    """What curl printed: its exit code, the last answer's first line and headers, the body."""

    code: int
    first: str
    headers: list[str]
    """Sorted by name: only the order of those with one name means anything (RFC 9110 §5.3)."""
    body: bytes


def _fetch(curl: str, url: str, arguments: list[str], folder: Path) -> Fetched:
    heads, body = folder / "heads", folder / "body"
    for leftover in (heads, body):
        leftover.unlink(missing_ok=True)
    command = [
        curl,
        "-q",
        "-sS",
        "--noproxy",
        "*",
        "-m",
        "20",
        "-H",
        f"Host: {HOST}",
        "-D",
        str(heads),
        "-o",
        str(body),
    ]
    done = subprocess.run([*command, *arguments, url], capture_output=True, timeout=30, check=False)
    first, *lines = heads.read_text().rstrip().split("\n\n")[-1].splitlines()
    headers = sorted((line for line in lines if _name(line) not in NOT_COMPARED), key=_name)
    return Fetched(done.returncode, first, headers, body.read_bytes() if body.exists() else b"")


def _name(line: str) -> str:
    return line.partition(":")[0].lower()


UPLOAD = os.urandom(3_000_000)
CASES = {
    "a page": ["page"],
    "HEAD": ["page", "--head"],
    "a query": ["page?a=1&b=%20%2F&c"],
    "POST": ["post", "--data-binary", "name=value"],
    "PUT": ["post", "-X", "PUT", "--data-binary", "body"],
    "DELETE": ["post", "-X", "DELETE"],
    "OPTIONS": ["post", "-X", "OPTIONS"],
    "a large upload": ["post", "--data-binary", "@upload"],
    "a chunked upload": ["post", "-H", "Transfer-Encoding: chunked", "--data-binary", "@upload"],
    "100-continue": ["post", "-H", "Expect: 100-continue", "--data-binary", "@upload"],
    "a large page": ["large"],
    "part of it": ["large", "-H", "Range: bytes=5-9"],
    "chunked": ["chunked"],
    "chunked as it travelled": ["chunked", "--raw"],
    "encoded content": ["packed", "-H", "Accept-Encoding: gzip"],
    "no content": ["nothing"],
    "a redirect": ["elsewhere"],
    "not found": ["missing"],
    "a body that is cut": ["cut"],
}


@pytest.mark.parametrize("name", CASES)
def test_curl_gets_the_same(proxy: Proxy, web: WebUpstream, curl: str, tmp_path: Path, name: str) -> None:
    path, *arguments = CASES[name]
    upload = tmp_path / "upload"
    upload.write_bytes(UPLOAD)
    arguments = [argument.replace("@upload", f"@{upload}") for argument in arguments]
    direct = _fetch(curl, f"{web.url}/web/{path}", arguments, tmp_path)
    wanted = web.seen[-1]
    through = _fetch(curl, proxy.url(f"/web/{path}", "http"), arguments, tmp_path)
    asked = web.seen[-1]
    assert through.code == direct.code
    assert through.body == direct.body or not "the bodies differ"
    assert (through.first, through.headers) == (direct.first, direct.headers)
    assert asked[:2] == wanted[:2]
    crossed = [pair for pair in asked[2] if not pair[0].startswith(ADDED_BY_A_PROXY)]
    assert sorted(crossed) == sorted(wanted[2])


@pytest.mark.parametrize("path", ["page", "chunked", "large"])
def test_an_old_client_gets_the_whole_body(
    proxy: Proxy, web: WebUpstream, curl: str, tmp_path: Path, path: str
) -> None:
    """HTTP/1.0 knows no chunks: the connection's end is the body's end (RFC 9112 §6.3)."""
    direct = _fetch(curl, f"{web.url}/web/{path}", [], tmp_path)
    through = _fetch(curl, proxy.url(f"/web/{path}", "http"), ["--http1.0"], tmp_path)
    assert through.code == 0
    assert through.body == direct.body or not "the bodies differ"
    assert not any(_name(line) == "transfer-encoding" for line in through.headers)


def test_the_connection_is_kept_for_the_next_request(proxy: Proxy, curl: str) -> None:
    url = proxy.url("/web/page", "http")
    command = [curl, "-q", "-sS", "--noproxy", "*", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} "]
    done = subprocess.run([*command, url, url], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_server_sent_events_come_as_they_are_sent(proxy: Proxy, web: WebUpstream) -> None:
    connection = http.client.HTTPConnection(*proxy.address, timeout=DEADLINE)
    connection.request("GET", "/web/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert [answer.readline() for _ in range(3)] == [b"id: 1\n", b"data: first\n", b"\n"]
    # The upstream has not sent more, and waits: whatever buffers would not have given the first event.
    web.release()
    assert answer.read() == b"id: 2\ndata: second\n\n"
    connection.close()


def test_a_large_page_to_a_client_that_keeps_the_connection(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection(*proxy.address, timeout=DEADLINE)
    for _ in range(3):
        connection.request("GET", "/web/large")
        assert connection.getresponse().read() == LARGE or not "the page differs"
    connection.close()


def test_nobody_there_is_a_502_and_no_route_a_404(proxy: Proxy) -> None:
    with configured(route("nobody", "http://127.0.0.1:1")) as other:
        for address, path, status in ((other.address, "/nobody", 502), (proxy.address, "/elsewhere", 404)):
            connection = http.client.HTTPConnection(*address, timeout=DEADLINE)
            connection.request("GET", path)
            assert connection.getresponse().status == status
            connection.close()
