"""What systemd is told, and what it hands over: sd_notify(3), sd_listen_fds(3).

Owns: the datagrams to ``NOTIFY_SOCKET`` and the reading of the ``LISTEN_*`` variables. Must never import trio: a
datagram to a local socket does not wait.
Invariant: without systemd, nothing happens; a supervisor that does not listen harms nothing.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""


class Notifier:
    """Tells the service supervisor that started this process how it stands.

    :ivar watchdog_seconds: how often `alive` is to be told; 0 if nobody waits for it.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog(environ, pid) if self._address else 0.0

    def ready(self) -> None:
        """Also after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        # The clock is what systemd compares the following READY=1 with (Type=notify-reload).
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)


def _address(text: str) -> str:
    """A path, or a name in the abstract namespace, which is written with ``@`` for its NUL; else nothing."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog(environ: Mapping[str, str], pid: int) -> float:
    """Half of the interval that is granted, as sd_watchdog_enabled(3) advises."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not environ.get("WATCHDOG_USEC", "").isdecimal():
        return 0.0
    return int(environ["WATCHDOG_USEC"]) / 2e6


def named_descriptors(environ: Mapping[str, str], pid: int) -> dict[str, list[int]]:
    """The sockets of socket activation by their names (``FileDescriptorName=``); empty if they are not for ``pid``.

    They are made close-on-exec here, since processes that we start have their own.
    """
    if environ.get("LISTEN_PID") != str(pid) or not environ.get("LISTEN_FDS", "").isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[int]] = {}
    for index in range(int(environ["LISTEN_FDS"])):
        with contextlib.suppress(OSError):
            os.set_inheritable(FIRST_FD + index, False)
            name = names[index] if index < len(names) and names[index] else "unknown"
            found.setdefault(name, []).append(FIRST_FD + index)
    return found
