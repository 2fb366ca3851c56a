"""Strings that hold variables and what files hold."""

from pathlib import Path

import pytest

from tests.settings.texts import LEAST, problems
from wsproxy.settings.load import load
from wsproxy.settings.tree import WeightedUrl

NEITHER = "'${' begins neither ${NAME}, ${NAME:-default} nor ${file:/path}; write $${ for the characters '${'"
VARIABLES = [
    ("ws://${HOST}", {"HOST": "a"}, "ws://a"),
    ("ws://${HOST:-b}", {}, "ws://b"),
    ("ws://${HOST:-b}", {"HOST": ""}, "ws://b"),
    ("ws://${HOST:-b}", {"HOST": "c"}, "ws://c"),
    ("ws://${A}${B}", {"A": "x", "B": "y"}, "ws://xy"),
    ("ws://${A:-x:-y}", {"A": "z"}, "ws://z"),
    ("ws://a/$b", {"b": "no"}, "ws://a/$b"),
    ("ws://${A}", {"A": "${B}"}, None),
    ("ws://a/$${B}", {"B": "no"}, None),
]


@pytest.mark.parametrize(("text", "environ", "url"), VARIABLES)
def test_variables_in_strings(text: str, environ: dict[str, str], url: str | None) -> None:
    file = LEAST.replace("ws://10.0.0.1:9000", text)
    if url is None:
        # The characters '${' arrive as they are, and are no part of a URL.
        assert "${B}" in problems(file, environ)[0]
    else:
        assert load(file, environ).upstreams["feed"].endpoints == (WeightedUrl(url),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${HOST}", "the environment variable HOST is not set"),
        ("${1}", NEITHER),
        ("${A", NEITHER),
        ("${A:-${B}}", NEITHER),
    ],
)
def test_a_variable_that_cannot_be_read_is_the_only_problem_of_its_string(text: str, problem: str) -> None:
    assert problems(LEAST.replace("ws://10.0.0.1:9000", text)) == [f"upstreams.feed.endpoints[0]: {problem}"]


def test_an_empty_variable_is_a_value() -> None:
    assert load("[metrics]\nlisten = '${NOTHING}'" + LEAST, {"NOTHING": ""}).metrics.listen == ""


def with_secret(text: str) -> str:
    return LEAST.replace("[upstreams.feed]", f"headers.set.Authorization = 'Bearer {text}'\n[upstreams.feed]")


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n", "s3cret\r\n\n"])
def test_a_string_may_hold_what_a_file_holds(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_bytes(content.encode())
    for text in (f"${{file:{tmp_path}/token}}", "${file:${CREDENTIALS_DIRECTORY:-/no}/token}"):
        settings = load(with_secret(text), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert settings.routes[0].headers.set == {"Authorization": "Bearer s3cret"}


def test_what_a_file_holds_is_not_interpolated(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("${HOME}")
    settings = load(with_secret(f"${{file:{tmp_path}/token}}"), {"HOME": "no"})
    assert settings.routes[0].headers.set == {"Authorization": "Bearer ${HOME}"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${file:/nowhere/token}", "the file '/nowhere/token' cannot be read: No such file or directory"),
        ("${file:/}", "the file '/' cannot be read: Is a directory"),
        ("${file:token}", "the file 'token' is not an absolute path"),
        ("${file:}", "the file '' is not an absolute path"),
        ("${file:${NOWHERE}/token}", "the environment variable NOWHERE is not set"),
        ("${file:/dev/zero}", "the file '/dev/zero' is longer than 65536 bytes"),
        ("${file:/a", NEITHER),
    ],
)
def test_a_file_that_cannot_stand_in(text: str, problem: str) -> None:
    assert problems(with_secret(text)) == [f"routes[0].headers.set.Authorization: {problem}"]


def test_a_problem_tells_nothing_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"s3cret\xff")
    where = "routes[0].headers.set.Authorization"
    file = f"{tmp_path}/token"
    assert problems(with_secret(f"${{file:{file}}}")) == [
        f"{where}: the file '{file}' is not UTF-8, or its path is none"
    ]
    (tmp_path / "token").write_text("s3\ncret")
    rule = "must be printable ASCII without blanks at its ends"
    assert problems(with_secret(f"${{file:{file}}}")) == [f"{where}: {rule}"]
