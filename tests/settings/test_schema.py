"""The JSON Schema: it says what the tree says, and accepts what the loader accepts."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from jsonschema import Draft202012Validator

from tests.settings.documents import documents
from wsproxy.extensions.registry import survey
from wsproxy.settings.load import read
from wsproxy.settings.problems import Problems
from wsproxy.settings.schema import schema

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))


def whole() -> dict[str, Any]:
    """The schema as `wsproxy schema` prints it."""
    return schema(survey()[0])


VALIDATOR = Draft202012Validator(whole())


def valid(document: dict[str, Any]) -> bool:
    return VALIDATOR.is_valid(document)


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(whole())


def test_it_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(whole()))["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text()))] == []


LEAST = {"routes": [{"name": "a", "upstream": "b"}], "upstreams": {"b": {"endpoints": ["ws://c"]}}}


def leg(**keys: object) -> dict[str, object]:
    return {**LEAST, "routes": [{"name": "a", "upstream": "b", "compression": {"client": keys}}]}


@pytest.mark.parametrize(
    "document",
    [
        LEAST,
        leg(level="auto"),
        leg(level=9),
        leg(engine="${ENGINE:-zlib}"),
        {**LEAST, "log": {"format": "json"}},
        {**LEAST, "workers": "auto"},
        {**LEAST, "upstreams": {"b": {"endpoints": ["ws://c", {"url": "ws://d", "weight": 2}]}}},
        {**LEAST, "routes": [{"name": "a", "upstream": "b", "match_headers": {"X-Tenant": "${TENANT}"}}]},
        {**LEAST, "shutdown": {"grace_seconds": 0}},
        {**LEAST, "listeners": [{"name": "${NAME}", "bind": "[::]:80"}]},
    ],
)
def test_accepts(document: dict[str, object]) -> None:
    assert valid(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"routes": LEAST["routes"]},
        {**LEAST, "workers": 0},
        {**LEAST, "upstreams": {"b": {"endpoints": [{"weight": 2}]}}},
        {**LEAST, "routes": [{"name": "a", "upstream": "b", "match_headers": {"a b": "c"}}]},
        leg(levl=1),
        leg(level=10),
        leg(level="fast"),
        leg(level=True),
        leg(engine="gzip"),
        leg(mem_level=0),
        leg(server_max_window_bits=8),
        {**LEAST, "log": {"format": 3}},
        {**LEAST, "shutdown": {"grace_seconds": -1}},
        {**LEAST, "routes": [{"name": "a b", "upstream": "b"}]},
        {**LEAST, "routes": [{"name": "a"}]},
        {**LEAST, "routes": [{"name": "a", "upstream": "b", "path_prefix": "feed"}]},
        {**LEAST, "upstreams": {"a b": {"endpoints": []}}},
        {**LEAST, "upstreams": {"b": {"endpoints": "ws://c"}}},
    ],
)
def test_refuses(document: dict[str, object]) -> None:
    assert not valid(document)


def test_the_legs_differ_in_their_default_only() -> None:
    legs = whole()["properties"]["routes"]["items"]["properties"]["compression"]["properties"]
    client, upstream = legs["client"]["properties"], legs["upstream"]["properties"]
    assert (client["enabled"].pop("default"), upstream["enabled"].pop("default")) == (True, False)
    assert client == upstream


def test_every_key_is_described() -> None:
    def described(rules: dict[str, Any]) -> bool:
        nested = rules.get("properties", {})
        return all(each["description"] and described(each) for each in nested.values())

    assert described(whole())
    assert all(map(described, whole()["$defs"]["extension"]["anyOf"]))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_what_the_loader_accepts_the_schema_accepts(document: dict[str, Any]) -> None:
    problems = Problems()
    read(document, problems)
    # A drawn document may still not fit together; then it is no document to compare by.
    assume(not problems.found)
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_no_table_takes_a_key_that_is_none() -> None:
    def closed(rules: dict[str, Any]) -> bool:
        inner = [*rules.get("properties", {}).values(), *rules.get("$defs", {}).values(), *rules.get("anyOf", [])]
        inner += [rules[word] for word in ("items", "additionalProperties") if isinstance(rules.get(word), dict)]
        is_open = rules.get("type") == "object" and "additionalProperties" not in rules
        return not is_open and all(closed(each) for each in inner)

    assert closed(whole())
