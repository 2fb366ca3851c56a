"""What starting costs: reading a configuration, and a sidecar until it is ready, beside a Python that does nothing.

``python -m benchmarks.startup [TIMES]``. Shown is the least of so many runs: whatever else the machine does makes a run
slower, never faster.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes

CONFIG = Path(__file__).parents[1] / "config" / "every-key.toml"
LOAD = f"from wsproxy.settings.environment import load_file; load_file({str(CONFIG)!r}, {{}})"
STEPS: list[tuple[str, Sequence[str]]] = [
    ("Python alone", ["-c", "pass"]),
    ("the settings imported", ["-c", "import wsproxy.settings.environment"]),
    ("every key read and checked", ["-c", LOAD]),
    ("`wsproxy check`", ["-m", "wsproxy", "check", str(CONFIG)]),
    (
        "all that `wsproxy run` imports, the supervisor's part too",
        ["-c", f"{LOAD}; import wsproxy.service.lifecycle, wsproxy.service.supervisor"],
    ),
]


def cost(arguments: Sequence[str]) -> tuple[float, float]:
    """CPU milliseconds and peak resident MiB of one fresh process."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{arguments} ended with {os.waitstatus_to_exitcode(status)}")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return (usage.ru_utime + usage.ru_stime) * 1000, peak


SIDECAR = ["-m", "wsproxy", "run", "--upstream", "ws://127.0.0.1:9", "--listen", "127.0.0.1:0"]


def sidecar() -> tuple[float, float]:
    """CPU milliseconds of an idle sidecar until its ready line, and MiB resident then (Linux)."""
    command = [sys.executable, *SIDECAR, "--metrics", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        if "ready" not in (line := process.stderr.readline()):
            raise SystemExit(line)
        found = processes.cpu_seconds(process.pid) * 1000, processes.memory_bytes(process.pid) / 2**20
        process.terminate()
    return found


def main() -> None:
    """Print a table in Markdown."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    # Not one after the other, so that all have the same noise about them.
    rounds = [[cost(arguments) for _, arguments in STEPS] for _ in range(times)]
    lines = ["| process | CPU ms | peak MiB |", "|---|---|---|"]
    for number, (name, _) in enumerate(STEPS):
        cpu = min(each[number][0] for each in rounds)
        memory = min(each[number][1] for each in rounds)
        lines.append(f"| {name} | {cpu:.0f} | {memory:.1f} |")
    ready = [sidecar() for _ in range(times)]
    cpu, memory = min(cpu for cpu, _ in ready), min(memory for _, memory in ready)
    lines.append(f"| a sidecar, ready (its share of memory then) | {cpu:.0f} | {memory:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
