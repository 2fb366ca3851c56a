"""System calls for each message: `python -m benchmarks.syscalls` counts them with strace, behind `make bench-syscalls`.

Owns: that command. The counts are exact; the times of a traced proxy mean nothing and are not told.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load_program, page, processes
from benchmarks.contestants import BUILD, CONTESTANTS, Contestant, Stage, environment
from benchmarks.workloads import WORKLOADS, Workload

_RUNS = (
    # Not sparse traffic: traced, the proxy is so slow that messages wait for one another and share their calls.
    ("latency, light load", "wsproxy"),
    ("echo 1 KiB", "wsproxy"),
    ("feed 1 KiB", "wsproxy"),
    ("passthrough 1 KiB", "wsproxy, blind"),
    ("latency, light load", "HAProxy tunnel"),
    ("echo 1 KiB", "HAProxy tunnel"),
)
_SECONDS = 4.0
_STRACE_SECONDS = 20.0
# Below this many for each message a call is not worth a column.
_LEAST = 0.001


def count(workload: Workload, contestant: Contestant) -> tuple[int, dict[str, int]]:
    """The messages delivered while strace looked on, and how often each system call was made meanwhile."""
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("apt-get install strace")
    program = load_program.build(BUILD)
    with tempfile.TemporaryDirectory(prefix="wsproxy-syscalls-") as name:
        folder = Path(name)
        files = load_program.prepare(workload, folder)
        with load_program.running(program, workload, workload.connections, files, folder / "record") as load:
            port = processes.free_port()
            limit = processes.raise_file_limit()
            stage = Stage(workload, port, load.port, folder, limit, folder / "cert.pem", folder / "key.pem")
            (folder / "cert.pem").touch()
            (folder / "key.pem").touch()
            if contestant.build is not None:
                contestant.build()
            with processes.running(contestant.name, contestant.command(stage), port, folder, environment()) as process:
                load.connect("127.0.0.1", port)
                load.start()
                time.sleep(1)
                told = folder / "calls"
                pids = [argument for pid in processes.tree(process.pid) for argument in ("-p", str(pid))]
                command = [strace, "-f", "-c", "-U", "name,calls", "-o", str(told), *pids]
                with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
                    _wait_until_attached(tracer)
                    first = load.snapshot()
                    time.sleep(_SECONDS)
                    last = load.snapshot()
                    tracer.terminate()
                    tracer.wait(_STRACE_SECONDS)
                load.stop()
                calls = parsed(told.read_text())
    return last.messages - first.messages, calls


def _wait_until_attached(tracer: subprocess.Popen[str]) -> None:
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        raise SystemExit(f"strace does not trace: {line.strip()}")


def parsed(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit() and parts[0] != "total":
            found[parts[0]] = int(parts[1])
    return found


def render(rows: Sequence[tuple[str, int, dict[str, int]]]) -> str:
    """A Markdown table; calls for each message."""
    lines = ["| | messages | all calls | each |", "|---|--:|--:|---|"]
    for name, messages, calls in rows:
        if messages == 0:
            lines.append(f"| {name} | 0 | | |")
            continue
        shares = {call: number / messages for call, number in calls.items() if number / messages >= _LEAST}
        ordered = sorted(shares.items(), key=lambda each: -each[1])
        each = ", ".join(f"{call} {share:.3g}" for call, share in ordered)
        lines.append(f"| {name} | {messages:,} | {sum(calls.values()) / messages:.3g} | {each} |")
    return "## System calls for each message\n\n" + "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.syscalls", description=__doc__)
    parser.add_argument("--report", type=Path, help="a Markdown page whose section is to be written")
    given = parser.parse_args(arguments)
    os.environ["PATH"] += ":/usr/sbin"
    rows = []
    for workload_name, contestant_name in _RUNS:
        workload = next(each for each in WORKLOADS if each.name == workload_name)
        contestant = next(each for each in CONTESTANTS if each.name == contestant_name)
        if how := contestant.missing():
            sys.stdout.write(f"! skipping {contestant.name}: {how}\n")
            continue
        messages, calls = count(workload, contestant)
        rows.append((f"{workload.name}, {contestant.name}", messages, calls))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    text = render(rows)
    sys.stdout.write("\n" + text)
    if given.report:
        page.put_section(given.report, "syscalls", text)


if __name__ == "__main__":
    main()
