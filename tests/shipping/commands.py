"""The commands of the documentation: found in its ``sh`` blocks, and run as a reader would, page by page.

Owns: which blocks count, which commands stay running, and the place where they run: a network and a /run of their own,
so that the ports and paths that the pages name are free. Must never import wsproxy.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/*/README.md"), *ROOT.glob("*/README.md")]
)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)

STAYING = re.compile(r"(wsproxy run|wsproxy demo .*--keep|python -m wsproxy\.demo\.backend)\b")
"""Commands that run until they are ended: a page's next command runs beside them."""
ELSEWHERE = {
    r"make (?!-)[a-z-]+": "test_commands.py: the target is there",
    r"[A-Z_]+=\S+ .*make bench": "test_commands.py: the target is there",
    r"apt-get |\. \.venv/bin/activate": "test_bare_root.py",
    r"python3 -m venv |/opt/wsproxy/bin/pip |install -": "test_bare_root.py",
    r"systemctl ": "test_systemd.py",
    r"pip install -e ./wsproxy-rot|wsproxy schema \| grep x-rot|wsproxy (check|run) (near|far)\.toml": (
        "endtoend/test_extensions.py: the example is installed, and two proxies speak it"
    ),
    r"docker (build|run) ": "test_container.py, with buildah",
    r"docker compose ": "test_compose.py: the file is valid",
    r"kubectl ": "test_manifests.py",
}
"""Commands that need what no test machine has, or that another test runs: how they begin, and who shows them."""


def commands(page: Path, *sections: str) -> Iterator[str]:
    """The commands of a page's ``sh`` blocks in order, continued lines joined, comments left out.

    :param sections: how the headings begin of those that count, beside the text before the first; none: all of them.
    """
    first, *others = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    chosen = [first, *(part for part in others if not sections or part.startswith(sections))]
    for block in (block for part in chosen for block in _BLOCK.findall(part)):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s+)# .*$", "", line).strip()
            if command:
                yield command


def shown_elsewhere(command: str) -> bool:
    return any(re.match(pattern, command) for pattern in ELSEWHERE)


def targets(command: str) -> list[str]:
    """The make targets that a command asks for."""
    found = re.match(r"(?:[A-Z_]+=\S+ )*make ((?:[a-z][a-z-]*\s*)+)", command)
    return found[1].split() if found else []


_PRELUDE = """
set -euo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
mount -t tmpfs none /run
mkdir /run/wsproxy
{python} - <<'END'
import fcntl, socket, struct
with socket.socket() as sock:  # the loopback interface of a new network is down
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 1 | 64))
END
started() {{ # LOG: until the process behind it says where it listens
    for _ in $(seq 300); do
        if grep -q -E '\\bready\\b|^[0-9]+$' "$1"; then return; fi
        if ! kill -0 $!; then cat "$1" >&2; return 1; fi
        sleep 0.05
    done
    cat "$1" >&2
    return 1
}}
WSPROXY_PID=
"""
_STAY = """
if [ -n "$WSPROXY_PID" ]; then kill "$WSPROXY_PID"; wait "$WSPROXY_PID"; WSPROXY_PID=; fi
"""


def script(page_commands: list[str], python: str = sys.executable) -> str:
    """A bash script that runs them one after the other; a proxy takes the place of the one before it."""
    lines = [_PRELUDE.format(python=shlex.quote(python))]
    for number, command in enumerate(page_commands):
        if STAYING.match(command):
            is_proxy = command.startswith("wsproxy")
            lines.append(_STAY if is_proxy else "")
            lines.append(f"{command} >log.{number} 2>&1 &\nstarted log.{number}")
            lines.append("WSPROXY_PID=$!" if is_proxy else "")
        else:
            lines.append(command)
    lines.append(_STAY)
    return "\n".join(lines)


def missing() -> str | None:
    """Why the commands cannot be run here; None where they can."""
    absent = [tool for tool in ("unshare", "bash", "curl", "mount") if shutil.which(tool) is None]
    if absent:
        return f"no {', '.join(absent)}"
    tried = subprocess.run(["unshare", "--map-root-user", "--net", "--mount", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "this machine gives no network namespace"


def run(page_commands: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run them in ``folder``, which gets a copy of what the pages name."""
    for name in ("config", "deploy"):
        shutil.copytree(ROOT / name, folder / name)
    programs = Path(sys.executable).parent
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", "--mount", "bash", "-c", script(page_commands)],
        cwd=folder,
        env={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
