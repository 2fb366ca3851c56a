"""What /proc and the CPU clocks say, and how a proxy is started and ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LISTEN = "import socket, sys, signal\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nsignal.pause()"
# A parent that only waits, and a child that works for 0.2 s of CPU before it tells.
TREE = (
    "import subprocess, sys\n"
    "work = 'import time, sys\\nwhile time.process_time() < 0.2: pass\\nprint(1, flush=True)\\nsys.stdin.read()'\n"
    "subprocess.run([sys.executable, '-c', work])"
)


def test_a_tree_has_the_time_and_memory_of_children() -> None:
    command = [sys.executable, "-c", TREE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert len(processes.tree(parent.pid)) == 2
        assert 0.2 <= processes.cpu_seconds(parent.pid) < 2
        assert processes.memory_bytes(parent.pid) > 2_000_000
        parent.communicate()


def test_own_time_is_what_python_says() -> None:
    before = time.process_time()
    told = processes.cpu_seconds(os.getpid())
    assert before <= told <= time.process_time()


def test_a_proxy_is_there_once_it_listens_and_gone_afterwards(tmp_path: Path) -> None:
    port = processes.free_port()
    with processes.running("it", [sys.executable, "-c", LISTEN, str(port)], port, tmp_path, {}) as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_proxy_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such file')"]
    with (
        pytest.raises(processes.DidNotStart, match="no such file"),
        processes.running("it", command, processes.free_port(), tmp_path, {}),
    ):
        pass
