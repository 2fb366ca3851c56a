"""How the demo's figures look on a terminal and in a file.

Owns: the columns, and the redrawing. Must never import trio; knows nothing of where the rows come from.
Invariant: what is not a terminal gets plain lines without a control character.
"""

import shutil
from collections.abc import Sequence
from typing import TextIO

from wsproxy.demo.figures import Row

_COLUMNS = f"{'flow':<17}{'messages':>10}{'payload':>11}{'on wire':>11}{'ratio':>7}{'codec CPU':>12}"
_LIVE = f"{'time':>6}  {_COLUMNS}"
_CLOSING = f"{_COLUMNS}{'of 1 TB saved':>15}{'codec CPU':>12}"


class LiveTable:
    """The table that goes on while the demo runs: redrawn in place on a terminal, line after line elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._redraws = out.isatty()
        self._height = 0
        if not self._redraws:
            self._write([_LIVE])

    def show(self, seconds: float, rows: Sequence[Row], process_microseconds: float | None) -> None:
        """Bring the table up to date.

        :param seconds: since the clients started.
        :param process_microseconds: CPU of the whole proxy for each message; None if it cannot be told.
        """
        when = f"{seconds:5.1f}s  "
        lines = [when + _figures(row) for row in rows]
        lines.append(f"{when}{'whole proxy':<56}{_microseconds(process_microseconds):>12}")
        if self._redraws:
            # A line that wraps would be two to move up over.
            width = shutil.get_terminal_size().columns
            lines = [line[:width] for line in (_LIVE, *lines)]
            if self._height:
                # Back to the first column too: the terminal may have echoed ^C.
                self._out.write(f"\r\x1b[{self._height}A\x1b[J")
            self._height = len(lines)
        self._write(lines)

    def _write(self, lines: Sequence[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


def closing_table(rows: Sequence[Row]) -> list[str]:
    """The lines of the summary's table."""
    return [_CLOSING, *(_figures(row) + _for_a_terabyte(row) for row in rows)]


def _figures(row: Row) -> str:
    return (
        f"{row.name:<17}{row.messages:>10,}{_bytes(row.payload_bytes):>11}{_bytes(row.wire_bytes):>11}"
        f"{row.ratio:>7.2f}{_microseconds(row.codec_microseconds):>12}"
    )


def _for_a_terabyte(row: Row) -> str:
    return f"{1000 * row.saved:>12.0f} GB{row.codec_hours_per_terabyte:>10.1f} h"


def _bytes(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.2f} {unit}"
    return f"{count / 1000:.2f} TB"


def _microseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} us"
