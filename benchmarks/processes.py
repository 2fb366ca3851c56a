"""What the operating system says about a proxy's processes, and the limits of our own.

Owns: reading /proc (Linux only), starting and ending a proxy. Knows no proxy by name.
"""

import contextlib
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_DEADLINE_SECONDS = 20.0


class DidNotStart(Exception):
    """A proxy ended, or did not listen in time."""


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree, as the scheduler accounts it: /proc has it in steps of 10 ms only."""
    total = 0.0
    for each in tree(pid):
        with contextlib.suppress(OSError):  # it has ended
            # What clock_getcpuclockid(3) returns, which Python does not have.
            total += time.clock_gettime((~each << 3) | 2)
    return total


def memory_bytes(pid: int) -> int:
    """Resident memory of the process tree; pages that processes share are counted once (PSS)."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, for every child too.

    :returns: the limit.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], port: int, folder: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy that listens on ``port``; ended afterwards. What it writes goes to ``folder``.

    :raises DidNotStart: it ended, or did not listen in time.
    """
    log = folder / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **env}, cwd=folder
        )
    try:
        _wait_for_port(name, process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + _DEADLINE_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > limit:
            raise DidNotStart(f"{name} does not listen: {log.read_text(errors='replace')[-600:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
