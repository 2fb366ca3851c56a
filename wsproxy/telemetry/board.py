"""What the built-in page is made of: its files, and the numbers that it polls.

Owns: which metrics the page is told, and the headers that keep it to itself. The files are in `dashboard/`; uPlot there
is MIT-licensed, its licence beside it. Must never import prometheus_client, trio or sockets.
Invariants: the page asks nobody but this listener for anything; its numbers are those of /metrics.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from wsproxy.telemetry import metrics
from wsproxy.telemetry.hints import hints
from wsproxy.telemetry.snapshot import Snapshot

_TOLD = (
    metrics.BUILD_INFO,
    metrics.WORKER_CPU,
    metrics.TUNNELS_ACTIVE,
    metrics.TUNNELS,
    metrics.HANDSHAKES,
    metrics.AGREEMENTS,
    metrics.PLANS,
    metrics.MESSAGES,
    metrics.PAYLOAD_BYTES,
    metrics.WIRE_BYTES,
    metrics.CODEC_MESSAGES,
    metrics.CODEC_INPUT_BYTES,
    metrics.CODEC_OUTPUT_BYTES,
    metrics.CODEC_CPU,
    metrics.CODEC_MEMORY,
    metrics.CLOSES,
)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Nothing but this listener, nothing inline, and in nobody's frame."""
_HTML, _CSS, _JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_FILES: Mapping[bytes, tuple[str, str]] = {
    b"/": ("index.html", _HTML),
    b"/page.css": ("page.css", _CSS),
    b"/page.js": ("page.js", _JS),
    b"/charts.js": ("charts.js", _JS),
    b"/figures.js": ("figures.js", _JS),
    b"/icon.svg": ("icon.svg", "image/svg+xml"),
    b"/uPlot.css": ("uPlot.min.css", _CSS),
    b"/uPlot.js": ("uPlot.iife.min.js", _JS),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page, and its media type."""

    content: bytes
    content_type: str


def file(path: bytes) -> File | None:
    """The page's file that is served there; None if there is none."""
    return _load(*_FILES[path]) if path in _FILES else None


@cache
def _load(name: str, content_type: str) -> File:
    return File((resources.files(__package__) / "dashboard" / name).read_bytes(), content_type)


def numbers(snapshot: Snapshot, now: float) -> str:
    """The snapshot as the page reads it: JSON, without the series that are zero.

    :param now: seconds, from any beginning: the page makes rates of differences.
    """
    series = {
        metric.name: {
            "labels": metric.labels,
            "rows": [[*labels, value] for labels, value in snapshot.series(metric).items() if value],
        }
        for metric in _TOLD
    }
    found = [{"route": hint.route, "text": hint.text} for hint in hints(snapshot)]
    return json.dumps({"now": now, "series": series, "hints": found}, separators=(",", ":"))
