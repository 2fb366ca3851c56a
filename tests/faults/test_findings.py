"""Faults that were found by making operations fail, each as the smallest conversation that shows it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.endtoend.proxy import sidecar
from tests.endtoend.wire import DEADLINE

REQUEST = b"GET / HTTP/1.1\r\nHost: feed.test\r\n\r\n"


@contextmanager
def upstream_that_closes_at_once() -> Iterator[str]:
    """Accepts, and closes without reading or writing a byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not stopped.is_set():
                accepted, _ = server.accept()
                accepted.close()

        stopped = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopped.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


def test_an_upstream_that_closes_before_the_request_is_sent() -> None:
    """Once it kept the worker busy for ever, or was a fault of ours: which one was a matter of the tasks' order."""
    with upstream_that_closes_at_once() as url, sidecar(url) as proxy:
        for _ in range(20):
            with socket.create_connection(proxy.address, DEADLINE) as client:
                client.sendall(REQUEST)
                assert client.recv(65_536).startswith(b"HTTP/1.1 502 ")
