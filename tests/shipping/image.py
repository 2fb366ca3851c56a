"""The container image, built from the Dockerfile by buildah on a base that debootstrap makes here.

Owns: the tools that it needs, the base, the image store and containers that run without a daemon. No image registry is
asked for anything. Must never import wsproxy.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.endtoend.proxy import Proxy, wait_for

ROOT = Path(__file__).parents[2]
BASE_TAR = ROOT / "build" / "container" / "base.tar"
"""Kept between runs: making it takes a minute."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def missing() -> str | None:
    """Why no image can be made here; None where one can."""
    tools = [tool for tool in ("buildah", "debootstrap", "apt-get") if shutil.which(tool) is None]
    if tools:
        return f"no {', '.join(tools)}"
    return None if os.geteuid() == 0 else "debootstrap and chroot isolation need root"


def make_base() -> Path:
    """A tar of a small Debian with Python, from the packages that this machine itself installs from."""
    if not BASE_TAR.exists():
        root = BASE_TAR.with_name("root")
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        include = "python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", f"--include={include}", _codename(), str(root), _mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        made = BASE_TAR.with_suffix(".part")
        subprocess.run(["tar", "-C", str(root), "--exclude=./var/cache/apt/*", "-cf", str(made), "."], check=True)
        shutil.rmtree(root)
        made.rename(BASE_TAR)
    return BASE_TAR


def _codename() -> str:
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return release["VERSION_CODENAME"].strip('"')


def _mirror() -> str:
    """Where this machine's own packages come from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Component: main"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return next(site for site in found if site.rstrip("/").endswith("/debian"))


@dataclass(frozen=True, slots=True)
class Store:
    """buildah with a store of its own."""

    folder: Path
    driver: str = "overlay"

    def run(self, *arguments: str) -> str:
        """One buildah command to its end; what it printed."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, f"buildah {' '.join(arguments)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def command(self, *arguments: str) -> list[str]:
        where = [
            "--root",
            str(self.folder / "root"),
            "--runroot",
            str(self.folder / "run"),
            "--storage-driver",
            self.driver,
        ]
        return ["buildah", *where, *arguments]

    def build(self, base: str, name: str) -> None:
        """The project's image on ``base``."""
        arguments = ["--isolation", "chroot", "--pull=never", "--format", "docker", "--build-arg", f"BASE_IMAGE={base}"]
        if CERTIFICATES.exists():
            arguments += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--build-arg", f"PIP_CERT={CERTIFICATES}"]
        self.run("build", *arguments, "--tag", name, ".")

    def base(self, tar: Path, name: str) -> None:
        """An image that has what is in ``tar``."""
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(tar), "/")
        self.run("commit", "--quiet", "--rm", container, name)

    def configuration(self, name: str) -> dict[str, Any]:
        """What the image says of itself: entry point, user, labels."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", name))["Docker"]["config"]
        return found

    def bytes(self, name: str) -> int:
        """The size of all layers."""
        container = self.run("from", "--pull-never", name)
        mounted = self.run("mount", container)
        done = subprocess.run(["du", "-sb", mounted], capture_output=True, text=True, check=True)
        self.run("rm", container)
        return int(done.stdout.split()[0])


def make_store(folder: Path) -> Store:
    """A store whose layers are shared where this kernel lets us, and copied where it does not."""
    overlay = Store(folder / "overlay")
    command = overlay.command("from", "scratch")
    mounts = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounts.returncode == 0:
        name = mounts.stdout.strip()
        mounts = subprocess.run(overlay.command("mount", name), capture_output=True, check=False, text=True)
        overlay.run("rm", name)
    return overlay if mounts.returncode == 0 else Store(folder / "vfs", "vfs")


@contextlib.contextmanager
def container(store: Store, image: str, env: dict[str, str], *volumes: str) -> Iterator[str]:
    """A container of the image with this environment; its name. Started with `proxy` or `buildah run`."""
    name = store.run("from", "--pull-never", *(word for each in volumes for word in ("--volume", each)), image)
    try:
        for key, value in env.items():
            store.run("config", "--env", f"{key}={value}", name)
        yield name
    finally:
        store.run("rm", name)


@contextlib.contextmanager
def proxy(store: Store, name: str) -> Iterator[Proxy]:
    """The container's own command, ready; ended by its stop signal. The network is the machine's loopback."""
    said = json.loads(store.run("inspect", "--type", "container", name))["Docker"]["config"]
    command = store.command("run", "--isolation", "chroot", name, "--", *said["Entrypoint"], *said["Cmd"])
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    found = Proxy(process)
    try:
        found.pid = _innermost(process.pid)
        yield found
    finally:
        os.kill(_innermost(process.pid), signal.Signals[said["StopSignal"]])
        wait_for("the end of the container", lambda: process.poll() is not None)
        found.wait()
        assert process.stderr is not None
        process.stderr.close()


def _innermost(pid: int) -> int:
    """The process at the end of the chain of only children, whichever thread started them."""
    while children := " ".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")).split():
        pid = int(children[0])
    return pid
