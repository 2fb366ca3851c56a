"""``wsproxy demo`` as its user sees it: the figures, the verdict, and nothing left behind however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from urllib.request import ProxyHandler, build_opener

import pytest
import trio

from wsproxy.demo.conversation import connect

SECONDS = 60.0
MARK = "DEMO_UNDER_TEST"
PROC = Path("/proc")
FLOWS = ("market to client", "chat to client", "echo to client", "echo from client")

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="what is left behind is looked for in /proc")


def processes(directory: Path) -> dict[int, str]:
    """The command lines of a demo's processes by pid: all of them inherit a variable that names its directory."""
    found = {}
    for entry in PROC.glob("[0-9]*"):
        # It may have ended meanwhile, or be another user's.
        with suppress(OSError):
            if f"{MARK}={directory}\0".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


class Demo:
    """A running ``wsproxy demo``."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "wsproxy", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {MARK: str(directory), "TMPDIR": str(directory), "WSPROXY_LISTEN": "nonsense"},
        )
        self._watchdog = Timer(SECONDS, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def line(self, pattern: str) -> re.Match[str]:
        """The next line of its output that matches."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no line with {pattern!r}; on stderr: {self.finish()[2]}")

    def pid(self, module: str) -> int:
        """The one process that runs this module."""
        [pid] = [pid for pid, command in processes(self._directory).items() if f"-m {module} " in command]
        return pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop_reading(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def finish(self) -> tuple[int, str, str]:
        """Its exit code, the rest of its output, and its errors."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        out = "" if self._process.stdout.closed else self._process.stdout.read()
        errors = self._process.stderr.read()
        code = self._process.wait()
        self._watchdog.cancel()
        self._process.stdout.close()
        self._process.stderr.close()
        return code, out, errors


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a demo may put its files. Afterwards there are none, and none of its processes."""
    yield tmp_path
    left = processes(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}
    assert list(tmp_path.iterdir()) == []


def test_a_whole_demo_is_verified(directory: Path) -> None:
    code, out, errors = Demo(directory, "--seconds", "2").finish()
    assert (code, errors) == (0, "")
    assert "\x1b" not in out
    live, _, summary = out.partition("\n\n")
    for flow in (*FLOWS, "whole proxy"):
        assert re.search(rf"^ +\d\.\ds  {flow} ", live, re.MULTILINE)
    for flow in FLOWS:
        found = re.search(
            rf"^{flow} +[\d,]+ +[\d.]+ [kM]B +[\d.]+ [kM]B +([\d.]+) +([\d.]+) us +(\d+) GB ", summary, re.M
        )
        assert found
        assert float(found[1]) > 2
        assert float(found[2]) > 0
        assert int(found[3]) == pytest.approx(1000 - 1000 / float(found[1]), abs=2)
    verified = re.search(
        r"^verified: 18 clients inflated and checked ([\d,]+) messages and sent ([\d,]+)", summary, re.M
    )
    assert verified
    counted = [int(number.replace(",", "")) for number in re.findall(r"client +([\d,]+) ", summary)]
    assert int(verified[1].replace(",", "")) == sum(counted[:3])
    assert int(verified[2].replace(",", "")) == counted[3]


def test_it_can_be_kept_for_a_browser_and_interrupted(directory: Path) -> None:
    demo = Demo(directory, "--keep")
    proxy = demo.line(r"proxy (http://(\S+):(\d+)/)")
    demo.line("Open the proxy's address")
    with build_opener(ProxyHandler({})).open(proxy[1], timeout=SECONDS) as page:
        assert b"new WebSocket" in page.read()

    async def browse() -> None:
        with trio.fail_after(SECONDS):
            async with await connect(proxy[2], int(proxy[3]), "/browser/echo") as conversation:
                assert conversation.compressed
                await conversation.send("hello")
                assert await conversation.receive() == ["hello"]
                demo.line("browser from client +1 ")
                demo.signal(signal.SIGINT)
                while not conversation.over:
                    await conversation.receive()
                assert conversation.close_code == 1001

    trio.run(browse)
    code, out, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert "verified: 18 clients" in out


def test_term_ends_it_with_the_summary_too(directory: Path) -> None:
    demo = Demo(directory, "--seconds", "60")
    demo.line("market to client")
    demo.signal(signal.SIGTERM)
    code, out, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert "verified: 18 clients" in out


def test_a_second_signal_ends_it_at_once(directory: Path) -> None:
    demo = Demo(directory, "--seconds", "60")
    demo.line("market to client")
    clients = demo.pid("wsproxy.demo.clients")
    # Clients that stand still cannot close, so that the first signal alone would not end it yet.
    os.kill(clients, signal.SIGSTOP)
    demo.signal(signal.SIGINT)
    demo.signal(signal.SIGTERM)
    os.kill(clients, signal.SIGCONT)
    code, out, errors = demo.finish()
    assert (code, errors) == (1, "")
    assert out.splitlines()[-1] == "NOT verified: interrupted before the end"
    assert "\nverified" not in out


@pytest.mark.parametrize(
    ("module", "told_in", "told"),
    [
        ("wsproxy.demo.backend", "errors", "wsproxy: the backend ended with exit code -9: "),
        ("wsproxy run", "errors", "wsproxy: the proxy ended with exit code -9: "),
        ("wsproxy.demo.clients", "out", "NOT verified: the clients ended with exit code -9"),
    ],
)
def test_a_process_that_dies_is_told_in_one_line(directory: Path, module: str, told_in: str, told: str) -> None:
    demo = Demo(directory, "--seconds", "60")
    demo.line("metrics: ")
    os.kill(demo.pid(module), signal.SIGKILL)
    code, out, errors = demo.finish()
    assert code == 1
    assert (errors if told_in == "errors" else out).splitlines()[-1].startswith(told)
    assert "Traceback" not in errors
    assert "\nverified" not in out


def test_nobody_reading_is_no_traceback(directory: Path) -> None:
    demo = Demo(directory, "--seconds", "60")
    demo.line("metrics: ")
    demo.stop_reading()
    code, _, errors = demo.finish()
    assert (code, errors) == (1, "wsproxy: nobody reads the output any more\n")
