"""The grammar of ``Sec-WebSocket-Extensions`` (RFC 6455 §9.1, RFC 9110 §5.6), both ways.

Owns: text to items and an item to text. Knows no extension by name, and must never import anything above ``errors``.
Invariants: parsing is linear in the header's length, whatever is in it; what does not follow the grammar is refused
whole, so that no part of a broken header can switch anything on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from wsproxy.errors import WsproxyError

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Nothing is matched more than twice, which is what keeps a hostile header linear: quantifiers are possessive, but not
# around what can be matched in two ways, of which Debian 12's Python (3.11.2) takes a part for all.
_NAME = re.compile(rb"(%b++)" % _TOKEN)
# A quoted value must be a token once unescaped (RFC 6455 §9.1), so a comma or a semicolon cannot hide in one.
_PARAMETER = re.compile(rb'[ \t]*+;[ \t]*+(%b++)(?:[ \t]*+=[ \t]*+(?:(%b++)|"((?:\\?%b)+)"))?' % ((_TOKEN,) * 3))
_BETWEEN = re.compile(rb"[ \t]*+(?:,[ \t]*+)*+")
_SHORT = 256
"""Bytes of a line that is worth remembering."""


class ExtensionHeaderError(WsproxyError):
    """The field does not follow its grammar: its sender is at fault (RFC 6455 §9.1)."""


@dataclass(frozen=True, slots=True)
class ExtensionItem:
    """One element of the field: an extension's name and its parameters as they stood, duplicates and order included.

    :ivar parameters: name and value; the value is ``None`` where there was none, and unquoted where it was quoted.
    """

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()


def parse_extensions(values: Iterable[bytes]) -> tuple[ExtensionItem, ...]:
    """All items of a field in order (RFC 6455 §9.1).

    Empty list elements are passed over (RFC 9110 §5.6.1.2).

    :param values: the value of every line of the field, in order.
    :raises ExtensionHeaderError: a line is not in the grammar.
    """
    lines = [_known_line(value) if len(value) <= _SHORT else tuple(_parse_line(value)) for value in values]
    return lines[0] if len(lines) == 1 else tuple(chain.from_iterable(lines))


@lru_cache(maxsize=256)
def _known_line(value: bytes) -> tuple[ExtensionItem, ...]:
    """The clients of a proxy are a few programs, each of which always writes the same."""
    return tuple(_parse_line(value))


def _parse_line(value: bytes) -> Iterable[ExtensionItem]:
    position = _end_of(_BETWEEN, value, 0)
    while position < len(value):
        name = _NAME.match(value, position)
        if name is None:
            raise ExtensionHeaderError(f"an extension's name was expected at byte {position}")
        position = name.end()
        parameters: list[tuple[str, str | None]] = []
        while found := _PARAMETER.match(value, position):
            position = found.end()
            key, token, quoted = found.groups()
            text = token if quoted is None else quoted.replace(b"\\", b"")
            parameters.append((key.decode("ascii"), None if text is None else text.decode("ascii")))
        yield ExtensionItem(name[1].decode("ascii"), tuple(parameters))
        following = _end_of(_BETWEEN, value, position)
        if following < len(value) and b"," not in value[position:following]:
            raise ExtensionHeaderError(f"a comma or a parameter was expected at byte {following}")
        position = following


def _end_of(pattern: re.Pattern[bytes], value: bytes, position: int) -> int:
    found = pattern.match(value, position)
    return position if found is None else found.end()


def format_extension(item: ExtensionItem) -> bytes:
    """One item as it is written in the field; its values are tokens, so none is quoted (RFC 6455 §9.1)."""
    parts = [item.name]
    parts += [key if value is None else f"{key}={value}" for key, value in item.parameters]
    return "; ".join(parts).encode("ascii")
