"""What one worker had counted at one time: plain data that can be sent to another process, and added up there.

Owns: the form of a snapshot, and the arithmetic of several. Must never import prometheus_client, trio or logging.
Invariants
* A sum over workers never falls: counters and histograms of a dead worker stay in it (`final`), its gauges do not.
* Adding up is associative, and the order does not matter; a ratio is made afterwards (`with_ratios`).
* Nothing here is shared with the counters: a snapshot does not change any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wsproxy.protocol.ending import ABNORMAL
from wsproxy.telemetry import metrics
from wsproxy.telemetry.metrics import CATALOGUE, Kind, Metric

Labels = tuple[str, ...]
"""The values of a metric's labels, in the catalogue's order."""
Histogram = tuple[float, ...]
"""What each bucket holds by itself, the unbounded one included, and then the sum of what was observed."""

_KINDS = {metric.name: metric.kind for metric in CATALOGUE}
_LASTING = frozenset({Kind.COUNTER, Kind.HISTOGRAM})
_DIRECTIONS = {"compress": "sent", "decompress": "received"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Values by metric and labels. A series that is not there has not been heard of."""

    numbers: dict[str, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[str, dict[Labels, Histogram]] = field(default_factory=dict)

    def add(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add to a number: two parts of a worker may count under the same labels."""
        series = self.numbers.setdefault(metric.name, {})
        series[labels] = series.get(labels, 0) + value

    def observe(self, metric: Metric, labels: Labels, histogram: Histogram) -> None:
        """Add to a histogram."""
        series = self.histograms.setdefault(metric.name, {})
        before = series.get(labels)
        series[labels] = histogram if before is None else _sum(before, histogram)

    def number(self, metric: Metric, *labels: str) -> float:
        """The value of one series, 0 if there is none."""
        return self.numbers.get(metric.name, {}).get(labels, 0)

    def series(self, metric: Metric) -> dict[Labels, float]:
        """All series of a metric that is no histogram."""
        return self.numbers.get(metric.name, {})

    def final(self) -> "Snapshot":
        """What stays of a worker that has ended: what it counted, and nothing of what it was.

        Tunnels that it still had when it last told of itself ended with it, without a close frame and by the proxy: as
        many were opened as ended and are open, whatever happens.
        """
        kept = {name: dict(series) for name, series in self.numbers.items() if _KINDS[name] in _LASTING}
        ended = Snapshot(kept, self.histograms)
        for (route, _), tunnels in self.series(metrics.TUNNELS_ACTIVE).items():
            if tunnels:
                ended.add(metrics.CLOSES, (route, "proxy", str(ABNORMAL)), tunnels)
        return ended


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several workers; give those of dead ones through `Snapshot.final`."""
    merged = Snapshot()
    for snapshot in snapshots:
        for name, series in snapshot.numbers.items():
            kind = _KINDS[name]
            target = merged.numbers.setdefault(name, {})
            for labels, value in series.items():
                before = target.get(labels)
                target[labels] = value if before is None else _joined(kind, before, value)
        for name, observed in snapshot.histograms.items():
            histograms = merged.histograms.setdefault(name, {})
            for labels, histogram in observed.items():
                known = histograms.get(labels)
                histograms[labels] = histogram if known is None else _sum(known, histogram)
    return merged


def with_ratios(snapshot: Snapshot) -> Snapshot:
    """The same with the ratios of what was compressed, which are made last because they do not add up."""
    ratios: dict[Labels, float] = {}
    taken, given = snapshot.series(metrics.CODEC_INPUT_BYTES), snapshot.series(metrics.CODEC_OUTPUT_BYTES)
    for labels, input_bytes in taken.items():
        route, leg, operation = labels
        plain, packed = input_bytes, given.get(labels, 0)
        if operation == "decompress":
            plain, packed = packed, plain
        if packed:
            ratios[route, leg, _DIRECTIONS[operation]] = plain / packed
    return Snapshot({**snapshot.numbers, metrics.COMPRESSION_RATIO.name: ratios}, snapshot.histograms)


def _joined(kind: Kind, one: float, other: float) -> float:
    match kind:
        case Kind.COUNTER | Kind.SUM:
            return one + other
        case Kind.LEAST | Kind.INFO:
            return min(one, other)
        case Kind.HISTOGRAM:
            raise ValueError("a histogram is no number")


def _sum(one: Histogram, other: Histogram) -> Histogram:
    return tuple(a + b for a, b in zip(one, other, strict=True))
