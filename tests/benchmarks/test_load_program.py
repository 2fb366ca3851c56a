"""The load program against itself: each kind of traffic, and that it tells what goes wrong."""

import shutil
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import frames, load_program
from benchmarks.load_program import Load, LoadFailed, Snapshot
from benchmarks.workloads import Traffic, Workload

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/openssl/ssl.h").exists(),
    reason=f"needs {load_program.INSTALL}",
)
DEADLINE = 20.0
PUSH = Workload("push", "test", 5, Traffic.PACED, 256, interval_us=10_000)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load_program.build(tmp_path_factory.mktemp("program"))


def until_each_has(load: Load, messages: int, handshakes: int = 0) -> Snapshot:
    limit = time.monotonic() + DEADLINE
    while True:
        seen = load.snapshot()
        if seen.least >= messages and seen.handshakes >= handshakes:
            return seen
        assert time.monotonic() < limit, seen
        time.sleep(0.005)


@pytest.mark.parametrize(
    "workload",
    [
        PUSH,
        replace(PUSH, name="together", traffic=Traffic.TOGETHER),
        replace(PUSH, name="saturated", traffic=Traffic.SATURATED),
        replace(PUSH, name="large", traffic=Traffic.SATURATED, size=65536),
        replace(PUSH, name="compressed", traffic=Traffic.SATURATED, upstream_deflates=True),
        replace(PUSH, name="binary", kind="noise"),
        replace(PUSH, name="echo", traffic=Traffic.ECHO, size=65536, connections=2),
    ],
    ids=lambda workload: workload.name,
)
def test_each_client_gets_what_was_sent_to_it(program: Path, tmp_path: Path, workload: Workload) -> None:
    record = tmp_path / "record"
    files = load_program.prepare(workload, tmp_path)
    with load_program.running(program, workload, workload.connections, files, record) as load:
        load.connect("127.0.0.1", load.port)
        load.start()
        seen = until_each_has(load, 20)
        load.stop()
        load.quit()
    assert seen.messages >= 20 * workload.connections
    assert seen.late == 0
    assert bool(seen.extension) == workload.upstream_deflates
    if workload.traffic is not Traffic.SATURATED:
        assert sum(seen.histogram.values()) >= 20 * workload.connections
    for number, index in enumerate((0, workload.connections - 1)):
        start = 0 if workload.traffic is Traffic.TOGETHER else index * 7919 % len(workload.corpus)
        data = record.with_name(f"record.{number}").read_bytes()
        count = frames.verify(data, seen.extension, workload.corpus, start, binary=workload.binary)
        assert count >= 20
        with pytest.raises(frames.WrongDelivery):
            frames.verify(data, seen.extension, workload.corpus, start + 1, binary=workload.binary)


def test_a_flood_is_not_counted_among_the_others(program: Path, tmp_path: Path) -> None:
    workload = replace(PUSH, flood=1)
    files = load_program.prepare(workload, tmp_path)
    with load_program.running(program, workload, 5, files, tmp_path / "record") as load:
        load.connect("127.0.0.1", load.port)
        load.start()
        seen = until_each_has(load, 20)
        load.stop()
        load.quit()
    assert seen.most > 100, "as fast as it goes"
    assert 80 <= seen.messages < seen.most
    assert sum(seen.histogram.values()) == seen.messages
    flooded = frames.verify((tmp_path / "record.0").read_bytes(), "", workload.corpus, 0, binary=False)
    assert flooded > 100


def test_a_proxy_that_answers_nothing_ends_the_wait(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = load_program.prepare(PUSH, tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        load_program.running(program, PUSH, 5, files, tmp_path / "record") as load,
    ):
        monkeypatch.setattr(load_program, "_ANSWER_SECONDS", 0.3)
        with pytest.raises(LoadFailed, match="no answer"):
            load.connect("127.0.0.1", mute.getsockname()[1])


def test_an_end_of_messages_is_kept_to(program: Path, tmp_path: Path) -> None:
    workload = replace(PUSH, most=3, interval_us=1000)
    files = load_program.prepare(workload, tmp_path)
    with load_program.running(program, workload, 5, files, tmp_path / "record") as load:
        load.connect("127.0.0.1", load.port)
        load.start()
        assert until_each_has(load, 3).most == 3


def test_handshakes_go_on_and_are_counted_whole(program: Path, tmp_path: Path) -> None:
    workload = replace(PUSH, traffic=Traffic.HANDSHAKES, connections=4)
    files = load_program.prepare(workload, tmp_path)
    with load_program.running(program, workload, 4, files, tmp_path / "record") as load:
        load.connect("127.0.0.1", load.port)
        assert until_each_has(load, 0, handshakes=200).messages == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "wrong Sec-WebSocket-Accept"),
        (
            b"HTTP/1.1 101 X\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x88\x02\x03\xf3",
            "was closed: 03f3",
        ),
        (b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x82abcdef", "masked"),
        (b"", "lost its connection"),
    ],
)
def test_a_proxy_that_does_wrong_is_told_of(program: Path, tmp_path: Path, answer: bytes, told: str) -> None:
    def wrong() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    files = load_program.prepare(PUSH, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=wrong)
        thread.start()
        with (
            load_program.running(program, PUSH, 1, files, tmp_path / "record") as load,
            pytest.raises(LoadFailed, match=told),
        ):
            load.connect("127.0.0.1", listening.getsockname()[1])
            until_each_has(load, 1)
        thread.join(DEADLINE)
