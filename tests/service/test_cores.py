"""`workers = "auto"`: the cores that this process may use."""

import os
from pathlib import Path

import pytest

from wsproxy.service.cores import available_cores

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(tmp_path: Path, membership: str | None, quotas: dict[str, str]) -> int:
    for group, quota in quotas.items():
        folder = tmp_path / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(quota)
    if membership is not None:
        (tmp_path / "self").write_text(membership)
    return available_cores(tmp_path / "cgroup", tmp_path / "self")


@pytest.mark.parametrize(
    ("membership", "quotas", "expected"),
    [
        (None, {"": "100000 100000\n"}, CORES),
        ("9:cpu:/old\n", {"": "100000 100000\n"}, CORES),
        ("0::/\n", {}, CORES),
        ("0::/\n", {"": "max 100000\n"}, CORES),
        ("0::/\n", {"": "nonsense\n"}, CORES),
        ("0::/\n", {"": "100000 100000\n"}, 1),
        ("0::/\n", {"": "150000 100000\n"}, min(CORES, 2)),
        ("0::/\n", {"": "1000 100000\n"}, 1),
        ("1:x:/y\n0::/pods/a\n", {"pods/a": "max 100000\n", "pods": "50000 100000\n"}, 1),
        ("0::/pods/a\n", {"pods/b": "50000 100000\n"}, CORES),
        ("0::/pods/a\n", {"pods/a": "99900000 100000\n"}, CORES),
    ],
)
def test_affinity_and_quotas(tmp_path: Path, membership: str | None, quotas: dict[str, str], expected: int) -> None:
    assert cores(tmp_path, membership, quotas) == expected
