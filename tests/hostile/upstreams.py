"""Three upstreams that tell what arrived: a socket that keeps every byte, Debian's nginx, and Node's http.

Each answers 200 with ``METHOD TARGET`` as its body, so that an answer names the request that it belongs to. Must never
import wsproxy.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from tests.endtoend.proxy import DEADLINE, wait_for
from tests.hostile.grammar import Incomplete, Malformed, Message, read_request

Arrived = tuple[str, str, str]
"""Method, target and body; or "malformed", what is wrong, and nothing."""
_FENCE = "/fence-"


class Judge(Protocol):
    """An upstream that can be asked what arrived."""

    @property
    def url(self) -> str: ...

    def take(self) -> list[Arrived]:
        """What arrived since the last call; a request that was cut off did not."""
        ...


@dataclass(frozen=True, slots=True)
class Canned:
    """What the recorder answers, as bytes; ``close``: the connection ends with it."""

    data: bytes
    close: bool = False


class Recorder:
    """Keeps the requests of each connection as they came, byte by byte, and answers those that are well-formed.

    ``canned`` maps targets to other answers.
    """

    def __init__(self, canned: Mapping[str, Canned] | None = None) -> None:
        self._canned = canned or {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Message] = []
        """Whole, well-formed ones, with their headers."""
        self._arrived: list[Arrived] = []
        self._fences = count()
        self._open: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self) -> list[Arrived]:
        """Waits until every connection is over."""
        _pass_fence(self.url, next(self._fences))
        # Connections are accepted in order, so all that were made before the fence's are in the list.
        for thread in list(self._open):
            thread.join(DEADLINE)
            assert not thread.is_alive(), "the proxy keeps a connection that nobody uses"
        self._open.clear()
        arrived, self._arrived = self._arrived, []
        return [one for one in arrived if not one[1].startswith(_FENCE)]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._open.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        with sock, contextlib.suppress(ConnectionError):
            while chunk := sock.recv(65_536):
                data += chunk
                with contextlib.suppress(Incomplete):
                    while data:
                        request, data = self._read(data)
                        if request is None:
                            return
                        answer = self._answer(request)
                        sock.sendall(answer.data)
                        if answer.close:
                            return

    def _read(self, data: bytes) -> tuple[Message | None, bytes]:
        try:
            request, rest = read_request(data)
        except Malformed as error:
            self._arrived.append(("malformed", str(error), ""))
            return None, b""
        self.requests.append(request)
        self._arrived.append((*request.first, request.body.decode("latin-1")))
        return request, rest

    def _answer(self, request: Message) -> Canned:
        body = " ".join(request.first).encode()
        return self._canned.get(request.first[1]) or Canned(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), b"" if request.first[0] == "HEAD" else body)
        )


def _pass_fence(url: str, number: int) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), DEADLINE) as sock:
        sock.sendall(b"GET %s%d HTTP/1.1\r\nHost: h\r\n\r\n" % (_FENCE.encode(), number))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


class _Told:
    """An upstream that writes a line of JSON for each request; what came before a fence has been told by then."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lines: list[str] = []
        self._fences = count()
        self._seen = 0

    def take(self) -> list[Arrived]:
        number = next(self._fences)
        _pass_fence(self.url, number)
        wait_for("the fence", lambda: any(f"{_FENCE}{number}" in line for line in self.lines[self._seen :]))
        new, self._seen = self.lines[self._seen :], len(self.lines)
        told = [json.loads(line) for line in new]
        return [(method, target, body) for method, target, body in told if not target.startswith(_FENCE)]


@contextlib.contextmanager
def recorder(canned: Mapping[str, Canned] | None = None) -> Iterator[Recorder]:
    upstream = Recorder(canned)
    try:
        yield upstream
    finally:
        upstream.close()


@contextlib.contextmanager
def node_upstream(binary: str) -> Iterator[Judge]:
    """Node's http, with ``binary``."""
    script = Path(__file__).parent / "node" / "upstream.mjs"
    process = subprocess.Popen([binary, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout
    try:
        told = _Told(f"http://127.0.0.1:{int(output.readline())}")
        reader = threading.Thread(target=lambda: told.lines.extend(iter(output.readline, "")), daemon=True)
        reader.start()
        yield told
    finally:
        process.kill()
        process.wait()
        reader.join(DEADLINE)
        output.close()


_NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_body_buffer_size 256k; client_body_in_single_buffer on;
  log_format told escape=json '["$request_method", "$request_uri", "$request_body", "$status", "$request_completion"]';
  server {{
    listen 127.0.0.1:{port};
    access_log {folder}/told told;
    location / {{ proxy_pass http://unix:{folder}/inner; proxy_http_version 1.1; }}
  }}
  server {{
    listen unix:{folder}/inner;
    access_log off;
    location / {{ return 200 "$request_method $request_uri"; }}
  }}
}}
"""


class _Nginx(_Told):
    """Reads nginx's access log: whole requests, and those that it refused to understand."""

    def __init__(self, url: str, log: Path) -> None:
        super().__init__(url)
        self._log = log

    def take(self) -> list[Arrived]:
        number = next(self._fences)
        _pass_fence(self.url, number)
        wait_for("the fence", lambda: f"{_FENCE}{number}" in self._log.read_text())
        lines = self._log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        arrived: list[Arrived] = []
        for method, target, body, status, completion in map(json.loads, new):
            if completion != "OK" or target.startswith(_FENCE):
                continue
            arrived.append((method, target, body) if status == "200" else ("malformed", f"nginx says {status}", ""))
        return arrived


@contextlib.contextmanager
def nginx_upstream(binary: str, folder: Path) -> Iterator[Judge]:
    """nginx, with ``binary``: the outer one reads a request's body to its end before it asks the inner one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Started by root, its worker would become nobody, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, user=user))
    log = folder / "told"
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        wait_for("nginx", lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield _Nginx(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(DEADLINE)
        assert process.stderr is not None
        process.stderr.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
