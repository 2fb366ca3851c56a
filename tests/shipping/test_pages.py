"""The pages say all that they promise: no link leads nowhere, and each status and close code has its line."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shipping.commands import PAGES, ROOT

PACKAGE = ROOT / "wsproxy"
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text()


def numbers(first: int, last: int, *layers: str) -> set[int]:
    """The numbers between these that the code gives to a call, or puts beside a text: statuses and codes."""

    def given(node: ast.AST) -> Iterator[ast.AST]:
        match node:
            case ast.Call():
                yield from node.args
            case ast.Tuple():
                yield from node.elts

    return {
        each.value
        for layer in layers
        for path in (PACKAGE / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for each in given(node)
        if isinstance(each, ast.Constant) and type(each.value) is int and first <= each.value <= last
    }


def rows(section: str) -> set[int]:
    """The numbers that begin the lines of a section's table."""
    (text,) = re.findall(rf"^## {section}.*?(?=^## )", TROUBLES, re.MULTILINE | re.DOTALL)
    return {int(number) for number in re.findall(r"^\| (\d+)", text, re.MULTILINE)}


def test_each_status_has_its_line() -> None:
    made = numbers(400, 599, "protocol", "gateway", "network", "service")
    assert {400, 403, 404, 408, 426, 429, 500, 502, 503, 504} <= made, "they are found in the code"
    # 431 comes by way of h11, which names it.
    assert rows("Before the 101") == made | {431}


def test_each_close_code_has_its_line() -> None:
    made = numbers(1001, 1011, "protocol", "extensions")
    assert {1001, 1007, 1008, 1009, 1011} <= made, "they are found in the code"
    assert made <= rows("After the 101")


def anchors(page: Path) -> set[str]:
    """What a heading's link is: in lower case, without punctuation, with dashes for spaces."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|srcset|href)="([^"]+)"', text)]:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading of the third rank."""
    (text,) = re.findall(rf"^### {re.escape(heading)}\n\n(\|.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_readmes_figures_are_those_that_were_measured() -> None:
    readme, measured = README.read_text().lower(), PERFORMANCE.read_text()
    rows = table(measured, "Compressing 1,024 B, 12 bits, mem_level 5")
    kinds = [name.removesuffix(" hot") for name in rows[0] if name.endswith(" hot")]
    (isal,) = [[float(cell) for cell in row[2:-1]] for row in rows if row[:2] == ["isal", "1"]]
    told = re.findall(r"^\| ([a-z]+)[^|]* \| ([0-9.]+) \| (\d+) to (\d+) us \|$", readme, re.MULTILINE)
    assert len(told) == 4
    for kind, ratio, hot, cold in told:
        place = 3 * kinds.index(kind)
        assert [float(hot), float(cold), float(ratio)] == pytest.approx(isal[place : place + 3], rel=0.1), kind
    names = {"zlib": "wsproxy, zlib", "go": "Go gorilla", "python": "Python websockets", "node": "Node ws"}
    names |= {"wsproxy": "wsproxy", "haproxy": "HAProxy tunnel"}
    feed = {row[0]: (float(row[1].split()[0]), float(row[2])) for row in table(measured, "feed 1 KiB")[2:]}
    told = re.findall(r"^\| ([^|]+) \| ([0-9.]+) us \| ([0-9.]+) \|$", readme, re.MULTILINE)
    assert len(told) == len(names)
    for words, cpu, ratio in told:
        (name,) = [
            name for word, name in names.items() if re.search(rf"\b{word}\b", words.removeprefix("wsproxy with "))
        ]
        assert (float(cpu), float(ratio)) == pytest.approx(feed[name], rel=0.1), words


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        name = re.split(r"[^\w-]", requirement, maxsplit=1)[0]
        assert re.search(rf"\b{name}\b", page), name
