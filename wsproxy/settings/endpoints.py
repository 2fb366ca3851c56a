"""The URL grammar of an upstream's endpoints: ``ws://``, ``wss://``, ``http://``, ``https://`` and ``unix:/path``.

Owns: the endpoint value. Must never import trio, socket or ssl.
Invariant: an ``Endpoint`` that exists can be dialled: its host, port and base path have been checked.
"""

import re
from dataclasses import dataclass

from wsproxy.settings.addresses import parse_host, parse_port, parse_unix_path

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?P<rest>.*)", re.S)
_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_TLS_OF_SCHEME = {"ws": False, "http": False, "wss": True, "https": True}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where an upstream listens.

    :ivar url: as it was written; the value of the ``endpoint`` label.
    :ivar tls: dial with TLS.
    :ivar host: name or IP literal without brackets; ``localhost`` for a Unix socket.
    :ivar port: 1 to 65535; 80 for a Unix socket, where nothing is dialled by it.
    :ivar unix_path: the socket's absolute path, or None for TCP.
    :ivar base_path: goes before the request's path; empty, or starts with a slash and does not end with one.
    """

    url: str
    tls: bool
    host: str
    port: int
    unix_path: str | None
    base_path: str


def parse_endpoint(url: str) -> Endpoint:
    """Read one endpoint URL. Raises ValueError with a clause that says what is wrong with it."""
    if url.startswith("unix:"):
        path = parse_unix_path(url.removeprefix("unix:"))
        return Endpoint(url=url, tls=False, host="localhost", port=80, unix_path=path, base_path="")
    parts = _URL.fullmatch(url)
    if parts is None or parts["scheme"].lower() not in _TLS_OF_SCHEME:
        raise ValueError(f"{url!r} does not start with ws://, wss://, http://, https:// or unix:/")
    if parts["rest"]:
        raise ValueError(f"{url!r} has a query or a fragment: an endpoint is a host and perhaps a base path")
    tls = _TLS_OF_SCHEME[parts["scheme"].lower()]
    host, port = _split_authority(url, parts["authority"], default_port=443 if tls else 80)
    base_path = parts["path"] or ""
    if not _PATH.fullmatch(base_path):
        raise ValueError(f"{url!r} has a character in its path that must be percent-encoded")
    return Endpoint(url=url, tls=tls, host=host, port=port, unix_path=None, base_path=base_path.rstrip("/"))


def _split_authority(url: str, authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise ValueError("an endpoint's URL cannot hold a user or a password")
    if not authority:
        raise ValueError(f"{url!r} has no host")
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        return parse_host(authority), default_port
    number = parse_port(port)
    if number == 0:
        raise ValueError(f"{url!r} has port 0")
    return parse_host(host), number
