"""The Autobahn TestSuite: finding a Python 2.7 for it, installing it, and running its two fuzzers.

Owns: the environment `.venv-autobahn` and the `wstest` processes. Must never import wsproxy.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.endtoend.proxy import wait_for

Mode = Literal["fuzzingclient", "fuzzingserver"]
"""Which end the fuzzer is: a client of the proxy, or the upstream behind it."""
AGENT = "wsproxy"
ENVIRONMENT = Path(__file__).parents[2] / ".venv-autobahn"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_VIRTUALENV = "virtualenv==20.21.1"
"""The last virtualenv line that makes environments for Python 2.7; itself it runs on Python 3."""

_PATIENCE = 600.0
"""Seconds: the fuzzers say a line for each case, and give up the slowest one after 480."""

_WSTEST = """
import sys
from autobahn.websocket.compress import (
    PerMessageDeflateOffer, PerMessageDeflateOfferAccept, PerMessageDeflateResponse, PerMessageDeflateResponseAccept)
from autobahntestsuite import fuzzing, wstest

def accept_offer(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)

def accept_response(response):
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)

def always_compress(factory, options):
    reset = factory.resetProtocolOptions
    def resetProtocolOptions(self):
        reset(self)
        self.setProtocolOptions(**options)
    factory.resetProtocolOptions = resetProtocolOptions

always_compress(fuzzing.FuzzingServerFactory, {"perMessageCompressionAccept": accept_offer})
always_compress(fuzzing.FuzzingClientFactory, {
    "perMessageCompressionOffers": [PerMessageDeflateOffer()], "perMessageCompressionAccept": accept_response})
sys.argv[0] = "wstest"
wstest.run()
"""
"""`wstest` (Python 2), but for one thing: permessage-deflate in all cases, and not only in those of sections 12 and 13.
Those sections' own offers and answers still go before these."""


def find_interpreter() -> str | None:
    """A Python 2.7 that runs: `AUTOBAHN_PYTHON`, else the PATH's, else one of pyenv's. None where there is none.

    :raises SystemExit: `AUTOBAHN_PYTHON` is set and is not a Python 2.7.
    """
    named = os.environ.get("AUTOBAHN_PYTHON")
    if named:
        if not _runs(named):
            raise SystemExit(f"AUTOBAHN_PYTHON={named} is not a Python 2.7 that runs")
        return named
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which("python2.7"), *map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True))]
    return next((path for path in found if path is not None and _runs(path)), None)


def _runs(interpreter: str) -> bool:
    # On the PATH there may be a shim of pyenv's for a version that is not active: it is there, and only fails.
    command = [interpreter, "-c", "import ssl, sys, zlib; sys.exit(sys.version_info[:2] != (2, 7))"]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def install(interpreter: str) -> None:
    """Make `.venv-autobahn`, unless it is there and has what `requirements.txt` says.

    :raises subprocess.CalledProcessError: virtualenv or pip failed, and said why on standard error.
    """
    stamp = ENVIRONMENT / "installed.txt"
    wanted = f"{interpreter}\n{_REQUIREMENTS.read_text()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    maker = ENVIRONMENT / "maker"
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _say([sys.executable, "-m", "venv", maker])
    _say([maker / "bin" / "python", *pip, _VIRTUALENV])
    _say([maker / "bin" / "virtualenv", "--quiet", "--no-download", "--python", interpreter, ENVIRONMENT / "suite"])
    _say([_python(), *pip, "--no-deps", "--requirement", _REQUIREMENTS])
    stamp.write_text(wanted)


def _say(command: Sequence[str | Path]) -> None:
    print("+", *command, flush=True)
    # Standard output is this program's own: its reader is not meant to see pip's.
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)


def _python() -> Path:
    return ENVIRONMENT / "suite" / "bin" / "python"


def fuzz(url: str, folder: Path, cases: Sequence[str], excluded: Sequence[str], *, compress: bool) -> None:
    """Run the fuzzing client against ``url`` to its end; its reports are in ``folder`` then.

    :param cases: patterns such as `6.4.*`.
    :param compress: offer permessage-deflate in every case.
    """
    spec = {"servers": [{"agent": AGENT, "url": url}]}
    with _wstest("fuzzingclient", spec, folder, cases, excluded, compress=compress) as process:
        finish(process, folder / "wstest.log")


@contextlib.contextmanager
def fuzzing_server(folder: Path, cases: Sequence[str], excluded: Sequence[str], *, compress: bool) -> Iterator[str]:
    """The fuzzing server, listening: its URL. It writes its reports when a client asks for `/updateReports`.

    :param compress: accept permessage-deflate in every case.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    with _wstest("fuzzingserver", {"url": url}, folder, cases, excluded, compress=compress) as process:
        wait_for("the fuzzing server", lambda: process.poll() is not None or _listens(port))
        yield url


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the end of a process that writes to ``log``.

    :raises RuntimeError: it failed, or has written nothing for longer than any case lasts.
    """
    written = -1
    while True:
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            if log.stat().st_size == written:
                raise RuntimeError(f"nothing new in {log} for {_PATIENCE} s") from None
            written = log.stat().st_size
            continue
        if code != 0:
            raise RuntimeError(f"ended with {code}, see {log}")
        return


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _wstest(
    mode: Mode,
    spec: Mapping[str, object],
    folder: Path,
    cases: Sequence[str],
    excluded: Sequence[str],
    *,
    compress: bool,
) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True)
    path = folder / "spec.json"
    whole = {**spec, "outdir": str(folder), "cases": list(cases), "exclude-cases": list(excluded)}
    path.write_text(json.dumps(whole))
    program = ["-c", _WSTEST] if compress else ["-c", "from autobahntestsuite import wstest; wstest.run()"]
    command = [str(_python()), "-u", *program, "--mode", mode, "--spec", str(path), "--webport", "0"]
    with (folder / "wstest.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
