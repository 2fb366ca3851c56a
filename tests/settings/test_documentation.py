"""docs/configuration.md and config/: they say what the tree says, key by key."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from wsproxy.settings.environment import load_file
from wsproxy.settings.tree import Route, Settings, Upstream

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLES = sorted((ROOT / "config").glob("*.toml"))

IN_WORDS = {"unix_mode": "`0o660`", "enabled": "`true` to the client, `false` to the upstream"}
"""Defaults that a reader would not recognise as Python prints them, or that differ by table."""

Rows = dict[str, dict[str, tuple[str, str]]]


def shown(default: Any) -> str:
    if default is MISSING:
        return "required"
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "`[]`" if default == () else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def tables(cls: type, path: str) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Each table of the tree with its keys: (default, meaning)."""
    rows: dict[str, tuple[str, str]] = {}
    hints = get_type_hints(cls)
    for item in fields(cls):
        hint = hints[item.name]
        where = f"{path}.{item.name}" if path else item.name
        origin = get_origin(hint)
        if is_dataclass(hint) and isinstance(hint, type):
            yield from tables(hint, where)
        elif origin is tuple and is_dataclass(get_args(hint)[0]):
            yield from tables(get_args(hint)[0], f"[{where}]")
        elif origin is Mapping:
            yield from tables(get_args(hint)[1], f"{where}.NAME")
        else:
            rows[item.name] = (IN_WORDS.get(item.name) or shown(item.default), item.metadata["doc"])
    if rows:
        yield path.replace("[routes].", "routes."), rows


def documented() -> Rows:
    """The page's sections, by each table that their headings name."""
    found: Rows = {}
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        rows = {
            key: (default, meaning)
            for key, default, meaning in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", body, flags=re.MULTILINE)
        }
        for table in re.findall(r"`\[(.+?)\]`(?=$| |,)", heading):
            found[table] = rows
    return found


def test_every_key_is_on_the_page_with_its_default_and_meaning() -> None:
    expected = dict(tables(Settings, ""))
    page = documented()
    assert set(page) == set(expected)
    for table, rows in expected.items():
        assert page[table] == rows


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_passes_the_check(path: Path) -> None:
    assert load_file(str(path), {}).routes


def test_one_example_has_every_key_with_its_default() -> None:
    path = ROOT / "config" / "every-key.toml"
    assert load_file(str(path), {}) == Settings(
        routes=(Route(name="feed", upstream="feed"),),
        upstreams={"feed": Upstream(endpoints=("ws://127.0.0.1:9000",))},
    )
    written = re.sub(r"^#.*", "", path.read_text(), flags=re.MULTILINE).replace("upstreams.feed", "upstreams.NAME")
    for table, rows in tables(Settings, ""):
        (section,) = re.findall(rf"^\[{re.escape(table)}\].*\n((?:.+\n)*)", written, flags=re.MULTILINE)
        assert set(re.findall(r"^(\w+) =", section, flags=re.MULTILINE)) == set(rows)
