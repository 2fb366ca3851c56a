"""What systemd is told, and what is believed of its variables."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsproxy.network.notify import Notifier, named_descriptors


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(tmp_path / "notify")
        sock.bind("\0" + path if request.param == "abstract" else path)
        sock.settimeout(10)
        yield ("@" if request.param == "abstract" else "") + path, sock


def test_every_state_is_one_datagram(systemd: tuple[str, socket.socket]) -> None:
    address, sock = systemd
    notifier = Notifier({"NOTIFY_SOCKET": address}, 1)
    notifier.ready()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    notifier.stopping()
    notifier.alive()
    received = [sock.recv(1000).decode() for _ in range(4)]
    state, _, clock = received.pop(1).partition("\n")
    assert state == "RELOADING=1"
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= before + 10_000_000
    assert received == ["READY=1", "STOPPING=1", "WATCHDOG=1"]


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_nobody_listens(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}, 1).ready()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_is_told_twice_in_its_time(variables: dict[str, str], seconds: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/notify", **variables}, 7).watchdog_seconds == seconds
    assert Notifier(variables, 7).watchdog_seconds == 0


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:api:web"}, {"web": [3, 5], "api": [4]}),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web"}, {"web": [3], "unknown": [4]}),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "3"}, {}),
        ({"LISTEN_FDS": "3"}, {}),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, {}),
        ({}, {}),
    ],
)
def test_sockets_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: dict[str, list[int]]
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(os, "set_inheritable", lambda number, inheritable: closed.append(number))
    assert named_descriptors(variables, 7) == found
    assert sorted(closed) == sorted(number for numbers in found.values() for number in numbers)
