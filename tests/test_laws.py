"""The laws of docs/architecture.md that import-linter cannot express, read from the source itself."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsproxy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
BANNED = ("manager", "handler", "helper", "utils", "context", "data2")


def names_in(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.arg():
                found.add(node.arg)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                # Other objects' attributes may have been named by others: `SSLObject.context`.
                found.add(node.attr)
            case _:
                pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_source_keeps_the_laws(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    layer = path.relative_to(PACKAGE).parts[0]
    assert ast.get_docstring(tree), "a module says what it owns"
    assert len(text.splitlines()) <= 400, "a file over 400 lines is asking to be two"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is asking to be two"
        if isinstance(node, ast.Attribute) and node.attr == "open_nursery":
            assert layer in ("service", "demo"), "only service/ opens nurseries"
    for name in names_in(tree):
        plain = name.replace("no_context_takeover", "").lower()
        assert not any(word in plain for word in BANNED), f"{name} is a name that says nothing"


def test_the_architecture_page_has_every_file() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)/` \| ([^|]+) \|", page, re.MULTILINE))
    layers = {path.name: path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(rows) == set(layers)
    for name, layer in layers.items():
        files = {path.stem if path.suffix == ".py" else path.name for path in layer.iterdir()} - {
            "__init__",
            "__pycache__",
        }
        told = {word.rstrip("/") for word in re.findall(r"`([^`]+)`", rows[name])}
        assert told == files, f"{name}/: not in the tree or not on the page: {told ^ files}"
