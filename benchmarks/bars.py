"""The bars: what wsproxy is to reach, each as a number that a run either stays under or not.

Owns: the table. A bar that a change cannot reach is a finding, not a reason to move it.
"""

from dataclasses import dataclass

from benchmarks.results import Results, Spread

GO, NODE, PYTHON, HAPROXY = "Go gorilla", "Node ws", "Python websockets", "HAProxy tunnel"
ENGINE = "engine alone"


@dataclass(frozen=True, slots=True)
class Bar:
    """``metric`` of ``contestant`` over the sum of ``against`` is at most ``limit``; with nobody there, absolutely."""

    workload: str
    limit: float
    against: tuple[str, ...]
    metric: str = "cpu_us"
    contestant: str = "wsproxy"

    def value(self, results: Results) -> Spread | None:
        """None if the run did not measure it."""
        return results.compare(self.workload, self.metric, self.contestant, self.against)

    @property
    def text(self) -> str:
        names = {
            "cpu_us": "CPU",
            "memory_kib": "KiB for each tunnel",
            "p50_us": "p50",
            "p99_us": "p99",
        }
        over = f" over {' + '.join(self.against)}" if self.against else ""
        return f"{self.workload}: {names[self.metric]} of {self.contestant}{over}"


_SIZES = ("256 B", "1 KiB", "8 KiB")
BARS: tuple[Bar, ...] = (
    *(Bar(f"feed {size}", 0.45, (GO,)) for size in _SIZES),
    *(Bar(f"feed {size}", 0.15, (NODE,)) for size in _SIZES),
    *(Bar(f"feed {size}", 0.25, (PYTHON,)) for size in _SIZES),
    Bar("feed 1 KiB", 1.4, (HAPROXY, ENGINE)),
    Bar("sparse 500 x 10/s", 0.75, (GO,)),
    Bar("sparse 500 x 10/s", 1.9, (HAPROXY, ENGINE)),
    Bar("sparse 5,000 x 1/s", 1.0, (GO,)),
    Bar("echo 1 KiB", 0.8, (GO,)),
    Bar("broadcast 8 KiB to 200", 0.55, ("wsproxy, no cache",), contestant="wsproxy, no takeover"),
    Bar("passthrough 1 KiB", 3.0, (HAPROXY,), contestant="wsproxy, blind"),
    Bar("idle 10,000", 40.0, (), metric="memory_kib"),
    # Half of Go's handshakes for each second of CPU is twice its CPU for each handshake.
    Bar("handshakes", 2.0, (GO,)),
    Bar("latency, light load", 1.0, (GO,), metric="p50_us"),
    Bar("latency, light load", 1.0, (GO,), metric="p99_us"),
)
