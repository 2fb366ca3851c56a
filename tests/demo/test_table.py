"""The table in a file and on a terminal."""

from io import StringIO

import pytest

from wsproxy.demo.figures import Row
from wsproxy.demo.table import LiveTable, closing_table

ROWS = [
    Row("market to client", 12_345, 6_543_210, 1_800_000, 0.2),
    Row("echo from client", 7, 999, 1_000, 0.0),
]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_head_and_then_plain_lines() -> None:
    out = StringIO()
    table = LiveTable(out)
    table.show(1.04, ROWS, 81.26)
    table.show(2.0, ROWS, None)
    head, *lines = out.getvalue().splitlines()
    assert head.split() == ["time", "flow", "messages", "payload", "on", "wire", "ratio", "codec", "CPU"]
    assert [line.split() for line in lines[:3]] == [
        ["1.0s", "market", "to", "client", "12,345", "6.54", "MB", "1.80", "MB", "3.64", "16.2", "us"],
        ["1.0s", "echo", "from", "client", "7", "999", "B", "1.00", "kB", "1.00", "0.0", "us"],
        ["1.0s", "whole", "proxy", "81.3", "us"],
    ]
    assert lines[5].split() == ["2.0s", "whole", "proxy", "unknown"]
    assert "\x1b" not in out.getvalue()
    assert {len(line) for line in (head, *lines)} == {len(head)}


def test_a_terminal_is_redrawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    table = LiveTable(out)
    table.show(1.0, ROWS, 80.0)
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("\n") == 4
    table.show(2.0, ROWS[:1], 80.0)
    assert out.getvalue().count("\r\x1b[4A\x1b[J") == 1
    table.show(3.0, ROWS, 80.0)
    assert out.getvalue().count("\r\x1b[3A\x1b[J") == 1
    assert all(len(line) <= 40 for line in out.getvalue().replace("\r\x1b[4A\x1b[J", "").split("\n")[:4])


def test_the_summary_says_what_a_terabyte_saves_and_costs() -> None:
    head, *lines = closing_table([Row("chat to client", 1000, 500_000, 125_000, 0.018), ROWS[1]])
    assert [line.split()[-4:] for line in lines] == [["750", "GB", "10.0", "h"], ["-1", "GB", "0.0", "h"]]
    assert {len(line) for line in lines} == {len(head)}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_994, "999.99 kB"), (2.5e9, "2.50 GB"), (3e12, "3.00 TB")],
)
def test_bytes_are_in_decimal_units(count: float, text: str) -> None:
    assert f" {text} " in closing_table([Row("echo to client", 1, int(count), 1, 0.0)])[1]
