"""Medians, spread, ratios of the same round, percentiles, and the bars over them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.bars import BARS
from benchmarks.contestants import CONTESTANTS
from benchmarks.load_program import bucket_us
from benchmarks.results import Results, Sample, Spread, difference, percentile
from benchmarks.workloads import WORKLOADS

FEED = "feed 1 KiB"


def results() -> Results:
    """Three rounds, of which the second was slow for everyone."""
    found = Results({"processor": "one"})
    for number, slow in enumerate((1.0, 3.0, 1.0)):
        found.samples += [
            Sample(FEED, "wsproxy", number, 16, cpu_us=10 * slow, ratio=3.5),
            Sample(FEED, "Go gorilla", number, 16, cpu_us=40 * slow, ratio=2.5),
            Sample(FEED, "HAProxy tunnel", number, 16, cpu_us=2 * slow, ratio=1.0),
            Sample(FEED, "engine alone", number, 16, cpu_us=6 * slow, ratio=3.5),
        ]
    found.samples.append(Sample(FEED, "Node ws", 0, error="it fell over"))
    return found


def test_ratios_compare_within_a_round() -> None:
    found = results()
    assert found.spread(FEED, "wsproxy", "cpu_us") == Spread(10, 10, 30)
    assert found.compare(FEED, "cpu_us", "wsproxy", ("Go gorilla",)) == Spread(0.25, 0.25, 0.25)
    assert found.compare(FEED, "cpu_us", "wsproxy", ("HAProxy tunnel", "engine alone")) == Spread(1.25, 1.25, 1.25)
    assert found.compare(FEED, "ratio", "wsproxy", ()) == Spread(3.5, 3.5, 3.5)


def test_what_was_not_measured_has_no_ratio() -> None:
    found = results()
    assert found.compare(FEED, "cpu_us", "wsproxy", ("Node ws",)) is None
    assert found.compare(FEED, "p99_us", "wsproxy", ("Go gorilla",)) is None
    assert found.spread("feed 8 KiB", "wsproxy", "cpu_us") is None


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    found = results()
    found.skipped["mitmproxy"] = "not installed"
    found.write(path)
    assert Results.read(path) == found


def test_percentiles_are_within_a_bucket() -> None:
    # 64 steps a doubling: 100 us are in bucket 6 * 64 + 36, 1000 us in 9 * 64 + 61.
    histogram = {6 * 64 + 36: 90, 9 * 64 + 61: 10}
    assert percentile(histogram, 0.5) == pytest.approx(100, rel=0.016)
    assert percentile(histogram, 0.9) == pytest.approx(100, rel=0.016)
    assert percentile(histogram, 0.91) == pytest.approx(1000, rel=0.016)
    assert percentile({}, 0.5) is None
    assert difference({1: 5, 2: 7, 9: 1}, {1: 5, 2: 4}) == {2: 3, 9: 1}
    assert all(bucket_us(each + 1) > bucket_us(each) for each in range(64 * 29))


def test_every_bar_names_a_workload_and_contestants_that_can_meet_in_it() -> None:
    workloads = {each.name: each for each in WORKLOADS}
    contestants = {each.name: each for each in CONTESTANTS}
    assert len(workloads) == len(WORKLOADS)
    for bar in BARS:
        for name in {bar.contestant, *bar.against} - {"engine alone", "wsproxy, no cache"}:
            assert contestants[name].runs(workloads[bar.workload]), bar.text


def test_the_page_has_verdicts_tables_plots_and_failures(tmp_path: Path) -> None:
    found = results()
    found.skipped["nginx tunnel"] = "not installed (apt-get install nginx-light)"
    text = report.render(found)
    assert "| feed 1 KiB: CPU of wsproxy over Go gorilla | 0.45 | 0.25 | yes |" in text
    assert "| wsproxy | 10.0 (10.0 to 30.0) | 3.50 |" in text
    assert "| feed 1 KiB: CPU of wsproxy over Node ws | 0.15 |  | not measured |" in text
    assert "## Without a result\n\n* nginx tunnel: not installed (apt-get install nginx-light)\n" in text
    assert "* feed 1 KiB, Node ws, round 1: it fell over" in text
    page = tmp_path / "performance.md"
    report.write(found, text, page)
    assert text.strip() in page.read_text()
    pictures = {each.name for each in (tmp_path / "performance").iterdir()}
    assert pictures == {"feed.svg"}
    assert "performance/feed.svg" in text
    picture = ElementTree.parse(tmp_path / "performance" / "feed.svg")
    words = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"wsproxy", "Go gorilla", "HAProxy tunnel", "engine alone", FEED} <= set(words)
