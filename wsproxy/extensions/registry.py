"""Which extensions there are: those built in, and entry points of the group ``wsproxy.extensions``.

Owns: finding a definition by name, and what a definition must be. permessage-deflate is not among them: it has its own
settings (`routes.compression`) and its own fast way through the proxy.
Invariants: of the packages that are installed, only what a configuration names is imported; what is found is valid.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from wsproxy.errors import WsproxyError
from wsproxy.extensions import permessage_deflate
from wsproxy.extensions.base import FAULT, RSV1, RSV2, RSV3, Definition, Events, Extension

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


_BUILT_IN = {"permessage-bzip2": "wsproxy.extensions.bzip2"}
"""Modules by the extension's name, imported when it is asked for: some Pythons are built without bz2."""


def installed() -> list["EntryPoint"]:
    """Every entry point of the group. Looking is 20 ms and a megabyte, which who names no extension is spared."""
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))


def names() -> list[str]:
    """Everything that can be named, installed packages included; none of them is imported."""
    return sorted({permessage_deflate.NAME, *_BUILT_IN, *(each.name for each in installed())})


def definitions() -> Iterator[AnyDefinition]:
    """All that can be used, installed packages included: they are imported, so this is for tools."""
    for name in names():
        if name != permessage_deflate.NAME:
            try:
                yield find(name)
            except ExtensionUnavailable:
                continue


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
        raise ExtensionUnavailable(f"there is no extension {name!r}")
    if len(found) > 1:
        raise ExtensionUnavailable(f"{len(found)} installed packages have an extension {name!r}")
    return _checked(name, _load(found[0]))


def _load(entry: "EntryPoint") -> object:
    try:
        loaded: object = entry.load()
    except Exception as error:
        raise ExtensionUnavailable(f"{entry.value} cannot be imported: {type(error).__name__}: {error}") from error
    return loaded


def _checked(name: str, found: object) -> AnyDefinition:
    if not isinstance(found, Definition):
        raise ExtensionUnavailable(f"the entry point {name!r} is no Definition but {type(found).__name__}")
    problem = None
    if found.name != name or not _TOKEN.fullmatch(name):
        problem = f"its definition is named {found.name!r}, which must be the entry point's name, a token"
    elif found.name == permessage_deflate.NAME:
        problem = "permessage-deflate is wsproxy's own"
    elif not isinstance(found.rsv, int) or found.rsv & ~(RSV1 | RSV2 | RSV3):
        problem = f"it claims {found.rsv!r}, and the reserved bits are RSV1, RSV2 and RSV3"
    elif not (isinstance(found.settings, type) and is_dataclass(found.settings)):
        problem = "its settings are no dataclass"
    elif any("doc" not in each.metadata or each.name == "name" for each in fields(found.settings)):
        problem = "each of its settings needs metadata made by about(), and none can be called name"
    elif len(found.events) > _MOST_EVENTS or not all(map(_EVENT.fullmatch, found.events)) or FAULT in found.events:
        problem = f"its events must be at most {_MOST_EVENTS} names of small letters, other than {FAULT!r}"
    if problem is not None:
        raise ExtensionUnavailable(f"the extension {name!r} cannot be used: {problem}")
    return found
