"""Every command of the documentation works as it is written."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.shipping import commands
from tests.shipping.commands import PAGES, ROOT

RUN_HERE = {
    page: [command for command in commands.commands(page) if not commands.shown_elsewhere(command)] for page in PAGES
}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if RUN_HERE[page]], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_commands_of(page: Path, tmp_path: Path) -> None:
    if why := commands.missing():
        pytest.skip(why)
    done = commands.run(RUN_HERE[page], tmp_path)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_a_command_that_fails_would_be_found(tmp_path: Path) -> None:
    if why := commands.missing():
        pytest.skip(why)
    done = commands.run(["wsproxy check config/sidecar.toml", "wsproxy chekc config/sidecar.toml"], tmp_path)
    assert done.returncode != 0
    assert "failed: wsproxy chekc" in done.stderr


def test_what_is_shown_elsewhere_is_on_some_page() -> None:
    """A pattern that no command needs any more would hide the next one that it fits."""
    everything = [command for page in PAGES for command in commands.commands(page)]
    for pattern in commands.ELSEWHERE:
        assert any(re.match(pattern, command) for command in everything), pattern


def test_make_targets_are_there() -> None:
    asked = {target for page in PAGES for command in commands.commands(page) for target in commands.targets(command)}
    asked |= {target for page in PAGES for target in re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)`", page.read_text())}
    assert {"demo", "test"} <= asked
    for target in sorted(asked):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_pages_have_no_other_kind_of_command_block() -> None:
    """A block marked in another way would be run by nobody."""
    for page in PAGES:
        for mark in ("```bash", "```shell", "```console", "```\n$ "):
            assert mark not in page.read_text(), page
