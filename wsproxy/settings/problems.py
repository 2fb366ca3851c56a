"""Problems of a configuration, by dotted path, and the words in which they are told.

Owns: the collection and its wording. Imports nothing of the project.
Invariant: a path and a problem are one line of printable text, whatever the file holds.
"""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 60


class Problems:
    """What is wrong, by dotted path, in the order of finding. The first problem of a path is the one that counts."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, path: str, problem: str) -> None:
        self.found.setdefault(path, problem)


def join(path: str, key: str) -> str:
    """The dotted path of ``key`` in the table at ``path``, written as TOML would."""
    name = key if _BARE_KEY.fullmatch(key) else json.dumps(key)
    return f"{path}.{name}" if path else name


def show(value: object) -> str:
    """A TOML value as a word of a message."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest known word, or nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
