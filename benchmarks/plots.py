"""Plots of a run as SVG, with the standard library alone.

Owns: how they look. Pure: results in, text out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.results import Spread

_WIDTH, _NAMES, _VALUES = 760, 180, 110
_HEAD, _ROW, _TITLE, _GAP = 50, 22, 34, 12
_OWN, _OTHER = "#2a78b8", "#9aa5ad"


@dataclass(frozen=True, slots=True)
class Panel:
    """One workload: a bar for each contestant, from zero, on a scale of its own."""

    title: str
    rows: Sequence[tuple[str, Spread]]


def svg(title: str, unit: str, panels: Sequence[Panel]) -> str:
    """A picture of bars: the length is the median, the thin line the spread. Less is better in all of them."""
    height = _HEAD + sum(_TITLE + len(panel.rows) * _ROW + _GAP for panel in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="15" fill="#1d2429">{escape(title)}</text>',
        f'<text x="12" y="42" fill="#5b666e">{escape(unit)}; less is better</text>',
    ]
    top = _HEAD
    for panel in panels:
        parts += _panel(panel, top)
        top += _TITLE + len(panel.rows) * _ROW + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, top: int) -> list[str]:
    longest = max((spread.most for _, spread in panel.rows), default=0.0) or 1.0
    scale = (_WIDTH - _NAMES - _VALUES) / longest
    parts = [f'<text x="12" y="{top + 24}" font-weight="600" fill="#1d2429">{escape(panel.title)}</text>']
    for number, (name, spread) in enumerate(panel.rows):
        y = top + _TITLE + number * _ROW
        middle = y + (_ROW - 6) / 2
        color = _OWN if name.startswith("wsproxy") else _OTHER
        left, right = _NAMES + spread.least * scale, _NAMES + spread.most * scale
        parts += [
            f'<text x="{_NAMES - 8}" y="{y + 13}" text-anchor="end" fill="#1d2429">{escape(name)}</text>',
            f'<rect x="{_NAMES}" y="{y}" width="{spread.median * scale:.1f}" height="{_ROW - 6}" fill="{color}"/>',
            f'<path d="M{left:.1f} {middle}H{right:.1f}" stroke="#1d2429" stroke-width="1"/>',
            f'<text x="{right + 6:.1f}" y="{y + 13}" fill="#1d2429">{spread.median:,.3g}</text>',
        ]
    return parts
