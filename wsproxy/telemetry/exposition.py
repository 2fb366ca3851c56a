"""A snapshot in Prometheus' formats.

Owns: the text and OpenMetrics forms. Beside `process` the only place that knows prometheus_client;
must never import trio.
Invariants: a scrape changes nothing; the form is made in pieces, so that no tunnel waits for all of it.

The platform collector is prometheus-client's, that of the process almost. With several workers they tell of the
process that answers the scrape; the CPU of each worker is ``wsproxy_worker_cpu_seconds_total``.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, chain
from typing import TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from wsproxy.telemetry.metrics import CATALOGUE, Kind, Metric
from wsproxy.telemetry.process import Process
from wsproxy.telemetry.snapshot import Histogram, Labels, Snapshot, with_ratios

_OPENMETRICS = "application/openmetrics-text"
_END = b"# EOF\n"
_COMMENTS = re.compile(rb"\A(?:# (?:HELP|TYPE|UNIT) [^\n]*\n)+")
LINES_A_PIECE = 200
"""A millisecond and a half: prometheus-client takes six microseconds for a line."""

T = TypeVar("T")
Series = list[tuple[Labels, T]]

_PROCESS = CollectorRegistry()
_PROCESS.register(Process())
PlatformCollector(registry=_PROCESS)


class _Only(Collector):
    """One family as a registry of its own: prometheus-client encodes whole registries only."""

    def __init__(self, family: MetricFamily) -> None:
        self._family = family

    def collect(self) -> Iterator[MetricFamily]:
        yield self._family


def _registry(family: MetricFamily) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Only(family))
    return registry


def content_type(accept: str) -> str:
    """The form that a scrape is answered in: OpenMetrics if the Accept header names it, else the text format."""
    form: str = choose_encoder(_asked_for(accept))[1]
    return form


def render(snapshot: Snapshot, accept: str) -> Iterator[bytes]:
    """One scrape, a few hundred lines at a time: what the pieces make together is the answer."""
    encode, _ = choose_encoder(_asked_for(accept))
    end = b""
    for registry, is_first in chain(_parts(snapshot), [(_PROCESS, True)]):
        piece: bytes = encode(registry)
        end = _END if piece.endswith(_END) else b""
        piece = piece.removesuffix(_END)
        yield piece if is_first else _COMMENTS.sub(b"", piece)
    yield end


def _parts(snapshot: Snapshot) -> Iterator[tuple[CollectorRegistry, bool]]:
    """Each metric, those of many routes in several parts; and whether a part is its metric's first."""
    told = with_ratios(snapshot)
    for metric in CATALOGUE:
        if metric.kind is Kind.HISTOGRAM:
            # One line for each bucket, that without a bound, the sum and the count.
            for part, is_first in _batches(
                told.histograms.get(metric.name, {}), LINES_A_PIECE // (len(metric.bounds) + 3)
            ):
                yield _registry(_histogram(metric, part)), is_first
        else:
            for numbers, is_first in _batches(told.series(metric), LINES_A_PIECE):
                yield _registry(_numbers(metric, numbers)), is_first


def _numbers(metric: Metric, series: Series[float]) -> MetricFamily:
    form = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = form(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    for labels, value in series:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, series: Series[Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    bounds = [*map(str, metric.bounds), "+Inf"]
    for labels, histogram in series:
        *counts, total = histogram
        family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
    return family


def _batches(series: dict[Labels, T], size: int) -> Iterator[tuple[Series[T], bool]]:
    """So many at a time, and whether they are the first; a metric without a series is one of none."""
    listed = list(series.items())
    for start in range(0, max(1, len(listed)), size):
        yield listed[start : start + size], start == 0


def _asked_for(accept: str) -> str:
    """The header itself never reaches prometheus-client, which raises on versions that are not numbers."""
    asked = {media_range.partition(";")[0].strip().lower() for media_range in accept.split(",")}
    return _OPENMETRICS if _OPENMETRICS in asked else ""
