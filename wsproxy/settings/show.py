"""A settings tree as a document again, for people: plain values, and TOML text.

Owns: that way back, and that secrets do not take it. Must never import trio, socket or logging.
Invariant: but for what is masked, reading the document gives the same tree again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from wsproxy.settings.load import Document
from wsproxy.settings.tree import NamedExtension, Settings

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

MASK = "***"
"""Stands for each value of a setting that is said to be secret (`about`)."""


def as_document(settings: Settings) -> Document:
    """The whole tree, defaults included, as tables, arrays and plain values."""
    document: Document = _plain(settings)
    return document


def _plain(value: Any, *, masked: bool = False) -> Any:
    if isinstance(value, NamedExtension):
        return {"name": value.name, **_plain(value.settings)} if value.settings is not None else {"name": value.name}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _plain(getattr(value, item.name), masked=bool(item.metadata.get("secret")))
            for item in fields(value)
        }
    if isinstance(value, Mapping):
        return {key: _plain(item, masked=masked) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, masked=masked) for item in value]
    return MASK if masked else value


def to_toml(document: Document) -> str:
    """The document as TOML 1.0: plain values of a table first, then the tables and arrays of tables in it."""
    return "\n".join(_table(document, "")).lstrip("\n") + "\n"


def _table(table: Document, path: str) -> Iterator[str]:
    later: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) or _is_array_of_tables(value):
            later.append((f"{path}.{_key(key)}" if path else _key(key), value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for where, value in later:
        if isinstance(value, dict):
            yield f"\n[{where}]"
            yield from _table(value, where)
        else:
            for element in value:
                yield f"\n[[{where}]]"
                yield from _table(element, where)


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a basic string of TOML, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
