"""The load program (load/, in C): built when its sources are newer, started, and spoken to line by line.

Owns: its command line and its protocol, as load/main.c has them. Knows no proxy.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import frames
from benchmarks.workloads import Traffic, Workload

SOURCES = Path(__file__).parent / "load"
# 10,000 handshakes through the slowest proxy, on a busy machine.
_ANSWER_SECONDS = 120.0
INSTALL = "apt-get install gcc libc6-dev libssl-dev"


class LoadFailed(Exception):
    """The load saw a proxy do something wrong, or could not be built or started."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The load's counters at one moment.

    :ivar at: seconds of the monotonic clock.
    :ivar messages: delivered to clients.
    :ivar wire_bytes: of frames delivered to clients, headers included.
    :ivar handshakes: whole lives of connections: request, 101, close both ways, end.
    :ivar late: messages that were not sent, because a socket was 4 MiB behind.
    :ivar least: messages delivered to the client that got the fewest; ``most``: the most.
    :ivar load_cpu: seconds of CPU that the load itself has used.
    :ivar histogram: latencies: how many in each bucket of ``bucket_us``.
    """

    at: float
    messages: int
    wire_bytes: int
    handshakes: int
    late: int
    least: int
    most: int
    extension: str
    load_cpu: float
    histogram: dict[int, int]


def bucket_us(bucket: int) -> float:
    """The middle of a latency bucket in microseconds: 64 even steps from each power of two to the next."""
    doubling, step = divmod(bucket, 64)
    return float((1 << doubling) * (1 + (step + 0.5) / 64))


def build(folder: Path) -> Path:
    """The program, compiled if need be.

    :raises LoadFailed: there is no compiler, or it failed.
    """
    program = folder / "load"
    sources = sorted(SOURCES.glob("*.[ch]"))
    if program.exists() and program.stat().st_mtime > max(each.stat().st_mtime for each in sources):
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise LoadFailed(f"no C compiler: {INSTALL}")
    folder.mkdir(parents=True, exist_ok=True)
    units = [str(each) for each in sources if each.suffix == ".c"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
    command = [compiler, *flags, "-o", str(program), *units, "-lssl", "-lcrypto"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"the load program does not build ({INSTALL}): {done.stderr[-800:]}")
    return program


def prepare(workload: Workload, folder: Path) -> list[str]:
    """Write the frames of a workload; the arguments that name them."""
    made: list[str] = []
    kinds = {"client-plain": (False, True), "client-deflated": (True, True)}
    if workload.traffic is not Traffic.ECHO:
        kinds = {"push-plain": (False, False)}
        if workload.upstream_deflates:
            kinds["push-deflated"] = (True, False)
    for name, (compressed, masked) in kinds.items():
        path = folder / f"{workload.group}-{workload.kind}-{workload.size}-{name}.frames"
        if not path.exists():
            frames.write(path, workload.corpus, binary=workload.binary, compressed=compressed, masked=masked)
        made += [f"--{name}", str(path)]
    return made


class Load:
    """A running load program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._answer("listening"))

    def connect(self, host: str, port: int) -> float:
        """Connect all clients; seconds that it took."""
        return float(self._ask(f"connect {host} {port}", "connected"))

    def start(self) -> None:
        self._ask("start", "started")

    def stop(self) -> None:
        self._ask("stop", "stopped")

    def snapshot(self) -> Snapshot:
        found = json.loads(self._ask("snapshot", ""))
        return Snapshot(
            at=found["at"],
            messages=found["messages"],
            wire_bytes=found["wire_bytes"],
            handshakes=found["handshakes"],
            late=found["late"],
            least=found["least"],
            most=found["most"],
            extension=found["extension"],
            load_cpu=found["upstream_cpu"] + found["client_cpu"],
            histogram={int(bucket): count for bucket, count in found["histogram"].items()},
        )

    def quit(self) -> None:
        """Write the records and end."""
        self._ask("quit", "bye")

    def _ask(self, line: str, answer: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer(answer)

    def _answer(self, expected: str) -> str:
        assert self._process.stdout is not None
        # It says one line at a time, so nothing waits in our buffer. A proxy that answers nothing ends a run so.
        if not select.select([self._process.stdout], [], [], _ANSWER_SECONDS)[0]:
            raise LoadFailed(f"no answer within {_ANSWER_SECONDS:.0f} s: {expected or 'snapshot'}")
        line = self._process.stdout.readline()
        if not line.startswith(expected) or line.startswith("error"):
            raise LoadFailed(line.strip() or "the load program ended")
        return line.removeprefix(expected).strip()


@contextlib.contextmanager
def running(
    program: Path, workload: Workload, connections: int, frame_files: list[str], record: Path
) -> Iterator[Load]:
    """The load program with its upstream listening; ended afterwards."""
    command = [str(program), "--traffic", workload.traffic, "--connections", str(connections)]
    command += [
        "--interval-us",
        str(workload.interval_us),
        "--most",
        str(workload.most),
        "--flood",
        str(workload.flood),
    ]
    command += ["--upstream-deflates", str(int(workload.upstream_deflates)), "--tls", str(int(workload.tls))]
    command += ["--record", str(record), *frame_files]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Load(process)
    finally:
        # The program is two processes, and the other one would keep the pipes open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
