"""The ADDR grammar: ``host:port``, ``[v6]:port``, ``unix:/path`` ``fd:N`` and ``fd:NAME``.

Owns: the four address values and their text form. Must never import trio or socket: it names places, ``network/``
goes there.
Invariant: ``parse_address(str(address)) == address``.
"""

import ipaddress
import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_UNIX_PATH_BYTES = 107
"""``sun_path`` holds 108 bytes on Linux, the closing NUL included (unix(7))."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A name or IP literal (an IPv6 literal without its brackets) and a port; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a Unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdAddress:
    """A listening socket that the process was started with (socket activation)."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


@dataclass(frozen=True, slots=True)
class NamedFdAddress:
    """The listening sockets that systemd passed under a name (``FileDescriptorName=``)."""

    name: str

    def __str__(self) -> str:
        return f"fd:{self.name}"


Address = TcpAddress | UnixAddress | FdAddress | NamedFdAddress


def parse_address(text: str) -> Address:
    """Read one ADDR. Raises ValueError with a clause that says what is wrong with ``text``."""
    if text.startswith("unix:"):
        return UnixAddress(parse_unix_path(text.removeprefix("unix:")))
    if text.startswith("fd:"):
        which = text.removeprefix("fd:")
        if re.fullmatch(r"[0-9]{1,9}", which):
            return FdAddress(int(which))
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,254}", which):
            return NamedFdAddress(which)
        raise ValueError(f"{text!r} is not fd:N with a number, nor fd:NAME with a name from socket activation")
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        raise ValueError(f"{text!r} has no port: write host:port, [v6]:port, unix:/path or fd:N")
    if not host or host == "*":
        raise ValueError(f"{text!r} has no host: write 0.0.0.0:{port} or [::]:{port} for every address")
    return TcpAddress(parse_host(host), parse_port(port))


def parse_host(text: str) -> str:
    """A name, an IPv4 literal or a bracketed IPv6 literal; gives it without brackets. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    if ":" in text:
        raise ValueError(f"{text!r} is not a host name; an IPv6 address goes in brackets")
    if re.fullmatch(r"[0-9.]+", text):
        return str(ipaddress.IPv4Address(text))
    if not _NAME.fullmatch(text) or ".." in text or len(text) > 255:
        raise ValueError(f"{text!r} is not a host name (a name outside ASCII is written in its xn-- form)")
    return text


def parse_port(text: str) -> int:
    """A TCP port, 0 to 65535. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def parse_unix_path(text: str) -> str:
    """The absolute path of a Unix domain socket. Raises ValueError."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path")
    if len(text.encode()) > _UNIX_PATH_BYTES:
        raise ValueError(f"{text!r} is longer than the {_UNIX_PATH_BYTES} bytes of a Unix socket's path")
    return text
