"""What the system tells of this process: CPU, memory, open files, under the names that Prometheus' clients give them.

Owns: how open files are counted. Beside `exposition` the only place that knows prometheus_client; must never import
trio.
Invariant: its time does not depend on how many files are open.

prometheus-client lists them all to count them. With 10,000 tunnels that are 20,000, and tunnels waited 15 ms for it,
longer than for anything else in a scrape. Since Linux 6.2 the directory's size is their number; elsewhere they are
listed.
"""

import resource
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as MetricFamily

_OPEN_FILES = Path("/proc/self/fd")
_PAGES = Path("/proc/self/statm")
_PAGE_BYTES = resource.getpagesize()


class Process(ProcessCollector):
    """prometheus-client's collector, of the same metrics."""

    def __init__(self) -> None:
        super().__init__(registry=None)
        # There are few files yet, and when this process began does not change.
        self._lasting = [family for family in super().collect() if family.name == "process_start_time_seconds"]

    def collect(self) -> Iterable[MetricFamily]:
        files = _counted()
        if not files:
            yield from super().collect()
            return
        virtual, resident = (int(pages) * _PAGE_BYTES for pages in _PAGES.read_text().split()[:2])
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", resident)
        yield from self._lasting
        yield CounterMetricFamily(
            "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", time.process_time()
        )
        yield GaugeMetricFamily("process_open_fds", "Number of open file descriptors.", files)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield GaugeMetricFamily("process_max_fds", "Maximum number of open file descriptors.", most)


def _counted() -> int:
    """Open files as the system counts them; 0 where it does not."""
    try:
        return _OPEN_FILES.stat().st_size
    except OSError:
        return 0
