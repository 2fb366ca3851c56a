"""Finding what the other makes need, and building the Go peer. Must never import wsproxy."""

import os
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).parent / "go"
_BUILD = Path(__file__).parents[2] / "build" / "world"
_LIBRARIES = Path("/usr/share/gocode")
"""Where Debian's packages of Go libraries lie: there is nothing to download."""

NO_GO = "Go or Debian's golang-github-gorilla-websocket-dev is not installed: gorilla was not tried"
NO_CHROMIUM = "no Chromium is installed: a browser was not tried"


def gorilla() -> Path | None:
    """The peer made of gorilla/websocket, built; None where Go or the library is not there."""
    go = shutil.which("go")
    if go is None or not (_LIBRARIES / "src/github.com/gorilla/websocket").is_dir():
        return None
    binary = _BUILD / "gorilla"
    _BUILD.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_LIBRARIES), "GOCACHE": str(_BUILD / "cache")}
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=_SOURCE, env=env, check=True)
    return binary
