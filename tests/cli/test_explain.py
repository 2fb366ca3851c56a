"""What `wsproxy check --explain` says of a request, and its exit codes."""

from pathlib import Path

import pytest

from wsproxy.cli.main import main

FILE = """
[[routes]]
name = "chat"
hosts = ["chat.test", "*.chat.test"]
upstream = "chat"
[[routes]]
name = "health"
path = "/health"
upstream = "feed"
[[routes]]
name = "tenant"
path_prefix = "/feed"
replace_prefix = "/"
match_headers = { "X-Tenant" = "a" }
subprotocols = ["v2", "v3"]
origins = ["https://app.test"]
upstream = "feed"
[[routes]]
name = "feed"
path_prefix = "/feed"
upstream = "chat"
[upstreams.chat]
endpoints = ["ws://127.0.0.1:1"]
[upstreams.feed]
endpoints = [{ url = "ws://10.0.0.1/base", weight = 3 }, "ws://10.0.0.2/base"]
balance = "random"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(FILE)
    return str(path)


NOT_CHAT = "route chat: no, the host 'a.test' is none of 'chat.test', '*.chat.test'"
NOT_HEALTH = "route health: no, the path '/feed/1' is not exactly '/health'"
TENANT = ["--header", "X-Tenant: a", "--subprotocol", "v1", "--subprotocol", "v3"]

ROWS: list[tuple[list[str], int, list[str]]] = [
    (
        ["wss://my.chat.test:8443/x?y"],
        0,
        [
            "route chat: yes, the first that matches",
            "upstream chat: least_connections among 1",
            "endpoint ws://127.0.0.1:1",
            "path there: /x?y",
        ],
    ),
    (
        ["ws://a.test/feed/1?q", *TENANT],
        0,
        [
            NOT_CHAT,
            NOT_HEALTH,
            "route tenant: yes, the first that matches",
            "upstream feed: random among 2",
            "endpoint ws://10.0.0.1/base, weight 3 of 4",
            "endpoint ws://10.0.0.2/base, weight 1 of 4",
            "path there: /base/1?q",
        ],
    ),
    (
        ["ws://a.test/feed/1", *TENANT, "--header", "Origin: https://evil.test"],
        1,
        [
            NOT_CHAT,
            NOT_HEALTH,
            "route tenant: yes, the first that matches",
            "answer: 403, this origin is not allowed here",
        ],
    ),
    (
        ["ws://a.test/feed/1", "--header", "X-Tenant: b"],
        0,
        [
            NOT_CHAT,
            NOT_HEALTH,
            "route tenant: no, the request has no header 'X-Tenant: a'",
            "route feed: yes, the first that matches",
            "upstream chat: least_connections among 1",
            "endpoint ws://127.0.0.1:1",
            "path there: /feed/1",
        ],
    ),
    (
        ["http://a.test", *TENANT[:2]],
        1,
        [
            NOT_CHAT,
            "route health: no, the path '/' is not exactly '/health'",
            "route tenant: no, the path '/' is not '/feed' or below it",
            "route feed: no, the path '/' is not '/feed' or below it",
            "answer: 404, no route takes it",
        ],
    ),
    (
        ["http://a.test/feed", *TENANT[:2], "--header", "Host: chat.test"],
        0,
        [
            "route chat: yes, the first that matches",
            "upstream chat: least_connections among 1",
            "endpoint ws://127.0.0.1:1",
            "path there: /feed",
        ],
    ),
]


def test_endpoints_with_different_base_paths_have_a_path_each(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(file)
    path.write_text(FILE.replace("10.0.0.2/base", "10.0.0.2/other"))
    assert main(["check", file, "--explain", "ws://a.test/feed/1?q", *TENANT]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "path at ws://10.0.0.1/base: /base/1?q",
        "path at ws://10.0.0.2/other: /other/1?q",
    ]


@pytest.mark.parametrize(("asked", "code", "lines"), ROWS)
def test_explains(capsys: pytest.CaptureFixture[str], file: str, asked: list[str], code: int, lines: list[str]) -> None:
    assert main(["check", file, "--explain", *asked]) == code
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"{file}: OK", *lines]
    assert told.err == ""


def test_a_subprotocol_that_is_not_offered(capsys: pytest.CaptureFixture[str], file: str) -> None:
    assert main(["check", file, "--explain", "ws://a.test/feed/1", *TENANT[:4]]) == 0
    assert "route tenant: no, the request offers no subprotocol of 'v2', 'v3'" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (["--explain", "a.test/feed"], 1),
        (["--explain", "ftp://a.test"], 1),
        (["--explain", "ws://[a/"], 1),
        (["--explain", "ws://a/b c\n"], 1),
        (["--explain", "ws://a", "--header", "X", "--header", "a b: c", "--subprotocol", "a b"], 3),
        (["--header", "X: y"], 1),
    ],
)
def test_what_cannot_be_asked(capsys: pytest.CaptureFixture[str], file: str, asked: list[str], lines: int) -> None:
    assert main(["check", file, *asked]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    assert all(line.startswith("wsproxy: --") for line in told)
