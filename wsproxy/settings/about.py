"""What is said about one setting, and the grammars that several settings share.

Owns: the vocabulary of a field's metadata. Must never import trio, socket or logging.

The metadata (`about`): ``doc``; ``minimum`` and ``maximum`` of a number, both included; ``pattern`` that a string (or
each key of a mapping) fully matches; ``hint``, saying these in words; ``values``, the metadata of each value of a
mapping; ``parse``, called with the value (or each value of an array), raising ValueError; ``shorthand``, the one key
that a string stands for where a table is wanted; ``secret``, whether values are never shown.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from typing import Any, Literal

from wsproxy.settings.addresses import parse_address

Auto = Literal["auto"]

DAY = 86_400.0
"""Seconds: the bound of every time span."""
MOST = 2**40
"""The bound of a number that nothing else bounds."""

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
"""Names become metric labels and words of log lines, so they are short and need no quoting."""
NAME_HINT = "1 to 63 letters, digits, '_', '.' and '-', starting with a letter or a digit"
TOKEN_PATTERN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""RFC 9110 §5.6.2."""
FIELD_VALUE_PATTERN = r"([!-~]([ -~\t]*[!-~])?)?"
"""RFC 9110 §5.5, ASCII only."""
FIELD_VALUE_HINT = "printable ASCII without blanks at its ends"
PATH_PATTERN = r'/[!-"$->@-~]*'
PATH_HINT = "a path that starts with '/', in ASCII, without '?' and '#'"
FILE_PATTERN = r"[^\x00]+"
OPTIONAL_FILE_PATTERN = r"[^\x00]*"
"""What the system takes as the path of a file."""
FILE_HINT = "the path of a file"


def about(
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    hint: str | None = None,
    values: Mapping[str, object] | None = None,
    parse: Callable[[Any], object] | None = None,
    shorthand: str | None = None,
    secret: bool | None = None,
) -> dict[str, object]:
    """The metadata of one setting; only what is given."""
    facts: dict[str, object] = {
        "doc": doc,
        "minimum": minimum,
        "maximum": maximum,
        "pattern": pattern,
        "hint": hint,
        "values": values,
        "parse": parse,
        "shorthand": shorthand,
        "secret": secret,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def default_of(item: Field[Any]) -> Any:
    """The default of a setting; MISSING for one that has none."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def parse_listen(text: str) -> None:
    """An ADDR, or nothing. Raises ValueError."""
    if text:
        parse_address(text)


def parse_network(text: str) -> None:
    """An IP address, a CIDR block, or ``unix``. Raises ValueError."""
    if text != "unix":
        ipaddress.ip_network(text)
