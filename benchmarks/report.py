"""A run as Markdown: the bars, then a table and a plot for each group of workloads.

Owns: the words around the numbers. Numbers come from results.
"""

from pathlib import Path

from benchmarks import page, plots
from benchmarks.bars import BARS
from benchmarks.results import Results, Spread
from benchmarks.workloads import WORKLOADS, Workload

_OWN = "wsproxy"
_TITLES = {
    "feed": "Feed: the upstream pushes JSON as fast as it is taken, 16 connections",
    "noise": "Noise: a feed of bytes that do not compress",
    "passthrough": "Passthrough: both legs compressed",
    "tls": "TLS to the clients",
    "sparse": "Sparse: many connections, few messages each, 1 KiB",
    "broadcast": "Broadcast: the same message to all connections at once",
    "fairness": "Fairness: a thousand quiet tunnels, a message a second each, with and without one that floods",
    "latency": "Latency, 50 connections, 1 KiB: light is 500 messages a second, half 5,000",
    "echo": "Echo: one message in flight on each connection, both directions",
    "handshakes": "Handshakes: connect, 101, close, end; 32 at a time",
    "idle": "Idle tunnels, after three messages and a quiet time",
}
_METRICS = {
    "idle": ("memory_kib", "KiB for each tunnel"),
    "fairness": ("p99_us", "p99 of the quiet ones in microseconds"),
    "latency": ("p99_us", "p99 in microseconds"),
    "handshakes": ("cpu_us", "microseconds of CPU for each handshake"),
}
_DEFAULT_METRIC = ("cpu_us", "microseconds of CPU for each message")

_INTRODUCTION = """
wsproxy beside other proxies, in one run on one machine, in turn: `make bench` makes this part. Microseconds are CPU
time of the proxy's processes (user and system, as the operating system accounts it) for each message delivered, inside
the measuring window only. Another machine has other microseconds; the columns to read are the ratios. "wsproxy over it"
below 1 means that wsproxy does the same with less. Figures are medians over the rounds, with the least and the most.
A ratio compares runs of the same round.

The other proxies do the same job, as their documentation advises, with the sources in `benchmarks/peers`. Tunnels of
bytes do not compress: they are the floor for what moving the messages costs. "engine alone" is the compressor that
wsproxy uses by default, on the same messages, with as many contexts taking turns, without a proxy around it. The load
is a C program that sends frames built before. Every run is checked: the first and the last client's messages byte by
byte, all others by their number.
"""


def render(results: Results) -> str:
    """The whole page."""
    machine = "\n".join(f"| {name} | {value} |" for name, value in results.machine.items())
    parts = [_INTRODUCTION, f"| | |\n|---|---|\n{machine}\n", _bars(results)]
    for group, title in _TITLES.items():
        workloads = _measured(results, group)
        if not workloads:
            continue
        parts.append(f"## {title}\n\n![{title}](performance/{group}.svg)\n")
        parts += [_table(results, workload) for workload in workloads]
    lines = [f"* {name}: {why}" for name, why in results.skipped.items()]
    lines += [
        f"* {each.workload}, {each.contestant}, round {each.round + 1}: {each.error}" for each in results.errors()
    ]
    if lines:
        parts.append("## Without a result\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def write(results: Results, text: str, path: Path) -> None:
    """The page, and its plots in ``performance/`` beside it."""
    page.put_section(path, "bench", text)
    folder = path.parent / "performance"
    folder.mkdir(exist_ok=True)
    for group, title in _TITLES.items():
        metric, unit = _METRICS.get(group, _DEFAULT_METRIC)
        panels = [
            plots.Panel(
                workload.name,
                [
                    (name, spread)
                    for name in results.contestants(workload.name)
                    if (spread := results.spread(workload.name, name, metric))
                ],
            )
            for workload in _measured(results, group)
        ]
        if panels:
            (folder / f"{group}.svg").write_text(plots.svg(title, unit, panels))


def _measured(results: Results, group: str) -> list[Workload]:
    return [each for each in WORKLOADS if each.group == group and results.contestants(each.name)]


def _bars(results: Results) -> str:
    lines = ["## What it is to reach\n", "| | at most | measured | |", "|---|--:|--:|---|"]
    for bar in BARS:
        value = bar.value(results)
        verdict = "not measured" if value is None else "yes" if value.median <= bar.limit else "**no**"
        lines.append(f"| {bar.text} | {bar.limit:g} | {_ratio(value)} | {verdict} |")
    return "\n".join(lines) + "\n"


def _table(results: Results, workload: Workload) -> str:
    metric = _METRICS.get(workload.group, _DEFAULT_METRIC)[0]
    head = ["CPU us", "ratio", "p50 us", "p99 us", "p99.9 us", "a second", "KiB each", "load us", "wsproxy over it"]
    lines = [f"### {workload.name}\n", "| | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    for name in results.contestants(workload.name):
        cells = [
            _cell(results.spread(workload.name, name, "cpu_us"), spread=True),
            _cell(results.spread(workload.name, name, "ratio"), digits=2),
            *(_cell(results.spread(workload.name, name, each)) for each in ("p50_us", "p99_us", "p999_us")),
            _cell(results.spread(workload.name, name, "rate")),
            _cell(results.spread(workload.name, name, "memory_kib")),
            _cell(results.spread(workload.name, name, "load_us"), digits=2),
            _ratio(results.compare(workload.name, metric, _OWN, (name,)) if name != _OWN else None),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Spread | None, *, digits: int | None = None, spread: bool = False) -> str:
    if value is None:
        return ""
    text = _number(value.median, digits)
    if spread and value.least != value.most:
        text += f" ({_number(value.least, digits)} to {_number(value.most, digits)})"
    return text


def _number(value: float, digits: int | None) -> str:
    if digits is None:
        digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def _ratio(value: Spread | None) -> str:
    return _cell(value, digits=2, spread=True)
