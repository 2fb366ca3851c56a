"""The JSON Schema (2020-12) of the configuration file, for editors.

Owns: how a type and the metadata of the tree are said in JSON Schema. Must never import trio, socket or logging.
Invariant: what the loader accepts, the schema accepts. Not the other way round: what takes more than one value, or a
grammar of its own, to judge is left to the loader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.registry import AnyDefinition
from wsproxy.settings.about import default_of
from wsproxy.settings.tree import NamedExtension, Settings

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""A string with ``${NAME}`` in it: what it will be is known only to the loader."""


def schema(extensions: Sequence[AnyDefinition]) -> dict[str, Any]:
    """The schema of the whole file; ``extensions``: those that it may name."""
    tables = [_extension(DEFLATE, None), *(_extension(each.name, each.settings) for each in extensions)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wsproxy configuration",
        **_table(Settings),
        "$defs": {"extension": {"anyOf": tables}},
    }


def _table(cls: type, default: object = None) -> dict[str, Any]:
    hints = get_type_hints(cls)
    members = fields(cls)
    properties = {item.name: _member(hints[item.name], item, default) for item in members}
    required = [item.name for item in members if default_of(item) is MISSING]
    table = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**table, "required": required} if required else table


def _extension(name: str, settings: type | None) -> dict[str, Any]:
    """The table of one extension; ``settings`` None: nothing but its name."""
    table: dict[str, Any] = {"properties": {}} if settings is None else _table(settings)
    said = {"description": "As in Sec-WebSocket-Extensions.", "const": name}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"name": said, **table["properties"]},
        "required": ["name", *table.get("required", ())],
    }


def _member(hint: Any, item: Field[Any], default: object) -> dict[str, Any]:
    value = default_of(item) if default is None else getattr(default, item.name)
    said = {"description": item.metadata["doc"], **_type(hint, item.metadata, value)}
    if value is not MISSING and not is_dataclass(value):
        said["default"] = _plain(value)
    return said


def _type(hint: Any, rules: Mapping[str, Any], default: object) -> dict[str, Any]:
    origin = get_origin(hint)
    if hint is NamedExtension:
        return {"$ref": "#/$defs/extension"}
    if isinstance(hint, type) and is_dataclass(hint):
        if "shorthand" in rules:
            return {"anyOf": [{"type": "string"}, _table(hint)]}
        return _table(hint, default if is_dataclass(default) else None)
    if origin is tuple:
        return {"type": "array", "items": _type(get_args(hint)[0], rules, None)}
    if origin is Literal:
        return {"anyOf": [{"enum": list(get_args(hint))}, _VARIABLE]}
    if origin in (Union, UnionType):
        return {"anyOf": [_type(each, rules, None) for each in get_args(hint)]}
    if origin is Mapping:
        names = {"pattern": f"^({rules['pattern']})$"}
        values = _type(get_args(hint)[1], rules.get("values", {}), None)
        return {"type": "object", "propertyNames": names, "additionalProperties": values}
    if "pattern" in rules:
        return {"anyOf": [{"type": _TYPES[hint], "pattern": f"^({rules['pattern']})$"}, _VARIABLE]}
    bounds = {word: rules[word] for word in ("minimum", "maximum") if word in rules}
    return {"type": _TYPES[hint], **bounds}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(each) if is_dataclass(each) and not isinstance(each, type) else each for each in value]
    return value
