"""Runs contestants in turn, round after round, and makes samples of what the load and the system say.

Owns: the order of a run, and what counts as a valid one. Imports no proxy.
Invariants: within a round every contestant meets the same workload, one after the other, and the next round begins
with another one; CPU is counted only inside the measuring window; nothing counts that was not verified.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import engines, frames, load_program, processes
from benchmarks.bars import ENGINE
from benchmarks.contestants import Contestant, Stage, environment
from benchmarks.load_program import Load, LoadFailed, Snapshot
from benchmarks.results import Results, Sample, difference, percentile
from benchmarks.workloads import Traffic, Workload

DIRECT = "no proxy"
_WARM_SECONDS = 1.0
_SPARE_FILES = 400
_FILL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run.

    :ivar scale: factor on every measuring window and quiet time.
    :ivar files: the limit of open files.
    :ivar folder: where frames, records and configurations are written.
    """

    rounds: int
    scale: float
    files: int
    folder: Path
    program: Path
    cert: Path
    key: Path


class Runner:
    """One run: ``results`` grows as it goes; ``say`` is told each sample."""

    def __init__(self, settings: Settings, results: Results, say: Callable[[str], None]) -> None:
        self.results = results
        self._settings = settings
        self._say = say

    def run(self, workload: Workload, contestants: Sequence[Contestant]) -> None:
        """All rounds of one workload."""
        frame_files = load_program.prepare(workload, self._settings.folder)
        connections = min(workload.connections, (self._settings.files - _SPARE_FILES) // 2)
        if connections < workload.connections:
            why = (
                f"only {connections:,} connections, because the hard limit of open files is "
                f"{self._settings.files:,} (ulimit -Hn)"
            )
            self.results.skipped[workload.name] = why
            self._say(f"! {workload.name}: {why}")
        taking_part = [each for each in contestants if each.runs(workload)]
        for number in range(min(self._settings.rounds, workload.rounds or self._settings.rounds)):
            shift = number % max(1, len(taking_part))
            for contestant in taking_part[shift:] + taking_part[:shift]:
                self._keep(self._one(workload, contestant, number, connections, frame_files))
            if workload.group == "latency":
                self._keep(self._direct(workload, number, connections, frame_files))
            if workload.group in ("feed", "sparse"):
                cost = engines.alone(workload, 1.0 * self._settings.scale)
                self._keep(Sample(workload.name, ENGINE, number, workload.connections, cost.us, cost.ratio))

    def _keep(self, sample: Sample) -> None:
        self.results.samples.append(sample)
        values = {
            "us": sample.cpu_us,
            "ratio": sample.ratio,
            "/s": sample.rate,
            "KiB": sample.memory_kib,
            "p50": sample.p50_us,
            "p99": sample.p99_us,
            "load us": sample.load_us,
        }
        told = "  ".join(f"{value:,.2f} {name}" for name, value in values.items() if value is not None)
        late = f"  {sample.late:,} LATE" if sample.late else ""
        text = f"ERROR {sample.error}" if sample.error else told + late
        self._say(f"{sample.round + 1} {sample.workload:24} {sample.contestant:20} {text}")

    def _one(
        self, workload: Workload, contestant: Contestant, number: int, connections: int, frame_files: list[str]
    ) -> Sample:
        settings = self._settings
        try:
            with tempfile.TemporaryDirectory(dir=settings.folder) as name:
                folder = Path(name)
                with load_program.running(
                    settings.program, workload, connections, frame_files, folder / "record"
                ) as load:
                    port = processes.free_port()
                    stage = Stage(workload, port, load.port, folder, settings.files, settings.cert, settings.key)
                    command = contestant.command(stage)
                    with processes.running(contestant.name, command, port, folder, environment()) as process:
                        run = _Run(workload, connections, load, process.pid, settings.scale)
                        sample = run.measure(contestant.name, number, port)
                    return run.checked(sample, folder / "record", contestant.deflates)
        except (LoadFailed, processes.DidNotStart, frames.WrongDelivery) as error:
            return Sample(workload.name, contestant.name, number, connections, error=str(error))

    def _direct(self, workload: Workload, number: int, connections: int, frame_files: list[str]) -> Sample:
        """The load against itself: what of a latency is not the proxy's."""
        settings = self._settings
        with tempfile.TemporaryDirectory(dir=settings.folder) as name:
            record = Path(name) / "record"
            with load_program.running(settings.program, workload, connections, frame_files, record) as load:
                run = _Run(workload, connections, load, None, settings.scale)
                return run.checked(run.measure(DIRECT, number, load.port), record, False)


class _Run:
    """One contestant with its load, from the first connection to the verdict."""

    def __init__(self, workload: Workload, connections: int, load: Load, pid: int | None, scale: float) -> None:
        self._workload = workload
        self._connections = connections
        self._load = load
        self._pid = pid
        self._scale = scale
        self._extension = ""

    def measure(self, contestant: str, number: int, port: int) -> Sample:
        load, workload = self._load, self._workload
        empty = self._memory()
        load.connect("127.0.0.1", port)
        warm, window = self._times()
        load.start()
        if workload.most:
            self._fill()
        else:
            time.sleep(warm)
        first, cpu = load.snapshot(), self._cpu()
        time.sleep(window)
        last, cpu = load.snapshot(), self._cpu() - cpu
        held = self._memory()
        load.stop()
        load.quit()
        self._extension = last.extension
        if last.late:
            raise LoadFailed(f"it does not keep up: {last.late} messages could not be sent")
        return self._sample(contestant, number, (first, last), cpu, held - empty)

    def _times(self) -> tuple[float, float]:
        """Seconds to warm up and to measure. A window cuts no burst, and has whole intervals of them."""
        workload = self._workload
        window = (workload.quiet_seconds or workload.seconds) * self._scale
        if workload.traffic is not Traffic.TOGETHER:
            return _WARM_SECONDS, window
        interval = workload.interval_us / 1e6
        return _WARM_SECONDS + interval / 2, max(1, round(window / interval)) * interval

    def _sample(
        self, contestant: str, number: int, snapshots: tuple[Snapshot, Snapshot], cpu: float, memory: int
    ) -> Sample:
        first, last = snapshots
        workload = self._workload
        messages, wire = last.messages - first.messages, last.wire_bytes - first.wire_bytes
        handshakes = workload.traffic is Traffic.HANDSHAKES
        count = last.handshakes - first.handshakes if handshakes else messages
        if count == 0 and not workload.most:
            raise LoadFailed("nothing arrived")
        if last.least == 0 and not handshakes:
            raise LoadFailed("a connection got nothing")
        seconds = last.at - first.at
        histogram = difference(last.histogram, first.histogram)
        measured = count > 0 and self._pid is not None
        return Sample(
            workload=workload.name,
            contestant=contestant,
            round=number,
            connections=self._connections,
            cpu_us=cpu / count * 1e6 if measured else None,
            ratio=messages * workload.size / wire if messages else None,
            rate=count / seconds if count else None,
            memory_kib=memory / self._connections / 1024 if self._pid is not None and not handshakes else None,
            p50_us=percentile(histogram, 0.5),
            p99_us=percentile(histogram, 0.99),
            p999_us=percentile(histogram, 0.999),
            load_us=(last.load_cpu - first.load_cpu) / count * 1e6 if count else None,
        )

    def checked(self, sample: Sample, record: Path, deflates: bool) -> Sample:
        """The sample, if what the first and the last client got is what was sent to them.

        :raises frames.WrongDelivery: it is not.
        :raises LoadFailed: there is no agreement though there ought to be one.
        """
        if deflates and not self._extension:
            raise LoadFailed("no permessage-deflate was agreed on with the clients")
        workload = self._workload
        if workload.traffic is Traffic.HANDSHAKES:
            return sample
        count = 0
        for number, index in enumerate(dict.fromkeys((0, self._connections - 1))):
            start = 0 if workload.traffic is Traffic.TOGETHER else index * 7919 % len(workload.corpus)
            data = record.with_name(f"{record.name}.{number}").read_bytes()
            count += frames.verify(data, self._extension, workload.corpus, start, binary=workload.binary)
        if count == 0:
            raise LoadFailed("nothing could be verified")
        return replace(sample, verified=count)

    def _fill(self) -> None:
        """Wait until every client has all its messages."""
        limit = time.monotonic() + _FILL_SECONDS
        while self._load.snapshot().least < self._workload.most:
            if time.monotonic() > limit:
                raise LoadFailed(f"not every client got {self._workload.most} messages")
            time.sleep(0.1)

    def _cpu(self) -> float:
        return 0.0 if self._pid is None else processes.cpu_seconds(self._pid)

    def _memory(self) -> int:
        return 0 if self._pid is None else processes.memory_bytes(self._pid)
