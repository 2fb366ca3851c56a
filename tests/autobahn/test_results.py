"""Verdicts, their sums, and the table in the page: without running anything."""

import json
from pathlib import Path

import pytest

from tests.autobahn.plans import PLANS
from tests.autobahn.results import BEGIN, END, SECTIONS, Case, Outcome, cells, read, rewrite

PAGE = f"before\n{BEGIN}\n{END}\nafter\n"


def outcome(*cases: tuple[str, str]) -> Outcome:
    return Outcome("fuzzingclient", "plain", 1.0, tuple(Case(number, verdict, "") for number, verdict in cases))


@pytest.mark.parametrize(
    ("behavior", "close", "verdict"),
    [
        ("OK", "OK", "OK"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("INFORMATIONAL", "INFORMATIONAL", "INFORMATIONAL"),
        ("OK", "WRONG CODE", "FAILED"),
        ("INFORMATIONAL", "UNCLEAN", "FAILED"),
        ("FAILED", "OK", "FAILED"),
        ("UNIMPLEMENTED", "OK", "UNIMPLEMENTED"),
        ("UNIMPLEMENTED", "UNCLEAN", "UNIMPLEMENTED"),
    ],
)
def test_verdicts(tmp_path: Path, behavior: str, close: str, verdict: str) -> None:
    case = {"behavior": behavior, "behaviorClose": close, "remoteCloseCode": 1000, "reportfile": "case.json"}
    (tmp_path / "wstest.log").write_text("Loading\nCases = ['1.1.1', '1.1.2']\nServers = []\n")
    (tmp_path / "index.json").write_text(json.dumps({"wsproxy": {"1.1.1": case}}))
    (tmp_path / "case.json").write_text(json.dumps({"result": "Said this.", "resultClose": "And that."}))
    first, second = read(tmp_path)
    assert (first.number, first.verdict) == ("1.1.1", verdict)
    assert ("Said this. And that. (close code 1000)" in first.detail) is (verdict in ("FAILED", "UNIMPLEMENTED"))
    assert (second.number, second.verdict) == ("1.1.2", "MISSING")


def test_a_fuzzer_that_finished_nothing(tmp_path: Path) -> None:
    (tmp_path / "wstest.log").write_text("Cases = ['1.1.1']\n")
    (tmp_path / "index.json").write_text("{}")
    assert [case.verdict for case in read(tmp_path)] == ["MISSING"]


def test_bad_cases_and_counts() -> None:
    found = outcome(("1.1.1", "OK"), ("1.1.2", "NON-STRICT"), ("2.1", "FAILED"), ("12.1.1", "MISSING"))
    assert [case.number for case in found.bad] == ["2.1", "12.1.1"]
    assert found.counts() == {"OK": 1, "NON-STRICT": 1, "FAILED": 1, "MISSING": 1}
    assert found.counts(1) == {"OK": 1, "NON-STRICT": 1}


def test_only_whole_sections_are_results() -> None:
    twos = [(f"2.{number}", "OK") for number in range(1, 11)]
    threes = [(f"3.{number}", "NON-STRICT" if number < 3 else "OK") for number in (1, 2, 3, 5, 6, 7)]
    found = outcome(*twos, *threes, ("10.1.1", "FAILED"))
    assert cells(found, ("3.4", "12.*")) == {3: "4 OK, 2 NON-STRICT", 10: "1 FAILED", 12: "–"}
    assert cells(outcome(*twos, ("2.11", "MISSING")), ()) == {2: "10 OK, 1 MISSING"}


def test_a_new_run_replaces_what_it_ran_and_nothing_else() -> None:
    first = rewrite(PAGE, {("fuzzingclient", "plain"): {1: "16 OK", 13: "–"}, ("fuzzingserver", "plain"): {2: "11 OK"}})
    assert first.startswith("before\n") and first.endswith("\nafter\n")
    assert "| fuzzingclient | plain | 16 OK |  |" in first
    again = rewrite(first, {("fuzzingclient", "plain"): {1: "15 OK, 1 FAILED"}})
    assert again == first.replace("16 OK", "15 OK, 1 FAILED")
    assert rewrite(again, {}) == again


@pytest.mark.parametrize("page", ["", BEGIN, END])
def test_a_page_without_a_place_for_the_table(page: str) -> None:
    with pytest.raises(ValueError, match="in the page"):
        rewrite(page, {})


def test_the_page_explains_every_plan_and_its_results_are_good() -> None:
    here = Path(__file__)
    page = (here.parents[2] / "docs" / "conformance.md").read_text()
    pins = dict(line.split("==") for line in here.with_name("requirements.txt").read_text().splitlines()[1:])
    assert f"TestSuite {pins['autobahntestsuite']} on" in page
    for plan in PLANS:
        assert f"\n| {plan.name} | {plan.to_client} | {plan.to_upstream} | {plan.meaning} |\n" in page
        for mode in ("fuzzingclient", "fuzzingserver"):
            (row,) = [line for line in page.splitlines() if line.startswith(f"| {mode} | {plan.name} |")]
            assert len(row.split("|")) == len(SECTIONS) + 4
            assert not {"FAILED", "MISSING", "UNIMPLEMENTED"} & set(row.replace(",", " ").split())
