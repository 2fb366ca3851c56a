"""Which extensions there are: those built in, and entry points of the group ``wsproxy.extensions``.

Owns: finding a definition by name, and what a definition must be. permessage-deflate is not among them: it has its own
settings (`routes.compression`) and its own fast way through the proxy.
Invariants: of the packages that are installed, only what a configuration names is imported; what is found is valid.
"""

import re
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import TYPE_CHECKING, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from wsproxy.errors import WsproxyError
from wsproxy.extensions import permessage_deflate
from wsproxy.extensions.base import FAULT, RSV1, RSV2, RSV3, Definition, Events, Extension
from wsproxy.extensions.guard import text_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "wsproxy.extensions"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MOST_EVENTS = 16


class AnyDefinition(Protocol):
    """A `Definition`, whatever its settings are."""

    @property
    def name(self) -> str: ...
    @property
    def rsv(self) -> int: ...
    @property
    def settings(self) -> type[object]: ...
    @property
    def events(self) -> tuple[str, ...]: ...
    def build(self, settings: object, events: Events) -> Extension: ...


class ExtensionUnavailable(WsproxyError):
    """There is no such extension, or it cannot be used; the text is for whoever wrote its name."""


class UnknownExtension(ExtensionUnavailable):
    """Neither built in nor installed: perhaps another name was meant."""


_BUILT_IN = {"permessage-bzip2": "wsproxy.extensions.bzip2"}
"""Modules by the extension's name, imported when it is asked for: some Pythons are built without bz2."""


def installed() -> list["EntryPoint"]:
    """Every entry point of the group. Looking is 20 ms and a megabyte, which who names no extension is spared.

    :raises ExtensionUnavailable: a package's list of them is none, whichever package that is.
    """
    from importlib.metadata import entry_points

    try:
        return list(entry_points(group=GROUP))
    except Exception as error:
        told = f"{type(error).__name__}: {text_of(error)}"
        raise ExtensionUnavailable(f"the entry points of what is installed cannot be read: {told}") from error


def names() -> list[str]:
    """Everything that can be named, installed packages included; none of them is imported."""
    return sorted({permessage_deflate.NAME, *_BUILT_IN, *(each.name for each in installed())})


def survey() -> tuple[list[AnyDefinition], list[str]]:
    """All that can be used, installed packages included, and why others cannot. Imports them all: it is for tools."""
    ours = {permessage_deflate.NAME, *_BUILT_IN}
    usable: list[AnyDefinition] = []
    unusable: list[str] = []
    known = sorted(ours)
    try:
        unusable += [
            f"{each.value} is not looked at: {each.name} is built in" for each in installed() if each.name in ours
        ]
        known = names()
    except ExtensionUnavailable as error:
        unusable.append(str(error))
    for name in known:
        if name != permessage_deflate.NAME:
            try:
                usable.append(find(name))
            except ExtensionUnavailable as error:
                unusable.append(str(error))
    return usable, unusable


@cache
def find(name: str) -> AnyDefinition:
    """The extension of that name; an entry point is imported now.

    :raises ExtensionUnavailable: there is none, or it is not what it must be.
    """
    if name in _BUILT_IN:
        try:
            return _checked(name, import_module(_BUILT_IN[name]).DEFINITION)
        except ImportError as error:
            raise ExtensionUnavailable(f"{name} cannot be used with this Python: {error}") from error
    found = [each for each in installed() if each.name == name]
    if not found:
        raise UnknownExtension(f"there is no extension {name!r}")
    if len(found) > 1:
        raise ExtensionUnavailable(f"{len(found)} installed packages have an extension {name!r}")
    return _checked(name, _load(found[0]))


def _load(entry: "EntryPoint") -> object:
    try:
        loaded: object = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may exit, too
        told = f"{entry.value} cannot be imported: {type(error).__name__}: {text_of(error)}"
        raise ExtensionUnavailable(f"the extension {entry.name!r} cannot be used: {told}") from error
    return loaded


def _checked(name: str, found: object) -> AnyDefinition:
    if not isinstance(found, Definition):
        raise ExtensionUnavailable(f"the entry point {name!r} is no Definition but {type(found).__name__}")
    problem = None
    if found.name != name:
        problem = f"its definition is named {found.name!r}, which must be the entry point's name, a token"
    elif found.name == permessage_deflate.NAME:
        problem = "permessage-deflate is wsproxy's own"
    if problem := problem or problem_of(found):
        raise ExtensionUnavailable(f"the extension {name!r} cannot be used: {problem}")
    return found


def problem_of(found: AnyDefinition) -> str | None:
    """Why a definition cannot be used, whatever stands in it; None if it can."""
    if not (isinstance(found.name, str) and _TOKEN.fullmatch(found.name)):
        return f"it is named {found.name!r}, which is no token"
    if not isinstance(found.rsv, int) or found.rsv & ~(RSV1 | RSV2 | RSV3):
        return f"it claims {found.rsv!r}, and the reserved bits are RSV1, RSV2 and RSV3"
    if not (isinstance(found.settings, type) and is_dataclass(found.settings)):
        return "its settings are no dataclass"
    events = found.events
    if not isinstance(events, tuple) or not all(isinstance(each, str) and _EVENT.fullmatch(each) for each in events):
        return "its events must be a tuple of names of small letters"
    if len(events) > _MOST_EVENTS or FAULT in events:
        return f"its events must be at most {_MOST_EVENTS}, and other than {FAULT!r}"
    try:
        hints = get_type_hints(found.settings)
    except Exception as error:  # noqa: BLE001 — the types are the package's own words
        return f"the types of its settings cannot be told: {text_of(error)}"
    problems = (_problem_of_field(each, hints[each.name]) for each in fields(found.settings))
    return next((problem for problem in problems if problem is not None), None)


def _problem_of_field(item: "Field[object]", hint: object) -> str | None:
    facts = item.metadata
    if "doc" not in facts or item.name == "name":
        return "each of its settings needs metadata made by about(), and none can be called name"
    if ("minimum" in facts) != ("maximum" in facts) or ("pattern" in facts) != ("hint" in facts):
        return f"of its setting {item.name}, minimum goes with maximum, and pattern with hint"
    if item.default is not MISSING and not isinstance(item.default, bool | int | float | str | tuple):
        return f"the default of its setting {item.name} is {type(item.default).__name__}"
    if not _is_readable(hint):
        return f"its setting {item.name} is none of bool, int, float, str, Literal of words, and tuples of these"
    return None


def _is_readable(hint: object) -> bool:
    """Whether the configuration's reader knows the type: what TOML has, without tables."""
    if hint in (bool, int, float, str):
        return True
    parts: tuple[object, ...] = get_args(hint)
    if get_origin(hint) is Literal:
        return all(isinstance(word, str) for word in parts)
    if get_origin(hint) is tuple:
        return len(parts) == 2 and parts[1] is Ellipsis and _is_readable(parts[0])
    if get_origin(hint) in (Union, UnionType):
        # A number or a word, such as "auto".
        return len(parts) == 2 and parts[0] in (int, float) and get_origin(parts[1]) is Literal
    return False
