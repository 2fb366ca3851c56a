"""docs/extensions.md: its tables, files and configuration are what is there, and its test is one that runs."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from wsproxy.extensions import base, chain, negotiation, testing
from wsproxy.extensions.bzip2 import Bzip2Settings
from wsproxy.protocol.flow import READS_A_TURN
from wsproxy.service.supervisor import SILENT_SECONDS
from wsproxy.settings.load import parse_toml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "extensions" / "example"
PAGE = (ROOT / "docs" / "extensions.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table after these words."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_of_bzip2() -> None:
    expected = [[f"`{each.name}`", f"`{each.default}`", each.metadata["doc"]] for each in fields(Bzip2Settings)]
    assert table("### permessage-bzip2") == expected


def test_every_check_of_the_kit_is_there() -> None:
    assert [row[0] for row in table("## Testing yours")] == [f"`{check.__name__}`" for check in testing.CHECKS]


def test_its_numbers() -> None:
    rows = [row[0] for row in table("## What happens when it is wrong")]
    assert f"makes more than {chain.GROWTH} bytes of one, beyond {chain.SLACK // 1024} KiB a message" in rows
    assert f"says {chain.IDLE_READS} times in a row that there is more, and gives nothing" in rows
    offers = f"over {negotiation.MOST_ITEM_BYTES} bytes, or more than {negotiation.MOST_OFFERS}"
    assert f"raises from `offer` or `accept`, or gives items that are not its own, {offers}" in rows
    assert f"{READS_A_TURN} calls in one turn" in PAGE
    assert f"After {SILENT_SECONDS:g} s the supervisor" in PAGE


def test_the_contract_is_a_page() -> None:
    """What an author reads: types and their words, without blank lines and imports."""
    assert base.__file__ is not None
    assert len(Path(base.__file__).read_text().splitlines()) < 200


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_its_toml_is_toml() -> None:
    for block in blocks("toml"):
        assert parse_toml(block)


def test_the_example_stands_there_line_by_line() -> None:
    """Whoever copies the guide has the package that the tests install."""
    assert (EXAMPLE / "pyproject.toml").read_text() in blocks("toml")
    source = (EXAMPLE / "wsproxy_rot.py").read_text()
    _, code = source.split('"""\n', 1)
    shown = "".join(block for block in blocks("python") if "CHECKS" not in block)
    assert [line for line in shown.splitlines() if line] == [line for line in code.splitlines() if line]


def test_its_test_runs_as_it_is_written(tmp_path: Path) -> None:
    (written,) = [block for block in blocks("python") if "CHECKS" in block]
    (tmp_path / "test_rot.py").write_text(written)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "-c",
        "/dev/null",
    ]
    paths = f"{ROOT}:{EXAMPLE}"
    done = subprocess.run(
        [*command, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin"},
    )
    assert f"{len(testing.CHECKS)} passed" in done.stdout, done.stdout + done.stderr
