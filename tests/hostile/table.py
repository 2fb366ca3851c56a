"""Measures every hostile input and writes the table in `docs/conformance.md`: ``python -m tests.hostile.table``.

Owns: what stands between the two marks of that page, and nothing else of it. Must never import wsproxy.
"""

import argparse
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.inputs import GROUPS, MIB, Cost, Input, measure

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- hostile:begin -->", "<!-- hostile:end -->"
_WORDS = """\
## Hostile inputs

Each is sent to a proxy of its own, with the settings in `tests/hostile/inputs.py`; permessage-deflate is on
towards the client. What each side was told is an HTTP status before the 101 and a close code after it; of an upstream
that was asked over HTTP, the method that arrived. Memory is what the process's peak resident set (VmHWM) rose by, CPU
is its user and system time, both from before the input to the end of its connections.

`tests/hostile/test_inputs.py::test_hostile_input[<the row's name>]` proves each row: both answers, and a bound on the
memory. The requests and answers that two parsers could read in two ways are in `tests/hostile/test_smuggling.py` and
`tests/hostile/test_answers.py`, slow ends in `tests/hostile/test_deadlines.py`.
"""


def block(rows: Iterator[tuple[str, Input, Cost]]) -> str:
    """The part of the page, marks included."""
    lines = [BEGIN, _WORDS]
    group = ""
    for name, one, cost in rows:
        if name != group:
            group = name
            lines += [f"\n### {name}\n", "| input | bytes sent | client told | upstream told | MiB | CPU s |"]
            lines.append("| --- | ---: | --- | --- | ---: | ---: |")
        lines.append(
            f"| {one.name.replace('|', '&#124;')} | {cost.sent:,} | {cost.client} | {cost.upstream} "
            f"| {cost.risen / MIB:.1f} | {cost.cpu_seconds:.2f} |"
        )
    lines += [
        "",
        f"Made by `python -m tests.hostile.table` on CPython {platform.python_version()}, {platform.machine()}.",
        END,
    ]
    return "\n".join(lines)


def put(page: str, part: str) -> str:
    """``page`` with ``part`` in place of what stands between the marks, or at its end."""
    before, mark, rest = page.partition(BEGIN)
    if not mark:
        return f"{page.rstrip()}\n\n{part}\n"
    after = rest.partition(END)[2]
    return f"{before}{part}{after}"


def _measured() -> Iterator[tuple[str, Input, Cost]]:
    for group, inputs in GROUPS.items():
        for one in inputs:
            cost = measure(one)
            if (cost.client, cost.upstream) != (one.client, one.upstream):
                print(f"WRONG {one.name}: {cost}, not {one.client} and {one.upstream}", file=sys.stderr)
                sys.exit(1)
            print(f"{one.name}: {cost.risen / MIB:.1f} MiB, {cost.cpu_seconds:.2f} s", file=sys.stderr)
            yield group, one, cost


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the hostile inputs and write their table.")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write (default: %(default)s)")
    page: Path = parser.parse_args().page
    part = block(_measured())
    page.write_text(put(page.read_text() if page.exists() else "# Conformance\n", part))


if __name__ == "__main__":
    main()
