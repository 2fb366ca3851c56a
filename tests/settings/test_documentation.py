"""docs/configuration.md and config/: they say what the tree says, key by key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from wsproxy.settings.environment import load_file
from wsproxy.settings.reference import renewed, tables
from wsproxy.settings.tree import Route, Settings, Upstream, WeightedUrl

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "config").glob("*.toml"))


def test_the_reference_is_made_from_the_tree() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert renewed(page) == page, "run `make reference`"


def test_a_page_without_a_place_for_the_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        renewed("# Configuration")


def test_the_reference_has_every_table_and_key_once() -> None:
    keys = [(heading, row[0]) for table in tables() for heading in table.headings or ("",) for row in table.rows]
    assert len(keys) == len(set(keys))
    for known in [
        ("", "workers"),
        ("[[listeners]]", "bind"),
        ("[listeners.tls]", "certificates"),
        ("[routes.limits]", "max_message_bytes"),
        ("[routes.limits]", "max_tunnels"),
        ("[routes.compression.upstream]", "lenient"),
        ("[upstreams.NAME]", "endpoints"),
        ("[upstreams.NAME.health]", "mode"),
    ]:
        assert known in keys


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_passes_the_check(path: Path) -> None:
    assert load_file(str(path), {}).routes


def test_one_example_has_every_key_with_its_default() -> None:
    path = ROOT / "config" / "every-key.toml"
    assert load_file(str(path), {}) == Settings(
        routes=(Route(name="feed", upstream="feed"),),
        upstreams={"feed": Upstream(endpoints=(WeightedUrl("ws://127.0.0.1:9000"),))},
    )
    document = tomllib.loads(path.read_text())
    for table in tables():
        for heading in table.headings or ("",):
            written = _at(document, heading.strip("[]").replace("NAME", "feed"))
            keys = {key for key, value in written.items() if not _is_table(value)}
            assert keys == {key for key, _, _ in table.rows} - _EMPTY, heading
            assert all(written[key] == {} for key in _EMPTY & {row[0] for row in table.rows})


_EMPTY = {"match_headers", "set"}
"""Keys whose value is a table of names and values."""


def _at(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: Any = document
    for key in path.split(".") if path else []:
        found = found[key]
        found = found[0] if isinstance(found, list) else found
    assert isinstance(found, dict)
    return found


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
