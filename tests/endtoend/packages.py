"""Packages as if pip had installed them, and a proxy that finds them.

Owns: what such a folder holds, and how the proxy's process comes to know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.endtoend.proxy import BASE, Proxy, configured, environment

ROOT = Path(__file__).parents[2]


def knowing(folder: Path | str) -> dict[str, str]:
    """The environment of a process for which the packages in ``folder`` are installed."""
    return environment(PYTHONPATH=f"{folder}:{ROOT}")


@contextmanager
def proxy_with(folder: Path, *parts: str, base: str = BASE) -> Iterator[Proxy]:
    """A proxy for which the packages in ``folder`` are installed."""
    with configured(*parts, base=base, env=knowing(folder)) as proxy:
        yield proxy


def registered(folder: Path, *entries: str) -> Path:
    """A folder in which a package with these entry points is installed, as pip writes it down."""
    info = folder / "wsproxy_faulty-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wsproxy-faulty\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(("[wsproxy.extensions]", *entries, "")))
    return folder
