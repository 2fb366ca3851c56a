"""The table in the documentation is of the inputs that are tested, and tells the answers that are proved."""

from tests.hostile.inputs import GROUPS, Cost
from tests.hostile.table import BEGIN, END, PAGE, block, put


def test_the_page_has_a_row_for_each_input() -> None:
    part = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ") and " | " in line]
    told = {cells[0].removeprefix("| "): (cells[2], cells[3]) for cells in rows if len(cells) == 6}
    wanted = {one.name: (one.client, one.upstream) for inputs in GROUPS.values() for one in inputs}
    assert {name: told.get(name) for name in wanted} == wanted


def test_names_are_different() -> None:
    names = [one.name for inputs in GROUPS.values() for one in inputs]
    assert len(names) == len(set(names))


def test_only_what_is_between_the_marks_is_written() -> None:
    one = GROUPS["HTTP"][0]
    part = block(iter([("HTTP", one, Cost(1_000, "431", "nothing", 2 * 1024 * 1024, 0.25))]))
    assert f"| {one.name} | 1,000 | 431 | nothing | 2.0 | 0.25 |" in part
    page = put("# Page\n\nwords\n", part)
    assert put(page + "more\n", part.replace("2.0", "3.0")) == page.replace("2.0", "3.0") + "more\n"
