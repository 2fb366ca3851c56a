"""The process' own metrics: those of prometheus-client, whatever the number of open files."""

import os
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from wsproxy.telemetry.process import Process

LISTED = Path("/proc/self/fd")
COUNTED = LISTED.exists() and LISTED.stat().st_size > 0
NOT_COUNTED = "only Linux 6.2 and newer tells how many files are open without a list of them"


def told(collector: ProcessCollector) -> dict[str, float]:
    """The value of each sample."""
    return {sample.name: sample.value for family in collector.collect() for sample in family.samples}


def test_metrics_are_those_of_prometheus_client() -> None:
    theirs, ours = ProcessCollector(registry=None), Process()
    assert {(each.name, each.documentation, each.type) for each in ours.collect()} == {
        (each.name, each.documentation, each.type) for each in theirs.collect()
    }
    expected, found = told(theirs), told(ours)
    assert found.pop("process_cpu_seconds_total") == pytest.approx(expected.pop("process_cpu_seconds_total"), abs=0.1)
    for name in ("process_virtual_memory_bytes", "process_resident_memory_bytes"):
        assert found.pop(name) == pytest.approx(expected.pop(name), rel=0.05)
    # To list them takes one more.
    assert found.pop("process_open_fds") == pytest.approx(expected.pop("process_open_fds"), abs=1)
    assert found == expected


@pytest.mark.skipif(not COUNTED, reason=NOT_COUNTED)
def test_open_files_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Process()
    expected = len(list(LISTED.iterdir())) - 1
    monkeypatch.setattr(os, "listdir", None)
    assert told(collector)["process_open_fds"] == expected


def test_where_they_are_not_counted_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Process()
    monkeypatch.setattr("wsproxy.telemetry.process._OPEN_FILES", Path("/nowhere"))
    assert set(told(collector)) == set(told(ProcessCollector(registry=None)))
