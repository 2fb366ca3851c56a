"""Coverage-guided fuzzing of one target for a bounded time: ``python -m tests.fuzz TARGET SECONDS``.

Needs atheris. It begins with the seeds in the tree; an input that fails is kept in ``tests/fuzz/findings/TARGET``,
where the ordinary tests find it, and makes the exit code other than 0.
"""

import importlib
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main(name: str, seconds: str) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["wsproxy", "wsproto"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    findings = HERE / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    # What the fuzzer learns is worth keeping for the next run, but not in the tree.
    learned = Path(tempfile.gettempdir(), "wsproxy-fuzz", name)
    learned.mkdir(parents=True, exist_ok=True)
    bounds = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    places = [f"-artifact_prefix={findings}/", str(learned), str(HERE / "seeds" / name)]
    atheris.Setup([sys.argv[0], *bounds, *places], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
