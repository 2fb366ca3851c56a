"""One question to a running proxy's read-only pages, for commands that run no event loop.

Owns: a blocking HTTP request over TCP or a Unix socket. Must never be called from a task.
"""

import http.client
import socket

from wsproxy.errors import CannotStart
from wsproxy.settings.addresses import Address, FdAddress, TcpAddress, UnixAddress

_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what listens everywhere answers here


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(address: Address, path: str, timeout_seconds: float) -> int:
    """The status that ``path`` is answered with.

    :raises CannotStart: no answer came in time, or the address is a descriptor of another process.
    """
    match address:
        case TcpAddress(host, port):
            connection = http.client.HTTPConnection(_THIS_MACHINE.get(host, host), port, timeout=timeout_seconds)
        case UnixAddress(socket_path):
            connection = _UnixConnection(socket_path, timeout_seconds)
        case FdAddress():
            raise CannotStart(f"{address} is known to the proxy's own process alone: name the address with --metrics")
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise CannotStart(f"{address} does not answer: {error}") from error
    finally:
        connection.close()
