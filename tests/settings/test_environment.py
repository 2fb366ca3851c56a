"""Flags, environment, file, defaults: which one counts, and under whose name a problem is told."""

from pathlib import Path

import pytest

from wsproxy.errors import BadUsage
from wsproxy.settings.environment import Overrides, load_file, load_settings
from wsproxy.settings.tree import Settings

FILE = """
workers = 3
[log]
format = "json"
level = "error"
[metrics]
listen = "127.0.0.1:1"
[[listeners]]
name = "one"
bind = "127.0.0.1:2"
[[listeners]]
name = "two"
bind = "127.0.0.1:3"
[[routes]]
name = "feed"
upstream = "feed"
[upstreams.feed]
endpoints = ["ws://file", "ws://file2"]
balance = "round_robin"
"""


def pick(settings: Settings) -> dict[str, object]:
    (upstream,) = settings.upstreams.values()
    return {
        "listen": [listener.bind for listener in settings.listeners],
        "upstream": [each.url for each in upstream.endpoints],
        "metrics": settings.metrics.listen,
        "log_format": settings.log.format,
        "log_level": settings.log.level,
        "workers": settings.workers,
    }


DEFAULTS = {
    "listen": ["127.0.0.1:8080"],
    "metrics": "127.0.0.1:9464",
    "log_format": "text",
    "log_level": "info",
    "workers": 1,
}
IN_FILE = {
    "listen": ["127.0.0.1:2", "127.0.0.1:3"],
    "upstream": ["ws://file", "ws://file2"],
    "metrics": "127.0.0.1:1",
    "log_format": "json",
    "log_level": "error",
    "workers": 3,
}
IN_ENVIRONMENT = {
    "WSPROXY_LISTEN": "127.0.0.1:4",
    "WSPROXY_UPSTREAM": "ws://environment",
    "WSPROXY_METRICS": "127.0.0.1:5",
    "WSPROXY_LOG_FORMAT": "text",
    "WSPROXY_LOG_LEVEL": "debug",
    "WSPROXY_WORKERS": "auto",
}
FROM_ENVIRONMENT = {
    "listen": ["127.0.0.1:4"],
    "upstream": ["ws://environment"],
    "metrics": "127.0.0.1:5",
    "log_format": "text",
    "log_level": "debug",
    "workers": "auto",
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "wsproxy.toml"
    path.write_text(FILE)
    return str(path)


def test_without_a_file_it_is_a_sidecar() -> None:
    settings = load_settings(Overrides(upstream="ws://127.0.0.1:9000"), {})
    assert pick(settings) == {**DEFAULTS, "upstream": ["ws://127.0.0.1:9000"]}
    (route,) = settings.routes
    assert (route.name, route.upstream, list(settings.upstreams)) == ("default", "default", ["default"])


def test_the_file_goes_before_the_defaults(file: str) -> None:
    assert pick(load_settings(Overrides(config=file), {})) == IN_FILE


def test_the_environment_goes_before_the_file(file: str) -> None:
    assert pick(load_settings(Overrides(), {"WSPROXY_CONFIG": file, **IN_ENVIRONMENT})) == FROM_ENVIRONMENT


def test_a_flag_goes_before_the_environment(file: str) -> None:
    flags = Overrides(
        config=file, listen="127.0.0.1:6", upstream="ws://flag", metrics="", log_format="json", workers="2"
    )
    assert pick(load_settings(flags, {"WSPROXY_CONFIG": "/nowhere", **IN_ENVIRONMENT})) == {
        "listen": ["127.0.0.1:6"],
        "upstream": ["ws://flag"],
        "metrics": "",
        "log_format": "json",
        "log_level": "debug",
        "workers": 2,
    }


def test_replacing_endpoints_keeps_the_rest_of_the_upstream(file: str) -> None:
    settings = load_settings(Overrides(config=file, upstream="ws://flag"), {})
    assert settings.upstreams["feed"].balance == "round_robin"
    assert [route.upstream for route in settings.routes] == ["feed"]


def test_an_upstream_completes_a_file_without_routes(tmp_path: Path) -> None:
    path = tmp_path / "partial.toml"
    path.write_text('[log]\nlevel = "debug"\n')
    settings = load_settings(Overrides(config=str(path), upstream="ws://flag"), {})
    assert pick(settings) == {**DEFAULTS, "log_level": "debug", "upstream": ["ws://flag"]}


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("WSPROXY_LISTEN", "listen"),
        ("WSPROXY_UPSTREAM", "upstream"),
        ("WSPROXY_LOG_FORMAT", "log_format"),
        ("WSPROXY_LOG_LEVEL", "log_level"),
        ("WSPROXY_WORKERS", "workers"),
    ],
)
def test_an_empty_variable_is_not_set(file: str, variable: str, setting: str) -> None:
    settings = load_settings(Overrides(), {"WSPROXY_CONFIG": file, variable: ""})
    assert pick(settings)[setting] == IN_FILE[setting]


def test_the_empty_metrics_variable_turns_the_pages_off(file: str) -> None:
    assert load_settings(Overrides(config=file), {"WSPROXY_METRICS": ""}).metrics.listen == ""


def test_an_override_is_not_interpolated() -> None:
    with pytest.raises(BadUsage) as caught:
        load_settings(Overrides(upstream="ws://${HOME}"), {"HOME": "a"})
    assert "${HOME}" in caught.value.problems[0]


def test_an_override_replaces_what_was_wrong_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "wsproxy.toml"
    path.write_text(FILE.replace("ws://file2", "${MISSING}").replace('"127.0.0.1:3"', '"${MISSING}"'))
    settings = load_settings(Overrides(config=str(path), upstream="ws://flag", listen="127.0.0.1:6"), {})
    assert pick(settings)["upstream"] == ["ws://flag"]
    with pytest.raises(BadUsage) as caught:
        load_settings(Overrides(config=str(path)), {})
    assert len(caught.value.problems) == 2


WRONG = [
    (Overrides(upstream="ws://a", workers="many"), {}, "--workers: must be a whole number or 'auto', not \"many\""),
    (Overrides(upstream="ws://a", workers="0"), {}, "--workers: must be from 1 to 1024, not 0"),
    (Overrides(upstream="ws://a", listen="8080"), {}, "--listen: '8080' has no port"),
    (Overrides(upstream="ws://a", metrics="x"), {}, "--metrics: 'x' has no port"),
    (Overrides(upstream="ftp://a"), {}, "--upstream: 'ftp://a' does not start with ws://"),
    (Overrides(), {"WSPROXY_UPSTREAM": "ftp://a"}, "WSPROXY_UPSTREAM: 'ftp://a' does not start with ws://"),
    (Overrides(upstream="ws://a", log_level="warn"), {}, "--log-level: must be one of"),
    (Overrides(upstream="ws://a"), {"WSPROXY_LOG_FORMAT": "xml"}, "WSPROXY_LOG_FORMAT: must be one of"),
    (Overrides(upstream="ws://a", listen="a:1", metrics="a:1"), {}, "--metrics: 'a:1' is already listeners[0].bind"),
    (Overrides(config="/nowhere/a.toml"), {}, "/nowhere/a.toml: cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("flags", "environ", "problem"), WRONG)
def test_a_problem_is_told_under_its_source(flags: Overrides, environ: dict[str, str], problem: str) -> None:
    with pytest.raises(BadUsage) as caught:
        load_settings(flags, environ)
    (found,) = caught.value.problems
    assert found.startswith(problem)


def test_nothing_given_names_flag_and_variable() -> None:
    with pytest.raises(BadUsage) as caught:
        load_settings(Overrides(), {})
    (found,) = caught.value.problems
    assert "--upstream" in found
    assert "WSPROXY_UPSTREAM" in found


def test_one_upstream_flag_cannot_stand_for_two_upstreams(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(FILE + '[upstreams.other]\nendpoints = ["ws://other"]\n')
    with pytest.raises(BadUsage) as caught:
        load_settings(Overrides(config=str(path), upstream="ws://flag"), {})
    assert caught.value.problems == [
        f"{path}: --upstream: replaces the endpoints of one upstream, so the file must have exactly one"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = ", "syntax: Invalid value (at line 1, column 5)"),
        (b"a = '\xff'", "is not UTF-8 at byte 5"),
        (FILE.replace("error", "eror").encode(), "log.level: must be one of"),
    ],
)
def test_a_problem_of_a_file_names_it(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(BadUsage) as checked:
        load_file(str(path), {})
    with pytest.raises(BadUsage) as run:
        load_settings(Overrides(config=str(path)), {})
    (found,) = checked.value.problems
    assert found.startswith(f"{path}: {problem}")
    assert run.value.problems == [found]


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "dos.toml"
    path.write_bytes(FILE.replace("\n", "\r\n").encode())
    assert pick(load_file(str(path), {})) == IN_FILE
