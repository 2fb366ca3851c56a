"""The command line: exit codes, lines on stderr, and which command loads what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsproxy import __version__
from wsproxy.cli.main import main

SIDECAR = Path(__file__).parents[2] / "config" / "sidecar.toml"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, where a warning is an error; no twin of a flag comes from outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WSPROXY_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "wsproxy", *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environ},
        check=False,
        timeout=60,
    )


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wsproxy {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("check", "--help"), ("demo", "--help")])
def test_help(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith("usage: wsproxy")


def test_help_tells_each_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for word in ("run", "check", "demo", "schema", "Exit codes: 0", "WSPROXY_LISTEN"):
        assert word in told


USAGE = [
    ([], "wsproxy: the following arguments are required: COMMAND (see wsproxy --help)"),
    (["--nonsense"], "wsproxy: the following arguments are required: COMMAND (see wsproxy --help)"),
    (["run", "--listn", "x"], "wsproxy: unrecognized arguments: --listn (see wsproxy --help)"),
    (["run", "--listen"], "wsproxy: argument --listen: expected one argument (see wsproxy run --help)"),
    (["check"], "wsproxy: the following arguments are required: CONFIG.toml (see wsproxy check --help)"),
    (
        ["demo", "--seconds", "0"],
        "wsproxy: argument --seconds: '0' is not a number of seconds above 0, up to 86400 (see wsproxy demo --help)",
    ),
    (
        ["demo", "--seconds", "nan"],
        "wsproxy: argument --seconds: 'nan' is not a number of seconds above 0, up to 86400 (see wsproxy demo --help)",
    ),
    (
        ["run", "--upstream", "ftp://a"],
        "wsproxy: --upstream: 'ftp://a' does not start with ws://, wss://, http://, https:// or unix:/",
    ),
    (["run", "/nowhere.toml"], "wsproxy: /nowhere.toml: cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("arguments", "line"), USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"{line}\n")


def test_an_unknown_command_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("wsproxy: ")
    assert told.count("\n") == 1
    for command in ("run", "check", "demo", "schema"):
        assert command in told


def test_run_needs_an_upstream() -> None:
    done = run("run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wsproxy: no upstream: ")
    assert done.stderr.count("\n") == 1


def test_run_reads_the_environment_twins() -> None:
    done = run("run", WSPROXY_UPSTREAM="ws://127.0.0.1:1", WSPROXY_LISTEN="nowhere", WSPROXY_LOG_LEVEL="loud")
    assert done.returncode == 2
    assert sorted(line.split(": ")[1] for line in done.stderr.splitlines()) == ["WSPROXY_LISTEN", "WSPROXY_LOG_LEVEL"]


def test_run_that_cannot_listen_is_one_line_and_exit_code_1() -> None:
    done = run("run", "--listen", "fd:999", "--metrics", "", "--upstream", "ws://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wsproxy: ")
    assert "fd:999" in done.stderr
    assert done.stderr.count("\n") == 1


def test_check_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(SIDECAR)]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"{SIDECAR}: OK\n", "")


def test_check_tells_every_problem_on_its_own_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    example = SIDECAR.read_text().replace("max_message_bytes", "max_mesage_bytes")
    path.write_text(example + "\n[log2]\n[upstreams.app.tls]\nca = 3\n")
    assert main(["check", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sorted(told.err.splitlines()) == sorted(
        [
            f"{path}: routes[0].limits.max_mesage_bytes: unknown key (did you mean 'max_message_bytes'?)",
            f"{path}: log2: unknown key (did you mean 'log'?)",
            f"{path}: upstreams.app.tls.ca: must be a string, not 3",
        ]
    )


def test_check_ignores_the_twins() -> None:
    done = run("check", str(SIDECAR), WSPROXY_LISTEN="nonsense", WSPROXY_CONFIG="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "wsproxy configuration"


@pytest.mark.parametrize(
    "arguments", [["schema"], ["check", str(SIDECAR)], ["check", str(SIDECAR), "--explain", "ws://a"]]
)
def test_check_and_schema_load_no_event_loop(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from wsproxy.cli.main import main\n"
        f"code = main({arguments!r})\n"
        "heavy = {'trio', 'prometheus_client', 'wsproto', 'h11', 'ssl', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [("schema",), ("check", str(SIDECAR))], ids=["long", "short"])
def test_a_reader_that_has_had_enough_is_no_error(command: tuple[str, ...]) -> None:
    """As with `wsproxy ctl list | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wsproxy", *command], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
