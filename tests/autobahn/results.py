"""What the fuzzers found: verdicts, their sums, and the table in docs/conformance.md. Must never import wsproxy."""

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.autobahn.suite import AGENT, Mode

GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
"""The verdicts with which a case is passed."""
SECTIONS = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}
"""How many cases each section of the TestSuite has."""
BEGIN = "<!-- autobahn: written by tests/autobahn/run.py -->"
END = "<!-- /autobahn -->"
_HEAD = ("fuzzer", "plan", *map(str, SECTIONS))
_NOT_ASKED = "–"

Row = tuple[str, str]
"""Mode and plan."""
Cells = dict[int, str]
"""By section."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case's outcome.

    :ivar verdict: the TestSuite's, or `FAILED` for a connection that did not end as it should, or `MISSING` for a case
        that was asked for and never finished.
    :ivar detail: what the TestSuite says of it, for a case that is not good.
    """

    number: str
    verdict: str
    detail: str

    @property
    def section(self) -> int:
        return int(self.number.split(".")[0])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One plan in front of one of the two fuzzers."""

    mode: Mode
    plan: str
    seconds: float
    cases: tuple[Case, ...]

    @property
    def bad(self) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.verdict not in GOOD)

    def counts(self, section: int | None = None) -> Counter[str]:
        """How often there was which verdict, in one section or in all."""
        return Counter(case.verdict for case in self.cases if section in (None, case.section))


def read(folder: Path) -> tuple[Case, ...]:
    """The cases that the fuzzer with its reports in ``folder`` was asked for, in order."""
    said = next(line for line in (folder / "wstest.log").read_text().splitlines() if line.startswith("Cases = "))
    asked: list[str] = ast.literal_eval(said.removeprefix("Cases = "))
    index: Mapping[str, Mapping[str, str]] = json.loads((folder / "index.json").read_text()).get(AGENT, {})
    return tuple(_case(folder, number, index.get(number)) for number in asked)


def _case(folder: Path, number: str, found: Mapping[str, str] | None) -> Case:
    if found is None:
        return Case(number, "MISSING", "the fuzzer never came to its end")
    ended_well = found["behaviorClose"] in ("OK", "INFORMATIONAL")
    verdict = found["behavior"] if ended_well or found["behavior"] not in GOOD else "FAILED"
    if verdict in GOOD:
        return Case(number, verdict, "")
    report = json.loads((folder / found["reportfile"]).read_text())
    told = f"{report['result']} {report['resultClose']} (close code {found['remoteCloseCode']})"
    return Case(number, verdict, f"{told}; {folder / found['reportfile']}")


def cells(outcome: Outcome, excluded: Iterable[str]) -> Cells:
    """The sections that ``outcome`` answers for whole; ``excluded``: patterns of what its plan cannot be asked.

    A section that was asked for in part is no result.
    """
    made: Cells = {}
    for section, size in SECTIONS.items():
        counts = outcome.counts(section)
        left_out = sum(number.split(".")[0] == str(section) for number in excluded)
        if f"{section}.*" in excluded:
            made[section] = _NOT_ASKED
        elif counts.total() + left_out == size:
            made[section] = _cell(counts)
    return made


def _cell(counts: Counter[str]) -> str:
    order = [*GOOD, *sorted(set(counts) - set(GOOD))]
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]) or _NOT_ASKED


def rewrite(page: str, found: Mapping[Row, Cells]) -> str:
    """``page`` with ``found`` in its table: what was run now replaces what stood there, all else stays.

    :raises ValueError: the page lacks the two marks.
    """
    before, mark, rest = page.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"no {BEGIN} … {END} in the page")
    rows = _rows(block)
    for row, new in found.items():
        rows[row] = rows.get(row, {}) | new
    return f"{before}{BEGIN}\n{_table(rows)}\n{END}{after}"


def _rows(block: str) -> dict[Row, Cells]:
    rows: dict[Row, Cells] = {}
    lines = [line for line in block.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        mode, plan, *found = (cell.strip() for cell in line.strip("|").split("|"))
        rows[mode, plan] = {section: cell for section, cell in zip(SECTIONS, found, strict=True) if cell}
    return rows


def _table(rows: Mapping[Row, Cells]) -> str:
    lines = [_HEAD, ("---",) * len(_HEAD)]
    lines += [(*row, *(found.get(section, "") for section in SECTIONS)) for row, found in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
