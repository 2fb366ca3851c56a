"""Snapshots: what is sent is what arrives, and sums are those of workers that live, and that lived."""

import pickle
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.telemetry import metrics
from wsproxy.telemetry.metrics import CATALOGUE, Kind, Metric
from wsproxy.telemetry.snapshot import Snapshot, merge, with_ratios

COUNTED = [metric for metric in CATALOGUE if metric.kind is not Kind.HISTOGRAM]
OBSERVED = [metric for metric in CATALOGUE if metric.kind is Kind.HISTOGRAM]
LABEL = st.sampled_from(["", "feed", "ws://a:1/x?y=é", 'quote"\n'])


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    snapshot = Snapshot()
    for metric in draw(st.lists(st.sampled_from(COUNTED), max_size=6)):
        labels = tuple(draw(LABEL) for _ in metric.labels)
        snapshot.add(metric, labels, draw(st.integers(0, 2**60)))
    for metric in draw(st.lists(st.sampled_from(OBSERVED), max_size=2)):
        labels = tuple(draw(LABEL) for _ in metric.labels)
        snapshot.observe(metric, labels, tuple(draw(st.integers(0, 2**60)) for _ in range(len(metric.bounds) + 2)))
    return snapshot


@given(snapshots())
def test_a_snapshot_survives_the_way_to_another_process(snapshot: Snapshot) -> None:
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


@given(snapshots(), snapshots(), snapshots())
def test_order_and_grouping_do_not_matter(one: Snapshot, two: Snapshot, three: Snapshot) -> None:
    together = merge([one, two, three])
    assert merge([three, one, two]) == together
    assert merge([merge([one, two]), three]) == together
    assert merge([merge([]), one]) == one


@given(snapshots(), snapshots())
def test_merging_leaves_its_parts_alone(one: Snapshot, two: Snapshot) -> None:
    before = deepcopy((one, two))
    merge([one, two]).add(metrics.TUNNELS, ("feed", "feed"), 1)
    assert (one, two) == before


def worker(value: float) -> Snapshot:
    """A worker that says ``value`` in every metric."""
    snapshot = Snapshot()
    for metric in COUNTED:
        snapshot.add(metric, tuple("x" for _ in metric.labels), value)
    for metric in OBSERVED:
        snapshot.observe(metric, tuple("x" for _ in metric.labels), (value,) * (len(metric.bounds) + 2))
    return snapshot


SUMS = {Kind.COUNTER: 5, Kind.SUM: 5, Kind.LEAST: 2, Kind.INFO: 2}
ONE_DEAD = {Kind.COUNTER: 5, Kind.SUM: 3, Kind.LEAST: 3, Kind.INFO: 3}


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
def test_what_becomes_of_two_and_of_one_that_died(metric: Metric) -> None:
    labels = tuple("x" for _ in metric.labels)
    assert merge([worker(2), worker(3)]).number(metric, *labels) == SUMS[metric.kind]
    assert merge([worker(2).final(), worker(3)]).number(metric, *labels) == ONE_DEAD[metric.kind]


def test_histograms_of_the_dead_stay() -> None:
    together = merge([worker(2).final(), worker(3)])
    for metric in OBSERVED:
        assert together.histograms[metric.name] == {tuple("x" for _ in metric.labels): (5,) * (len(metric.bounds) + 2)}


def codec(taken: int, given: int, operation: str) -> Snapshot:
    snapshot = Snapshot()
    snapshot.add(metrics.CODEC_INPUT_BYTES, ("feed", "client", operation), taken)
    snapshot.add(metrics.CODEC_OUTPUT_BYTES, ("feed", "client", operation), given)
    return snapshot


def test_a_ratio_is_that_of_all_bytes_not_the_mean_of_ratios() -> None:
    together = with_ratios(merge([codec(1000, 100, "compress"), codec(1000, 900, "compress")]))
    assert together.series(metrics.COMPRESSION_RATIO) == {("feed", "client", "sent"): 2.0}
    together = with_ratios(merge([codec(100, 1000, "decompress"), codec(0, 0, "compress")]))
    assert together.series(metrics.COMPRESSION_RATIO) == {("feed", "client", "received"): 10.0}


def test_the_tunnels_of_a_dead_worker_have_ended() -> None:
    last = Snapshot()
    last.add(metrics.TUNNELS, ("feed", "backend"), 10)
    last.add(metrics.TUNNELS_ACTIVE, ("feed", "backend"), 4)
    last.add(metrics.TUNNELS_ACTIVE, ("chat", "backend"), 0)
    last.add(metrics.CLOSES, ("feed", "client", "1000"), 5)
    last.add(metrics.CLOSES, ("feed", "proxy", "1006"), 1)
    before = deepcopy(last)
    assert last.final().series(metrics.CLOSES) == {("feed", "client", "1000"): 5, ("feed", "proxy", "1006"): 5}
    assert last.final().series(metrics.TUNNELS_ACTIVE) == {}
    assert last == before
