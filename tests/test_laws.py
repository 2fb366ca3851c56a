"""The laws of docs/architecture.md that import-linter cannot express, read from the source itself."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wsproxy

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


def parsed(items: Any, possessive: bool = False) -> Iterator[tuple[str, bool]]:
    """The operations of a parsed pattern, and whether each is inside what is repeated possessively."""
    for name, told in items:
        yield str(name), possessive
        inside = possessive or str(name) == "POSSESSIVE_REPEAT"
        parts = told[1] if str(name) == "BRANCH" else told if isinstance(told, tuple) else ()
        for part in parts:
            if hasattr(part, "getwidth"):
                yield from parsed(part, inside)


def varies(pattern: str | bytes) -> bool:
    """Something that can match in two ways is repeated possessively."""
    parse = import_module("re._parser").parse
    return any(inside and name in ("BRANCH", "MAX_REPEAT", "MIN_REPEAT") for name, inside in parsed(parse(pattern)))


def test_no_pattern_is_matched_wrongly_by_early_python_3_11() -> None:
    """Python 3.11.2, which is Debian 12's, takes a part of such a repetition for all of it."""
    assert varies(r"(?:ab?c)?+")
    assert not varies(r"(?:a++b)++c?")
    modules = [found.name for found in pkgutil.walk_packages(wsproxy.__path__, "wsproxy.")]
    patterns = {
        f"{name}.{key}": value.pattern
        for name in modules
        if not name.endswith("__main__")
        for key, value in vars(import_module(name)).items()
        if isinstance(value, re.Pattern)
    }
    assert len(patterns) > 20
    assert [name for name, pattern in patterns.items() if varies(pattern)] == []
