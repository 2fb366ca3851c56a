"""The units are accepted by systemd, and the service is exposed as little as a network service can be."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from wsproxy.cli.main import main
from wsproxy.settings.tree import Shutdown

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = ("wsproxy.service", "wsproxy.socket")


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


def test_a_drain_fits_into_the_time_that_the_service_has_to_end() -> None:
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", (FOLDER / "wsproxy.service").read_text(), re.MULTILINE)
    assert seconds is not None
    with (FOLDER / "wsproxy.toml").open("rb") as file:
        assert "shutdown" not in tomllib.load(file)
    assert Shutdown().grace_seconds < int(seconds[1])


def test_its_configuration_is_valid() -> None:
    assert main(["check", str(FOLDER / "wsproxy.toml")]) == 0
