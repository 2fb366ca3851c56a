"""`python -m benchmarks`: the command behind `make bench`.

Owns: the arguments, what is skipped and why, and where results go.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load_program, processes, report
from benchmarks.contestants import BUILD, CONTESTANTS, Contestant
from benchmarks.results import Results
from benchmarks.runner import Runner, Settings
from benchmarks.workloads import WORKLOADS, Workload

_ROUNDS_TO_PUBLISH = 3


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="wsproxy beside other proxies")
    parser.add_argument("--rounds", type=int, default=int(env("BENCH_ROUNDS") or 3))
    parser.add_argument("--only", default=env("BENCH_ONLY") or "", help="workloads or their groups; commas if several")
    parser.add_argument(
        "--peers", default=env("BENCH_PEERS") or "", help="beginnings of contestants' names; all if empty"
    )
    parser.add_argument("--scale", type=float, default=float(env("BENCH_SCALE") or 1), help="factor on measuring times")
    parser.add_argument("--json", type=Path, default=BUILD / "results.json", help="where to keep the samples")
    parser.add_argument("--report", type=Path, help="a Markdown file to write, with its plots in a folder beside it")
    parser.add_argument("--from-json", type=Path, help="measure nothing: report what this file has")
    return parser.parse_args(arguments)


def _ready(names: str, skipped: dict[str, str]) -> list[Contestant]:
    """The chosen contestants that can run here; what is missing for the others goes to ``skipped``, and is said."""
    wanted = [part.strip().lower() for part in names.split(",") if part.strip()]
    found: list[Contestant] = []
    for each in CONTESTANTS:
        if wanted and not any(each.name.lower().startswith(part) for part in wanted):
            continue
        if how := each.missing():
            skipped[each.name] = f"not installed ({how})"
            say(f"! skipping {each.name}: {how}")
            continue
        if each.build is not None:
            each.build()
        found.append(each)
    return found


def _chosen(names: str) -> list[Workload]:
    wanted = {part.strip() for part in names.split(";" if ";" in names else ",") if part.strip()}
    found = [each for each in WORKLOADS if not wanted or {each.name, each.group} & wanted]
    known = {each.group for each in WORKLOADS}
    if not found:
        raise SystemExit(f"no workload is called {names}: groups are {', '.join(sorted(known))}")
    return found


def _certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def _machine() -> dict[str, str]:
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "Python": platform.python_version(),
    }
    for name, command in {
        "Go": ("go", "version"),
        "Node": ("node", "--version"),
        "nginx": ("nginx", "-v"),
        "HAProxy": ("haproxy", "-v"),
    }.items():
        if program := shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin"):
            done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).splitlines()[0].partition(" - ")[0]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    # Ended from outside, it still ends the proxies that it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if given.from_json:
        results = Results.read(given.from_json)
    else:
        program = load_program.build(BUILD)
        results = Results(_machine())
        contestants, workloads = _ready(given.peers, results.skipped), _chosen(given.only)
        with tempfile.TemporaryDirectory(prefix="wsproxy-bench-") as name:
            folder = Path(name)
            cert, key = _certificate(folder)
            files = processes.raise_file_limit()
            runner = Runner(Settings(given.rounds, given.scale, files, folder, program, cert, key), results, say)
            for workload in workloads:
                runner.run(workload, contestants)
                results.write(given.json)
    text = report.render(results)
    say("\n" + text)
    if given.report and (given.only or given.peers or given.rounds < _ROUNDS_TO_PUBLISH):
        say(f"not written to {given.report}: this is a part of a run, or fewer than {_ROUNDS_TO_PUBLISH} rounds")
    elif given.report:
        report.write(results, text, given.report)
        say(f"written: {given.report}")


if __name__ == "__main__":
    main()
