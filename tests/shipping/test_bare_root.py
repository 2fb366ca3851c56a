"""A stranger's machine: a bare Debian with Python, and the project. What the pages say first works there as written."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shipping import commands, image
from tests.shipping.commands import ROOT

SOURCE = "/wsproxy"
"""Where the project lies in the root."""
_NETWORK = ("/etc/resolv.conf", "/etc/hosts", str(image.CERTIFICATES))
"""Files by which this machine reaches package indexes."""
_SAYS_WHERE = ("PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy")
"""Variables that say the same."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of files with Python alone, and in it the files that a clone would have."""
    if why := image.missing() or commands.missing():
        pytest.skip(f"no bare root can be made here: {why}")
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run(["tar", "-C", str(folder), "-xf", str(image.make_base())], check=True)
    for path in _NETWORK:
        if Path(path).exists():
            shutil.copy(path, f"{folder}{path}")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0")[:-1]:
        target = Path(f"{folder}{SOURCE}", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return folder


def enter(root: Path, script: str, *namespaces: str) -> None:
    """Run a bash script in the project's folder there; its processes end with it, and so does what it mounts."""
    variables = {name: value for name, value in os.environ.items() if name in _SAYS_WHERE}
    variables |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
    place = shlex.quote(str(root))
    inside = shlex.join(["chroot", str(root), "/bin/bash", "-c", f"set -euo pipefail; cd {SOURCE}\n{script}"])
    outside = f"mount -t proc proc {place}/proc && mount --rbind /dev {place}/dev && exec {inside}"
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", *namespaces, "/bin/bash", "-c", outside],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_the_first_pages_word_for_word(root: Path) -> None:
    quick_start = list(commands.commands(ROOT / "docs" / "quick-start.md", "A sidecar"))
    place = quick_start.index(". .venv/bin/activate") + 1
    setting_up, tried = quick_start[:place], quick_start[place:]
    assert len(tried) > 5
    # Packages come from outside; what is then started has a network of its own, where the ports of the pages are free.
    enter(root, "\n".join(setting_up))
    enter(root, commands.script([". .venv/bin/activate", *tried], "python3"), "--net")
    (demo,) = [each for each in commands.commands(ROOT / "README.md") if each == "make demo"]
    enter(root, demo)


def test_the_commands_of_a_systemd_machine(root: Path) -> None:
    asked = [each for each in commands.commands(ROOT / "deploy" / "README.md", "systemd") if "systemctl" not in each]
    enter(root, "\n".join(asked))
    unit = (root / "etc/systemd/system/wsproxy.service").read_text()
    checks = [line.removeprefix("ExecStartPre=") for line in unit.splitlines() if line.startswith("ExecStartPre=")]
    enter(root, "\n".join(checks))
    assert (root / "etc/systemd/system/wsproxy.socket").exists()
