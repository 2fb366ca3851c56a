"""Documents that the tree may be read from, made by its own types: every key, any value that its rules allow.

What takes several values together, or a grammar of its own, is drawn from samples.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from wsproxy.settings.about import default_of
from wsproxy.settings.tree import Settings

SAMPLES: dict[str, list[Any]] = {
    "bind": ["127.0.0.1:0", "[::1]:0", "fd:3", "unix:/run/a"],
    "listen": ["", "127.0.0.1:0"],
    "socket": ["", "/run/control.sock"],
    "close_code": [1001, 1012, 4000],
    "hosts": ["a.test", "*.b.test", "[::1]"],
    "origins": ["https://a.test", "null"],
    "trusted_proxies": ["10.0.0.0/8", "::1", "unix"],
    "url": ["ws://a.test", "wss://b.test:1/base", "unix:/run/b"],
    "path": ["", "/a"],
    "path_prefix": ["/"],
    "level": ["auto", 1],
    "strategy": ["default"],
    "mode": ["auto", "recompress"],
    "lenient": [False],
}
"""By the key's name."""
TOKENS = st.sampled_from(["X-A", "X-B", "X-C"])


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Of the whole file, without what only a human would fit together."""
    return _table(Settings).map(_fitted)


def _fitted(document: dict[str, Any]) -> dict[str, Any]:
    """Names made different and upstreams made to be there."""
    document["upstreams"] = {"a": next(iter(document["upstreams"].values()), {"endpoints": ["ws://a.test"]})}
    document["routes"] = document["routes"] or [{"name": "r", "upstream": "a"}]
    for number, route in enumerate(document["routes"]):
        route |= {"name": f"r{number}", "upstream": "a"}
    for number, listener in enumerate(document.get("listeners", [])):
        listener |= {"name": f"l{number}", "bind": f"unix:/run/{number}", "proxy_protocol": "off"}
        listener.pop("tls", None)
    document["upstreams"]["a"].pop("tls", None)
    return document


def _table(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(cls)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for item in fields(cls):
        place = required if default_of(item) is MISSING else optional
        place[item.name] = _value(hints[item.name], item.name, item.metadata)
    return st.fixed_dictionaries(required, optional=optional)


def _value(hint: Any, name: str, rules: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    origin = get_origin(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        table = _table(hint)
        return st.one_of(table, st.sampled_from(SAMPLES[rules["shorthand"]])) if "shorthand" in rules else table
    if origin is tuple:
        return st.lists(_value(get_args(hint)[0], name, rules), max_size=2, unique_by=repr)
    if origin is Mapping:
        keys = st.sampled_from(["a", "b"]) if name == "upstreams" else TOKENS
        return st.dictionaries(keys, _value(get_args(hint)[1], name, rules.get("values", {})), max_size=2)
    if name in SAMPLES and (origin is not Literal or set(SAMPLES[name]) <= set(get_args(hint))):
        return st.sampled_from(SAMPLES[name])
    if origin is Literal:
        return st.sampled_from(get_args(hint))
    if origin in (Union, UnionType):
        return st.one_of(*(_value(each, "", rules) for each in get_args(hint)))
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(rules["minimum"], rules["maximum"])
    if hint is float:
        whole = st.integers(int(rules["minimum"]) + 1, int(rules["maximum"]))
        return st.one_of(st.floats(rules["minimum"], rules["maximum"], allow_nan=False), whole)
    return st.from_regex(rules["pattern"], fullmatch=True) if "pattern" in rules else st.sampled_from(["", "a"])
