"""What runs gave: samples, medians, spread and ratios, and the JSON file that keeps them.

Owns: the arithmetic. No I/O but that file.
Invariant: a ratio compares two samples of the same round, so that a slow minute of the machine is in both.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.load_program import bucket_us


@dataclass(frozen=True, slots=True)
class Sample:
    """One contestant in one round of one workload. None: not measured, or has no meaning there.

    :ivar cpu_us: microseconds of the proxy's CPU for each message delivered, or for each whole handshake.
    :ivar ratio: payload bytes over bytes of frames that reached clients.
    :ivar rate: messages, or handshakes, a second.
    :ivar memory_kib: what each connection added to the proxy's resident memory.
    :ivar p50_us: from the write to the last byte read; so ``p99_us`` and ``p999_us``. Of an echo: there and back.
    :ivar load_us: microseconds of the load's own CPU for each message.
    :ivar verified: messages that were compared byte by byte.
    :ivar error: why there is no result.
    """

    workload: str
    contestant: str
    round: int
    connections: int = 0
    cpu_us: float | None = None
    ratio: float | None = None
    rate: float | None = None
    memory_kib: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    load_us: float | None = None
    late: int = 0
    verified: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the least and the most that there was."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None if there are no values."""
        found = sorted(values)
        return cls(median(found), found[0], found[-1]) if found else None


@dataclass(slots=True)
class Results:
    """All samples of a run.

    :ivar machine: what it ran on: processor, versions, date.
    :ivar skipped: contestants and workloads that were not measured as they ought to be, each with the reason.
    """

    machine: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def contestants(self, workload: str) -> list[str]:
        """Those that took part, in the order in which they did first."""
        return list(dict.fromkeys(each.contestant for each in self.samples if each.workload == workload))

    def by_round(self, workload: str, contestant: str, metric: str) -> Mapping[int, float]:
        """The values of a metric, by round."""
        return {
            each.round: getattr(each, metric)
            for each in self.samples
            if each.workload == workload and each.contestant == contestant and getattr(each, metric) is not None
        }

    def spread(self, workload: str, contestant: str, metric: str) -> Spread | None:
        return Spread.of(self.by_round(workload, contestant, metric).values())

    def compare(self, workload: str, metric: str, contestant: str, against: Iterable[str]) -> Spread | None:
        """The contestant's value over the sum of the others', round by round; over 1 if there are no others."""
        own = self.by_round(workload, contestant, metric)
        others = [self.by_round(workload, name, metric) for name in against]
        ratios = []
        for number, value in own.items():
            if all(number in each for each in others):
                below = sum(each[number] for each in others) if others else 1.0
                if below > 0:
                    ratios.append(value / below)
        return Spread.of(ratios)

    def errors(self) -> list[Sample]:
        return [each for each in self.samples if each.error]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"machine": self.machine, "skipped": self.skipped, "samples": [asdict(each) for each in self.samples]}
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        data = json.loads(path.read_text())
        return cls(data["machine"], [Sample(**each) for each in data["samples"]], data.get("skipped", {}))


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The latency in microseconds that ``share`` of all messages did not exceed, to 1.6 %; None without messages."""
    total = sum(histogram.values())
    if total == 0:
        return None
    rank, seen = share * total, 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= rank:
            return bucket_us(bucket)
    raise AssertionError("the buckets sum to less than their total")


def difference(later: Mapping[int, int], earlier: Mapping[int, int]) -> dict[int, int]:
    """What was added to a histogram between two snapshots."""
    return {bucket: count - earlier.get(bucket, 0) for bucket, count in later.items() if count > earlier.get(bucket, 0)}
