"""The units are accepted by systemd, and the service is exposed as little as a network service can be."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.endtoend import peers
from tests.endtoend.conftest import plain_upstream as plain_upstream
from tests.endtoend.proxy import running
from wsproxy.cli.main import main
from wsproxy.settings.tree import Shutdown

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ("wsproxy.service", "wsproxy.socket")
HIDDEN = {"ProtectProc=invisible": "hidepid=invisible", "ProcSubset=pid": "subset=pid"}
"""What of /proc the service does not see: the unit's line, and the option of the mount that systemd makes for it."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists here: verify looks for it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name in UNITS:
        text = (FOLDER / name).read_text()
        assert name.endswith(".socket") or "/opt/wsproxy/bin/wsproxy" in text
        (tmp_path / name).write_text(text.replace("/opt/wsproxy/bin/wsproxy", "/bin/true"))
    return tmp_path


def analyze(*arguments: str) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_units_are_sound(units: Path) -> None:
    assert analyze("verify", *(str(units / name) for name in UNITS)) == ""


def test_the_service_is_exposed_little(units: Path) -> None:
    told = analyze("security", "--offline=true", str(units / "wsproxy.service"))
    level = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", told)
    assert level is not None, told
    print(level[0])
    assert float(level[1]) <= 1.5


def test_it_runs_what_every_system_has() -> None:
    programs = re.findall(r"^Exec\w+=(\S+)", (FOLDER / "wsproxy.service").read_text(), re.MULTILINE)
    assert set(programs) == {"/opt/wsproxy/bin/wsproxy", "/bin/sh"}


def test_its_metrics_are_whole_behind_what_the_unit_hides(plain_upstream: peers.Upstream) -> None:
    unit = (FOLDER / "wsproxy.service").read_text()
    hidden = [option for line, option in HIDDEN.items() if re.search(rf"^{line}$", unit, re.MULTILINE)]
    assert hidden
    mount = f"mount -t proc -o {','.join(hidden)} proc /proc"
    enter = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*enter, mount], capture_output=True, check=False).returncode:
        pytest.skip("no /proc can be mounted here")
    flags = f"--listen 127.0.0.1:0 --metrics 127.0.0.1:0 --upstream {plain_upstream.url}"
    with running([*enter, f"{mount} && exec '{sys.executable}' -m wsproxy run {flags}"]) as proxy:
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
            assert proxy.metric(name) > 0, name


def test_a_drain_fits_into_the_time_that_the_service_has_to_end() -> None:
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", (FOLDER / "wsproxy.service").read_text(), re.MULTILINE)
    assert seconds is not None
    with (FOLDER / "wsproxy.toml").open("rb") as file:
        assert "shutdown" not in tomllib.load(file)
    assert Shutdown().grace_seconds < int(seconds[1])


def test_its_configuration_is_valid() -> None:
    assert main(["check", str(FOLDER / "wsproxy.toml")]) == 0
