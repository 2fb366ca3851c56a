"""Wheel and sdist: built as a release builds them, installed into empty environments, run in every way there is."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from wsproxy import __version__

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **environ: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environ})
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def environment(folder: Path) -> Path:
    """An empty virtual environment; its folder of programs."""
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin"


def test_the_wheel_has_the_package_and_nothing_else(dist: Path) -> None:
    names = zipfile.ZipFile(wheel(dist)).namelist()
    assert {name.split("/")[0] for name in names} == {"wsproxy", f"wsproxy-{__version__}.dist-info"}
    assert {"wsproxy/demo/page.html", "wsproxy/py.typed"} <= set(names)
    tracked = run("git", "-C", ROOT, "ls-files", "wsproxy").split()
    assert {name for name in names if name.startswith("wsproxy/")} == set(tracked)


def test_the_sdist_can_be_tested_by_who_packages_it(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "wsproxy/cli/main.py"} <= names
    assert "tests/conftest.py" in names


def test_installed_with_what_it_depends_on(dist: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "full")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel(dist))
    assert run(programs / "wsproxy", "--version") == f"wsproxy {__version__}\n"
    assert run(programs / "python", "-m", "wsproxy", "--version") == f"wsproxy {__version__}\n"
    engines = run(programs / "python", "-c", "from wsproxy.extensions.engines import available; print(*available())")
    assert engines.split() == ["zlib", "zlib-ng", "isal"]
    assert run(programs / "wsproxy", "demo", "--seconds", "2")


def test_installed_without_the_faster_engines(dist: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "bare")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel(dist))
    run(programs / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "isal", "zlib-ng")
    engines = run(programs / "python", "-c", "from wsproxy.extensions.engines import available; print(*available())")
    assert engines.split() == ["zlib"]
    assert run(programs / "wsproxy", "demo", "--seconds", "2")


def test_pipx_runs_it(dist: Path, tmp_path: Path) -> None:
    homes = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    told = run(sys.executable, "-m", "pipx", "run", "--spec", str(wheel(dist)), "wsproxy", "--version", **homes)
    assert told == f"wsproxy {__version__}\n"
