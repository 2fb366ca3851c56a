"""How many processors this process may use.

Owns: the reading of affinity and of CPU quotas. Imports nothing of the project.
"""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """The cores of this process's affinity, or fewer if a control group grants less time (cgroups(7), version 2).

    A quota of two and a half cores is three: the last one is idle half of the time, which two would never be.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder / "cpu.max") for folder in _folders(cgroups, membership)]
    return max(1, min([cores, *(quota for quota in quotas if quota is not None)]))


def _folders(cgroups: Path, membership: Path) -> list[Path]:
    """Of the process's own group and of all that it is in."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return []
    return [cgroups / own, *(cgroups / parent for parent in Path(own).parents)]


def _quota(file: Path) -> int | None:
    try:
        granted, period = file.read_text().split()
        return -(-int(granted) // int(period))
    except (OSError, ValueError):
        # There is no such group here, or its quota is the word "max".
        return None
