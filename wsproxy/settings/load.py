"""TOML text to the settings tree, with every problem found in one go.

Owns: the reading of a document by the tree's own types and metadata. Written here rather than taken from a validation
library: those cost each sidecar 20 to 100 ms and none gives all problems, a schema and "did you mean" together.
Must never import trio, socket or logging.
Invariants: every problem names the dotted path where it is; a value that was refused is stood in for by its default, so
that what comes after it is still checked; nothing is returned to a caller's caller while a problem is open.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wsproxy.errors import BadUsage
from wsproxy.extensions.base import Events
from wsproxy.extensions.guard import text_of
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.registry import AnyDefinition, ExtensionUnavailable, UnknownExtension, find, names
from wsproxy.settings.about import default_of
from wsproxy.settings.checks import cross_check
from wsproxy.settings.problems import Problems, did_you_mean, join, show
from wsproxy.settings.tree import NamedExtension, Settings

Document = dict[str, Any]

_VARIABLE = re.compile(
    r"\$\$\{"
    r"|\$\{file:(?P<file>([^${}]|\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^${}]*)?\})*)\}"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>((?!\$\{)[^}])*))?\}"
    r"|\$\{"
)
_LONGEST_FILE = 64 * 1024
"""Bytes of a file that stands in a string: a secret, and not a device that never ends."""
_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}


def load(text: str, environ: Mapping[str, str]) -> Settings:
    """The settings that a configuration file says.

    :param environ: where ``${NAME}`` is looked up.
    :raises BadUsage: with one line ``dotted.path: what is wrong`` for every problem.
    """
    problems = Problems()
    document = interpolate(parse_toml(text), environ, problems)
    settings = read(document, problems)
    if problems.found:
        raise BadUsage([f"{path}: {problem}" for path, problem in problems.found.items()])
    return settings


def parse_toml(text: str) -> Document:
    """TOML to plain values. Raises BadUsage with one line that says where the syntax is wrong."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.split("\n")
        where = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
        raise BadUsage([f"syntax: {str(error).replace('(at end of document)', where)}"]) from error
    except RecursionError as error:
        raise BadUsage(["syntax: nested too deeply"]) from error
    except ValueError as error:
        # tomllib lets int()'s refusal of thousands of digits through.
        raise BadUsage([f"syntax: {error}"]) from error


def interpolate(document: Document, environ: Mapping[str, str], problems: Problems) -> Document:
    """The document with ``${NAME}`` and ``${NAME:-default}`` in its strings replaced, in values and not in keys.

    As in a shell, the default stands in for a variable that is unset or empty. ``${file:/path}`` is what the file
    holds, without line ends at its end; the path may hold variables. ``$${`` is a literal ``${``.
    """
    return {key: _interpolate(value, join("", key), environ, problems) for key, value in document.items()}


def _interpolate(value: Any, path: str, environ: Mapping[str, str], problems: Problems) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, join(path, key), environ, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, f"{path}[{index}]", environ, problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match["file"] is not None:
            return _read_secret(_VARIABLE.sub(replace, match["file"]), path, problems)
        name, default = match["name"], match["default"]
        if name is None:
            known = "${NAME}, ${NAME:-default} nor ${file:/path}"
            problems.add(path, f"'${{' begins neither {known}; write $${{ for the characters '${{'")
            return ""
        found = environ.get(name)
        if found is None and default is None:
            problems.add(path, f"the environment variable {name} is not set")
        return found or default or ""

    return _VARIABLE.sub(replace, value)


def _read_secret(file: str, path: str, problems: Problems) -> str:
    """What a file holds. A problem never tells any of it."""
    problem = "is not an absolute path"
    if file.startswith("/"):
        try:
            with Path(file).open("rb") as opened:
                content = opened.read(_LONGEST_FILE + 1)
            if len(content) <= _LONGEST_FILE:
                return content.decode().rstrip("\r\n")
            problem = f"is longer than {_LONGEST_FILE} bytes"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValueError:
            problem = "is not UTF-8, or its path is none"
    problems.add(path, f"the file {file!r} {problem}")
    return ""


def read(document: Document, problems: Problems) -> Settings:
    """The tree for a document; what could not be read is in ``problems``, and so is what does not fit together."""
    settings = _Reader(problems).table(Settings, document, "", None)
    assert isinstance(settings, Settings)
    cross_check(settings, problems)
    return settings


class _Reader:
    """Reads raw TOML values by type hints, noting problems by path."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def table(self, cls: type, raw: Any, path: str, base: object) -> Any:
        """An instance of the dataclass ``cls``; a key that is absent is as in ``base``, or else as the class says."""
        if not isinstance(raw, dict):
            self._wrong_type(path, "a table", raw)
            return base if base is not None else _Reader(Problems()).table(cls, {}, path, None)
        known = {item.name: item for item in fields(cls)}
        for key in raw:
            if key not in known:
                self._problems.add(join(path, key), f"unknown key{did_you_mean(key, known)}")
        hints = get_type_hints(cls)
        return cls(**{name: self._member(hints[name], item, raw, path, base) for name, item in known.items()})

    def _member(self, hint: Any, item: Field[Any], raw: Document, path: str, base: object) -> Any:
        where = join(path, item.name)
        default = _default(item, hint) if base is None else getattr(base, item.name)
        if item.name in raw:
            return self._value(hint, raw[item.name], where, item.metadata, default)
        if base is None and default_of(item) is MISSING:
            self._problems.add(where, "is missing")
        return default

    def _value(self, hint: Any, raw: Any, path: str, rules: Mapping[str, Any], default: Any) -> Any:
        if hint is NamedExtension:
            return self._extension(raw, path)
        if isinstance(hint, type) and is_dataclass(hint):
            if "shorthand" in rules and not isinstance(raw, dict):
                return self._from_shorthand(hint, rules["shorthand"], raw, path)
            return self.table(hint, raw, path, default)
        origin = get_origin(hint)
        if origin is tuple:
            return self._array(get_args(hint)[0], raw, path, rules, default)
        if origin is Mapping:
            return self._mapping(get_args(hint)[1], raw, path, rules)
        if path in self._problems.found:
            return default
        if origin is Literal:
            return self._choice(get_args(hint), raw, path, default)
        if origin in (Union, UnionType):
            number, word = get_args(hint)
            if raw in get_args(word):
                return raw
            return self._scalar(number, raw, path, rules, default, or_word=f" or '{get_args(word)[0]}'")
        return self._scalar(hint, raw, path, rules, default)

    def _extension(self, raw: Any, path: str) -> NamedExtension:
        """A table whose name says what else may stand in it."""
        none = NamedExtension("")
        if not isinstance(raw, dict):
            self._wrong_type(path, "a table", raw)
            return none
        name, where = raw.get("name"), join(path, "name")
        if name is None or where in self._problems.found:
            self._problems.add(where, "is missing")
            return none
        if not isinstance(name, str):
            self._wrong_type(where, "a string", name)
            return none
        own = {key: value for key, value in raw.items() if key != "name"}
        if name == DEFLATE:
            for key in own:
                self._problems.add(join(path, key), "the settings of permessage-deflate are in routes.compression")
            return NamedExtension(name)
        try:
            definition = find(name)
        except ExtensionUnavailable as error:
            guess = did_you_mean(name, names()) if isinstance(error, UnknownExtension) else ""
            self._problems.add(where, f"{error}{guess}")
            return none
        return NamedExtension(name, self._extension_settings(definition, own, path))

    def _extension_settings(self, definition: AnyDefinition, own: Document, path: str) -> object:
        """The settings of one extension, which are an object of its own class and may refuse anything."""
        known = len(self._problems.found)
        try:
            settings = self.table(definition.settings, own, path, None)
            if len(self._problems.found) == known:
                # Made once to see whether it can be.
                definition.build(settings, Events(definition.events))
            return settings
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 — a problem of the file, or of a package that is not ours
            # What stands in for a value that was refused need not please it.
            if len(self._problems.found) == known:
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                self._problems.add(path, f"{definition.name}: {kind}{text_of(error)}")
            return None

    def _from_shorthand(self, cls: type, key: str, raw: Any, path: str) -> Any:
        rules = next(item.metadata for item in fields(cls) if item.name == key)
        if path in self._problems.found:
            return cls(**{key: ""})
        return cls(**{key: self._scalar(str, raw, path, rules, "", or_word=" or a table")})

    def _array(self, element: Any, raw: Any, path: str, rules: Mapping[str, Any], default: Any) -> Any:
        if not isinstance(raw, list):
            self._wrong_type(path, "an array", raw)
            return default
        blank = "" if element is str else None
        return tuple(self._value(element, item, f"{path}[{index}]", rules, blank) for index, item in enumerate(raw))

    def _mapping(self, element: Any, raw: Any, path: str, rules: Mapping[str, Any]) -> Any:
        if not isinstance(raw, dict):
            self._wrong_type(path, "a table", raw)
            return {}
        for key in raw:
            if not re.fullmatch(rules["pattern"], key):
                self._problems.add(join(path, key), f"a name is {rules['hint']}")
        values = {**rules.get("values", {}), **({"secret": True} if rules.get("secret") else {})}
        blank = "" if element is str else None
        return {key: self._value(element, item, join(path, key), values, blank) for key, item in raw.items()}

    def _choice(self, choices: tuple[str, ...], raw: Any, path: str, default: Any) -> Any:
        if raw in choices:
            return raw
        listed = ", ".join(f"'{choice}'" for choice in choices)
        guess = did_you_mean(raw, choices) if isinstance(raw, str) else ""
        self._problems.add(path, f"must be one of {listed}, not {show(raw)}{guess}")
        return default

    def _scalar(
        self, hint: type, raw: Any, path: str, rules: Mapping[str, Any], default: Any, or_word: str = ""
    ) -> Any:
        if hint is float and type(raw) is int:
            raw = float(raw)
        if type(raw) is not hint:
            self._wrong_type(path, _WORDS[hint] + or_word, raw)
            return default
        problem = _broken_rule(raw, rules)
        if problem is None:
            return raw
        self._problems.add(path, problem)
        return default

    def _wrong_type(self, path: str, wanted: str, raw: Any) -> None:
        self._problems.add(path, f"must be {wanted}, not {show(raw)}")


def _default(item: Field[Any], hint: Any) -> Any:
    """What an absent key means; a required one is stood in for by an empty value, so that reading can go on."""
    default = default_of(item)
    if default is not MISSING:
        return default
    if hint is str:
        return ""
    return () if get_origin(hint) is tuple else {}


def _broken_rule(value: Any, rules: Mapping[str, Any]) -> str | None:
    if "minimum" in rules and not rules["minimum"] <= value <= rules["maximum"]:
        wanted = rules.get("hint") or f"from {rules['minimum']:g} to {rules['maximum']:.15g}"
        return f"must be {wanted}, not {show(value)}"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        return f"must be {rules['hint']}" + ("" if rules.get("secret") else f", not {show(value)}")
    if "parse" in rules:
        try:
            rules["parse"](value)
        except ValueError as error:
            return str(error)
    return None
