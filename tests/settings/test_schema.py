"""The JSON Schema: it says what the tree says, and accepts what the loader accepts."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from wsproxy.settings.schema import schema

SIDECAR = Path(__file__).parents[2] / "config" / "sidecar.toml"
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
ANNOTATIONS = {"$schema", "title", "description", "default"}


def valid(value: Any, rules: dict[str, Any]) -> bool:
    """A validator of its own for the keywords that the schema uses (JSON Schema 2020-12)."""
    for word, rule in rules.items():
        match word:
            case "type":
                ok = isinstance(value, TYPES[rule]) and (rule == "boolean" or not isinstance(value, bool))
            case "enum":
                ok = value in rule
            case "anyOf":
                ok = any(valid(value, each) for each in rule)
            case "minimum":
                ok = value >= rule
            case "maximum":
                ok = value <= rule
            case "pattern":
                ok = re.search(rule, value) is not None
            case "items":
                ok = all(valid(item, rule) for item in value)
            case "properties":
                ok = all(valid(value[key], rule[key]) for key in value if key in rule)
            case "required":
                ok = all(key in value for key in rule)
            case "propertyNames":
                ok = all(valid(key, rule) for key in value)
            case "additionalProperties":
                others = [value[key] for key in value if key not in rules.get("properties", {})]
                ok = all(rule is not False and valid(item, rule) for item in others)
            case _:
                assert word in ANNOTATIONS, f"the schema uses {word}, which this validator does not know"
                ok = True
        if not ok:
            return False
    return True


def test_it_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(schema()))["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_example_is_valid() -> None:
    assert valid(tomllib.loads(SIDECAR.read_text()), schema())


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
    assert valid(document, schema())


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
    assert not valid(document, schema())


def test_the_legs_differ_in_their_default_only() -> None:
    legs = schema()["properties"]["routes"]["items"]["properties"]["compression"]["properties"]
    client, upstream = legs["client"]["properties"], legs["upstream"]["properties"]
    assert (client["enabled"].pop("default"), upstream["enabled"].pop("default")) == (True, False)
    assert client == upstream


def test_every_key_is_described() -> None:
    def described(rules: dict[str, Any]) -> bool:
        nested = rules.get("properties", {})
        return all(each["description"] and described(each) for each in nested.values())

    assert described(schema())
