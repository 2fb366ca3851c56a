"""A representative part of the Autobahn TestSuite in every plan, with either fuzzer; and that faults would be found."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tests.autobahn import suite
from tests.autobahn.plans import PLANS, Plan
from tests.autobahn.run import NO_INTERPRETER, judge
from tests.autobahn.suite import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
CASES = (
    *("1.*", "2.*", "3.*", "4.*", "5.3", "5.5", "5.15", "5.18"),
    *("6.1.*", "6.2.*", "6.3.*", "6.4.1", "6.12.*", "6.22.*"),
    *("7.*", "9.1.3", "9.4.9", "12.1.2", "13.3.1"),
)
BY_NAME = {plan.name: plan for plan in PLANS}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    interpreter = suite.find_interpreter()
    if interpreter is None:
        pytest.skip(NO_INTERPRETER)
    suite.install(interpreter)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
@pytest.mark.parametrize("mode", MODES)
def test_every_case_is_passed(mode: Mode, plan: Plan, tmp_path: Path) -> None:
    outcome = judge(mode, plan, CASES, tmp_path / "reports")
    assert outcome.bad == ()
    assert outcome.counts().total() > 80


@pytest.mark.parametrize("mode", MODES)
def test_text_that_is_not_checked_comes_back_to_the_fuzzer(mode: Mode, tmp_path: Path) -> None:
    """Bad UTF-8 through a proxy that does not look at it: the ends behind it hide nothing."""
    outcome = judge(mode, replace(BY_NAME["blind"], unfit=()), ("6.2.1", "6.3.1", "6.12.*"), tmp_path / "reports")
    assert {case.number for case in outcome.bad} == {"6.3.1", *(f"6.12.{number}" for number in range(1, 9))}


@pytest.mark.parametrize("mode", MODES)
def test_another_plan_than_the_one_meant_is_an_error(mode: Mode, tmp_path: Path) -> None:
    meant = replace(BY_NAME["recode"], settings=BY_NAME["pass"].settings)
    with pytest.raises(RuntimeError, match="plan recode: 0 of"):
        judge(mode, meant, ("1.1.1",), tmp_path / "reports")
