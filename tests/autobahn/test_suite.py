"""Where a Python 2.7 is looked for, and what happens where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.autobahn.plans import PLANS
from tests.autobahn.run import parts
from tests.autobahn.suite import Mode, find_interpreter

GOOD, SHIM = "exit 0", "echo 'command not found' >&2; exit 127"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python 2.7: an empty PATH and pyenv."""
    monkeypatch.delenv("AUTOBAHN_PYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_nowhere(bare: Path) -> None:
    assert find_interpreter() is None


def test_on_the_path(bare: Path) -> None:
    good = program(bare / "path" / "python2.7", GOOD)
    program(bare / "pyenv" / "versions" / "2.7.18" / "bin" / "python2.7", GOOD)
    assert find_interpreter() == good


def test_behind_a_shim_that_fails(bare: Path) -> None:
    program(bare / "path" / "python2.7", SHIM)
    program(bare / "pyenv" / "versions" / "2.7.9" / "bin" / "python2.7", SHIM)
    good = program(bare / "pyenv" / "versions" / "2.7.18" / "bin" / "python2.7", GOOD)
    assert find_interpreter() == good


def test_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "path" / "python2.7", GOOD)
    named = program(bare / "elsewhere" / "python", GOOD)
    monkeypatch.setenv("AUTOBAHN_PYTHON", named)
    assert find_interpreter() == named


@pytest.mark.parametrize("named", [sys.executable, "/nonexistent/python2.7", "/etc/hostname"])
def test_named_wrongly(bare: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """What the user names is taken or refused, never passed over."""
    program(bare / "path" / "python2.7", GOOD)
    monkeypatch.setenv("AUTOBAHN_PYTHON", named)
    with pytest.raises(SystemExit, match=r"is not a Python 2\.7"):
        find_interpreter()


def test_without_an_interpreter_the_run_says_so_and_is_no_failure(bare: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.autobahn.run"], check=False, capture_output=True, text=True, env=dict(os.environ)
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("skipped: the Autobahn TestSuite needs Python 2.7")


@pytest.mark.parametrize(
    ("name", "mode", "cases", "run"),
    [
        ("plain", "fuzzingclient", ["*"], ["1", "2", "3", "4", "5", "6", "7", "9", "10"]),
        ("pass", "fuzzingserver", ["*"], ["1", "2", "3", "4", "5", "6", "7", "9", "12", "13"]),
        ("blind", "fuzzingclient", ["6.*", "10.*", "12.*"], ["12"]),
    ],
)
def test_each_section_is_run_for_itself(name: str, mode: Mode, cases: list[str], run: list[str]) -> None:
    (plan,) = [plan for plan in PLANS if plan.name == name]
    assert parts(mode, plan, cases) == tuple(f"{section}.*" for section in run)


@pytest.mark.parametrize(
    ("name", "mode", "cases", "asked"),
    [
        ("plain", "fuzzingclient", ["12.*", "13.*"], False),
        ("plain", "fuzzingclient", ["13.4.1", "1.*"], True),
        ("deflate", "fuzzingclient", ["12.1.*"], True),
        ("deflate", "fuzzingserver", ["12.1.*"], False),
        ("inflate", "fuzzingserver", ["13.1.1"], True),
        ("recode", "fuzzingclient", ["3.4", "10.1.1"], False),
        ("blind", "fuzzingserver", ["6.4.*"], False),
        ("blind", "fuzzingserver", ["*"], True),
    ],
)
def test_what_a_plan_can_be_asked(name: str, mode: Mode, cases: list[str], asked: bool) -> None:
    plan = next(plan for plan in PLANS if plan.name == name)
    assert plan.can_be_asked(mode, cases) is asked
