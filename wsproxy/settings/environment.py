"""Which settings apply: flags, then environment, then file, then defaults.

Owns: the environment twins of the flags, and the sidecar that runs without a file. Must never import trio, socket or
logging; the environment is a parameter.
Invariant: a problem is told under the name by which the value came: a flag, a variable, or the file and its path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from wsproxy.errors import BadUsage
from wsproxy.settings.load import Document, interpolate, parse_toml, read
from wsproxy.settings.problems import Problems, join
from wsproxy.settings.tree import DEFAULT_METRICS, Settings

_NUMBER = re.compile(r"[0-9]{1,9}")
_SECTIONS = (("metrics", "metrics", "listen"), ("log_format", "log", "format"), ("log_level", "log", "level"))
"""Overrides that replace one key of one table: field of `Overrides`, table, key."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the flags of ``wsproxy run`` said; None where a flag was not given."""

    config: str | None = None
    listen: str | None = None
    upstream: str | None = None
    metrics: str | None = None
    log_format: str | None = None
    log_level: str | None = None
    workers: str | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """One override and where it came from."""

    value: str
    source: str


def load_settings(flags: Overrides, environ: Mapping[str, str]) -> Settings:
    """The settings to run with. Raises BadUsage with one line for every problem."""
    given = _given(flags, environ)
    config = given.pop("config", None)
    document, problems, prefix = _read_file(config.value, environ) if config else ({}, Problems(), "")
    if config is None and "upstream" not in given:
        raise BadUsage(
            ["no upstream: give --upstream URL, set WSPROXY_UPSTREAM=URL, or name a configuration file with routes"]
        )
    sources = _override(document, given, problems)
    settings = read(document, problems)
    if problems.found:
        raise BadUsage([_line(path, problem, prefix, sources) for path, problem in problems.found.items()])
    return settings


def metrics_address(flags: Overrides, environ: Mapping[str, str]) -> str:
    """Where a proxy that is started in the same way has its read-only pages; empty if it has none. Raises BadUsage.

    What else is wrong with its file is not asked: a proxy keeps its configuration when a wrong file takes its place.
    """
    given = _given(flags, environ)
    if "metrics" in given:
        return given["metrics"].value
    if "config" not in given:
        return DEFAULT_METRICS
    document, problems, prefix = _read_file(given["config"].value, environ)
    settings = read(document, problems)
    wrong = [f"{prefix}{path}: {problem}" for path, problem in problems.found.items() if _within(path, "metrics")]
    if wrong:
        raise BadUsage(wrong)
    return settings.metrics.listen


def load_file(path: str, environ: Mapping[str, str]) -> Settings:
    """The settings that one file says, without flags or twins. Raises BadUsage: ``FILE: dotted.path: problem``."""
    document, problems, prefix = _read_file(path, environ)
    settings = read(document, problems)
    if problems.found:
        raise BadUsage([f"{prefix}{where}: {problem}" for where, problem in problems.found.items()])
    return settings


def _given(flags: Overrides, environ: Mapping[str, str]) -> dict[str, _Given]:
    """The overrides by field name. An empty variable counts as not set, save for the one to which empty means off."""
    given: dict[str, _Given] = {}
    for item in fields(Overrides):
        flag: str | None = getattr(flags, item.name)
        twin = f"WSPROXY_{item.name.upper()}"
        if flag is not None:
            given[item.name] = _Given(flag, f"--{item.name.replace('_', '-')}")
        elif environ.get(twin) or (item.name == "metrics" and twin in environ):
            given[item.name] = _Given(environ[twin], twin)
    return given


def _read_file(path: str, environ: Mapping[str, str]) -> tuple[Document, Problems, str]:
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise BadUsage([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadUsage([f"{path}: is not UTF-8 at byte {error.start}"]) from error
    try:
        raw = parse_toml(text)
    except BadUsage as error:
        raise BadUsage([f"{path}: {problem}" for problem in error.problems]) from error
    problems = Problems()
    return interpolate(raw, environ, problems), problems, f"{path}: "


def _override(document: Document, given: Mapping[str, _Given], problems: Problems) -> dict[str, str]:
    """Write the overrides into the document. Gives the source of each overridden path."""
    sources: dict[str, str] = {}

    def put(path: str, table: Document, key: str, value: object, source: str) -> None:
        table[key] = value
        sources[path] = source
        # What the file held there is gone, and so is its problem.
        for stale in [found for found in problems.found if _within(found, path)]:
            del problems.found[stale]

    for name, section, key in _SECTIONS:
        table = document.setdefault(section, {}) if name in given else None
        if isinstance(table, dict):
            put(f"{section}.{key}", table, key, given[name].value, given[name].source)
    if "workers" in given:
        said = given["workers"].value
        put("workers", document, "workers", int(said) if _NUMBER.fullmatch(said) else said, given["workers"].source)
    listen, upstream = given.get("listen"), given.get("upstream")
    if listen is not None:
        put("listeners", document, "listeners", [{"name": "default", "bind": listen.value}], listen.source)
    if upstream is not None:
        upstreams = document.setdefault("upstreams", {"default": {}})
        if not isinstance(upstreams, dict) or len(upstreams) != 1:
            problems.add(upstream.source, "replaces the endpoints of one upstream, so the file must have exactly one")
            return sources
        ((name, table),) = upstreams.items()
        if isinstance(table, dict):
            put(join("upstreams", name) + ".endpoints", table, "endpoints", [upstream.value], upstream.source)
        document.setdefault("routes", [{"name": "default", "upstream": name}])
    return sources


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _line(path: str, problem: str, prefix: str, sources: Mapping[str, str]) -> str:
    for outer, source in sources.items():
        if _within(path, outer):
            return f"{source}: {problem}"
    return f"{prefix}{path}: {problem}"
