"""The settings as a document again: TOML that reads back as the same tree, and no secret in it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.settings.environment import load_file
from wsproxy.settings.load import load
from wsproxy.settings.show import MASK, as_document, to_toml

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
TABLES = st.recursive(
    st.dictionaries(TEXT.filter(bool), VALUES | st.lists(VALUES)),
    lambda inner: st.dictionaries(TEXT.filter(bool), inner | st.lists(inner, min_size=1)),
    max_leaves=20,
)


@given(TABLES)
def test_what_is_written_reads_back(document: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(document)) == document


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_shown_is_the_same_configuration(path: Path) -> None:
    settings = load_file(str(path), {})
    document = as_document(settings)
    if any(route.headers.set for route in settings.routes):
        assert MASK in to_toml(document)
    else:
        assert load(to_toml(document), {}) == settings


def test_secrets_are_masked() -> None:
    settings = load(
        '[[routes]]\nname = "a"\nupstream = "a"\nheaders.set = { "Authorization" = "hidden", "X-Key" = "hidden" }\n'
        '[upstreams.a]\nendpoints = ["ws://127.0.0.1:9"]\n',
        {},
    )
    shown = to_toml(as_document(settings))
    assert "hidden" not in shown
    assert tomllib.loads(shown)["routes"][0]["headers"]["set"] == {"Authorization": MASK, "X-Key": MASK}
